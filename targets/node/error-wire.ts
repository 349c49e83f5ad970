/** Errors that cross a thread: a structured clone turns every class of ours into plain Error, and drops the code. */

import {
  type ErrorCode,
  InvalidPatch,
  IoError,
  MallornError,
  SignatureError,
  SourceHashMismatch,
  TargetHashMismatch,
} from '../../core/errors.js';
import type { VerificationParts } from './patch-verification.js';

export interface WireError {
  readonly name: string;
  /** Absent for errors that are not ours. */
  readonly code?: ErrorCode;
  readonly message: string;
  /** Of the worker: where the trouble is, which the caller's own stack cannot say. */
  readonly stack: string;
  readonly cause: WireError | null;
}

/** Verdicts cross with their error in wire form. */
export type WireVerdict = Omit<VerificationParts, 'error'> & { readonly error: WireError | null };

export function packVerdict({ error, ...parts }: VerificationParts): WireVerdict {
  return { ...parts, error: error === null ? null : packError(error) };
}

export function packError(error: unknown): WireError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error), stack: '', cause: null };
  const { name, message, stack = '', cause } = error;
  const code = error instanceof MallornError ? { code: error.code } : {};
  return { name, message, stack, cause: cause instanceof Error ? packError(cause) : null, ...code };
}

export function reviveError(wire: WireError): Error {
  const revived = construct(wire);
  revived.stack = wire.stack;
  return revived;
}

export function reviveMallornError(wire: WireError): MallornError {
  const revived = reviveError(wire);
  if (revived instanceof MallornError) return revived;
  throw revived;
}

function construct({ name, code, message, cause }: WireError): Error {
  const options = cause === null ? {} : { cause: reviveError(cause) };
  if (code === undefined) {
    const known = { RangeError, TypeError }[name] ?? Error;
    return new known(message, options);
  }
  switch (name) {
    case 'SourceHashMismatch':
      return new SourceHashMismatch(message);
    case 'TargetHashMismatch':
      return new TargetHashMismatch(message);
    case 'InvalidPatch':
      return new InvalidPatch(code, message, options);
    case 'SignatureError':
      return new SignatureError(code, message, options);
    case 'IoError':
      return new IoError(message, { ...options, code });
    default:
      return new MallornError(code, message, options);
  }
}
