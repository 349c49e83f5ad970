/**
 * A call on the thread of a program that waits for nothing else meanwhile: a command. A worker thread for it would take 80 ms of
 * processor time and 20 MiB more (measured), as much as applying a patch of a few megabytes.
 */

import type { CallOptions } from './api-types.js';
import { applySteps } from './apply-patch.js';
import type { Operations } from './call-protocol.js';
import { type Call, throwIfAborted } from './call-worker.js';
import { packVerdict } from './error-wire.js';
import type { VerificationParts } from './patch-verification.js';
import { inTurns, type Steps } from './steps.js';
import { Aborted, Task } from './task.js';
import { verifySteps } from './verify-patch.js';

type Name = 'apply' | 'verify';

const RUNNERS: { readonly [N in Name]: (args: Operations[N]['args'], task: Task) => Steps<VerificationParts> } = {
  apply: applySteps,
  verify: verifySteps,
};

/** As `callWorker`. @throws signal.reason, once everything is cleaned up; what the operation throws */
export async function callHere<N extends Name>(
  { operation, args }: Call<N>,
  options: CallOptions,
): Promise<Operations[N]['result']> {
  throwIfAborted(options);
  const { signal, onProgress } = options;
  const cancelled = new Int32Array(1);
  const cancel = (): void => {
    cancelled[0] = 1;
  };
  signal?.addEventListener('abort', cancel);
  try {
    const task = new Task(cancelled, (progress) => onProgress?.(progress));
    return packVerdict(await inTurns(RUNNERS[operation](args, task)));
  } catch (error) {
    throw error instanceof Aborted ? signal!.reason : error;
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}
