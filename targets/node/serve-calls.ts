/** The worker's side of a call: runs one operation, synchronously where blocking harms nobody, and answers. */

import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { applyPatch } from './apply-patch.js';
import {
  CALL_ROLE,
  type CallMessage,
  type CallWorkerData,
  type OperationName,
  type Operations,
} from './call-protocol.js';
import { createPatch } from './create-patch.js';
import { packError, packVerdict } from './error-wire.js';
import { explainPatch } from './explain-patch.js';
import { patchInfo } from './patch-info.js';
import { signPatch } from './sign-patch.js';
import { Aborted, Task } from './task.js';
import { verifyPatch } from './verify-patch.js';

type Runner<N extends OperationName> = (
  args: Operations[N]['args'],
  task: Task,
) => Operations[N]['result'] | Promise<Operations[N]['result']>;

const RUNNERS: { readonly [N in OperationName]: Runner<N> } = {
  create: createPatch,
  apply: (args, task) => packVerdict(applyPatch(args, task)),
  verify: (args, task) => packVerdict(verifyPatch(args, task)),
  info: ({ patch }) => patchInfo(patch),
  sign: (args, task) => {
    signPatch(args, task);
    return null;
  },
  explain: explainPatch,
};

/** In a worker that was started for a call: serves it and returns true. Anywhere else: false at once. */
export function serveCalls(): boolean {
  const data = workerData as Partial<CallWorkerData> | null;
  if (isMainThread || parentPort === null || data?.role !== CALL_ROLE) return false;
  const port = parentPort;
  void answer(data as CallWorkerData, (message) => port.postMessage(message));
  return true;
}

async function answer(
  { operation, args, cancelled }: CallWorkerData,
  send: (message: CallMessage) => void,
): Promise<void> {
  const task = new Task(cancelled, (progress) => send({ kind: 'progress', progress }));
  try {
    // The name and the arguments come from one call, so they fit together; the table's type cannot say so.
    const run = RUNNERS[operation] as Runner<OperationName>;
    send({ kind: 'result', result: await run(args, task) });
  } catch (error) {
    send(error instanceof Aborted ? { kind: 'aborted' } : { kind: 'error', error: packError(error) });
  }
}
