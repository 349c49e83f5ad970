/** What `createPatch` and `createPatches` share: one patch, its options judged already, made in a worker thread. */

import type { CallOptions, Input, PatchOptions, PatchStats } from './api-types.js';
import { callWorker } from './call-worker.js';
import type { CheckedCreateOptions } from './check-options.js';
import { buffersOf, copyInputs } from './copy-input.js';

export interface CheckedPair {
  readonly source: Input | null;
  readonly target: Input;
  readonly output: string;
  readonly checked: CheckedCreateOptions;
}

/** @throws signal.reason, IoError */
export async function createInWorker(
  { source, target, output, checked }: CheckedPair,
  options: CallOptions & Pick<PatchOptions, 'onWarning'>,
): Promise<PatchStats> {
  const [sourceCopy, targetCopy] = await copyInputs(options, source, target);
  const { stats, warnings } = await callWorker(
    {
      operation: 'create',
      args: { ...checked, source: sourceCopy, target: targetCopy, output },
      transfer: buffersOf([sourceCopy, targetCopy]),
    },
    options,
  );
  for (const warning of warnings) options.onWarning?.(warning);
  return stats;
}
