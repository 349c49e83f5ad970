/** `verifyPatch` as it runs in a worker thread: decodes into a hash and keeps nothing. */

import { DigestTarget } from '../../core/apply/digest-target.js';
import type { Input } from './api-types.js';
import { checkPatch } from './check-patch.js';
import { NodeHasher } from './hashing.js';
import { withInput, withOptionalInput } from './inputs.js';
import type { VerificationParts } from './patch-verification.js';
import type { Task } from './task.js';

export interface VerifyArguments {
  readonly source: Input | null;
  readonly patch: Input;
  readonly publicKey: Uint8Array | null;
}

export function verifyPatch({ publicKey, ...inputs }: VerifyArguments, task: Task): VerificationParts {
  const target = () => new DigestTarget(new NodeHasher());
  return withOptionalInput(inputs.source, (source) =>
    withInput(inputs.patch, (patch) => checkPatch({ source, patch, publicKey, target, phase: 'verifying' }, task)),
  );
}
