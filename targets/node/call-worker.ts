/** The caller's side of a call: a worker thread for each, no more at a time than there are processors; the rest wait. */

import { availableParallelism } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { CallOptions } from './api-types.js';
import {
  CALL_ROLE,
  type CallMessage,
  type CallWorkerData,
  type OperationName,
  type Operations,
} from './call-protocol.js';
import { reviveError } from './error-wire.js';
import { Places } from './places.js';
import { workerFile } from './worker-file.js';

const NURSERY_MIB = 3;
const places = new Places(Math.max(2, availableParallelism()));

export interface Call<N extends OperationName> {
  readonly operation: N;
  readonly args: Operations[N]['args'];
  /** Buffers in `args` that nobody else uses: they move to the worker without a copy. */
  readonly transfer: readonly ArrayBuffer[];
}

/** @throws signal.reason, once the worker has cleaned up; what the operation throws */
export async function callWorker<N extends OperationName>(
  call: Call<N>,
  options: CallOptions,
): Promise<Operations[N]['result']> {
  throwIfAborted(options);
  const leave = await places.enter(options.signal);
  try {
    // Starting a thread takes about 10 ms of this one; several started in one go would hold up the event loop.
    await setImmediate();
    throwIfAborted(options);
    return await runWorker(call, options);
  } finally {
    leave();
  }
}

/** @throws signal.reason */
export function throwIfAborted({ signal }: CallOptions): void {
  if (signal?.aborted === true) throw signal.reason;
}

function runWorker<N extends OperationName>(
  { operation, args, transfer }: Call<N>,
  { signal, onProgress }: CallOptions,
): Promise<Operations[N]['result']> {
  const cancelled = new Int32Array(new SharedArrayBuffer(4));
  const cancel = (): void => {
    Atomics.store(cancelled, 0, 1);
  };
  const workerData: CallWorkerData<N> = { role: CALL_ROLE, operation, args, cancelled };
  // Node flags of the calling program are none of the worker's: --input-type alone would keep it from starting.
  const worker = new Worker(workerFile(), {
    workerData,
    transferList: [...transfer],
    execArgv: [],
    // The work is over fixed buffers and makes only short-lived views: a larger nursery would cost memory and gain nothing.
    resourceLimits: { maxYoungGenerationSizeMb: NURSERY_MIB },
  });
  return new Promise((resolve, reject) => {
    let settle = (): void => reject(new Error(`the worker thread for ${operation} ended without an answer`));
    let failed = false;
    const fail = (error: unknown): void => {
      if (failed) return;
      failed = true;
      settle = () => reject(error);
    };
    signal?.addEventListener('abort', cancel);
    worker.on('message', (message: CallMessage) => {
      switch (message.kind) {
        case 'progress':
          try {
            onProgress?.(message.progress);
          } catch (error) {
            // Thrown here it would be an uncaught exception of the whole program.
            fail(error);
            cancel();
          }
          break;
        case 'result':
          if (!failed) settle = () => resolve(message.result);
          break;
        case 'error':
          fail(reviveError(message.error));
          break;
        case 'aborted':
          if (signal?.aborted === true) fail(signal.reason);
          break;
      }
    });
    worker.on('error', fail);
    // Messages are delivered before this, and whoever gets the outcome finds the thread gone.
    worker.on('exit', () => {
      signal?.removeEventListener('abort', cancel);
      settle();
    });
  });
}
