/**
 * createPatch and applyPatch as worker threads run them, in this thread: a thread of its own compiles everything anew, which takes
 * longer than most tests' patches. The public calls have tests of their own (targets/node/api.test.ts).
 */
import type { CreateOptions, Input, PatchStats } from '../../targets/node/api-types.js';
import { applyPatch as apply } from '../../targets/node/apply-patch.js';
import { checkCreateOptions } from '../../targets/node/check-options.js';
import { createPatch as create } from '../../targets/node/create-patch.js';
import { Task } from '../../targets/node/task.js';

const task = new Task(new Int32Array(new SharedArrayBuffer(4)), () => {});

export async function createPatch(
  source: Input | null,
  target: Input,
  output: string,
  options: CreateOptions = {},
): Promise<PatchStats> {
  const checked = checkCreateOptions(options, source === null);
  return (await create({ ...checked, source, target, output }, task)).stats;
}

export function applyPatch(
  source: Input | null,
  patch: Input,
  output: string,
  publicKey: Uint8Array | null = null,
): void {
  apply({ source, patch, output, publicKey }, task);
}
