/** What the thread that calls and the worker that does the work say to each other. */

import type { Input, PatchExplanation, PatchInfo, Progress } from './api-types.js';
import type { ApplyArguments } from './apply-patch.js';
import type { CreateArguments, CreateResult } from './create-patch.js';
import type { WireError, WireVerdict } from './error-wire.js';
import type { SignArguments } from './sign-patch.js';
import type { VerifyArguments } from './verify-patch.js';

export interface Operations {
  create: { args: CreateArguments; result: CreateResult };
  apply: { args: ApplyArguments; result: WireVerdict };
  verify: { args: VerifyArguments; result: WireVerdict };
  info: { args: { readonly patch: Input }; result: PatchInfo };
  sign: { args: SignArguments; result: null };
  explain: { args: { readonly patch: Input; readonly source: Input | null }; result: PatchExplanation };
}

export type OperationName = keyof Operations;

/** Tells our workers from others that run the same bundle. */
export const CALL_ROLE = 'mallorn-call';

export interface CallWorkerData<N extends OperationName = OperationName> {
  readonly role: typeof CALL_ROLE;
  readonly operation: N;
  readonly args: Operations[N]['args'];
  /** One shared cell, non-zero once the caller aborted. */
  readonly cancelled: Int32Array;
}

export type CallMessage =
  | { readonly kind: 'progress'; readonly progress: Progress }
  | { readonly kind: 'result'; readonly result: Operations[OperationName]['result'] }
  | { readonly kind: 'error'; readonly error: WireError }
  | { readonly kind: 'aborted' };
