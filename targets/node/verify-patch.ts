/** `verifyPatch` as it runs in any thread: decodes into a hash and keeps nothing. */

import { DigestTarget } from '../../core/apply/digest-target.js';
import type { Input } from './api-types.js';
import { checkSteps } from './check-patch.js';
import { NodeHasher } from './hashing.js';
import { withInputs } from './inputs.js';
import type { VerificationParts } from './patch-verification.js';
import { finish, type Steps } from './steps.js';
import type { Task } from './task.js';

export interface VerifyArguments {
  readonly source: Input | null;
  readonly patch: Input;
  readonly publicKey: Uint8Array | null;
}

/** Where blocking harms nobody. */
export function verifyPatch(args: VerifyArguments, task: Task): VerificationParts {
  return finish(verifySteps(args, task));
}

/** The same a bounded amount of work at a time. */
export function verifySteps({ source, patch, publicKey }: VerifyArguments, task: Task): Steps<VerificationParts> {
  const target = () => new DigestTarget(new NodeHasher());
  return withInputs(source, patch, (base, bytes) =>
    checkSteps({ source: base, patch: bytes, publicKey, target, phase: 'verifying' }, task),
  );
}
