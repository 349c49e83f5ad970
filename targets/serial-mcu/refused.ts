/** A device's refusal, and as what it reaches who asked for an update. */

import {
  type ErrorCode,
  InvalidPatch,
  IoError,
  type MallornError,
  SignatureError,
  SourceHashMismatch,
  TargetHashMismatch,
} from '../../core/errors.js';
import { RC_INVALID, RC_NOT_SUPPORTED } from '../../core/smp/packet.js';

/** The device answered, with an error. */
export class Refused extends IoError {
  /** In words, where the device gave any: an error code of ours from the delta group. */
  readonly reason: string;
  /** SMP's error number. */
  readonly rc: number;

  constructor(answer: Readonly<Record<string, unknown>>) {
    const reason = typeof answer['rsn'] === 'string' ? answer['rsn'] : '';
    const { rc, group } = errorOf(answer);
    super(`the device refused: ${reason === '' ? `error ${rc}` : reason}${group === null ? '' : ` (group ${group})`}`);
    this.reason = reason;
    this.rc = rc;
  }

  /** Nothing there answers to such a request. */
  get isUnknownCommand(): boolean {
    return this.rc === RC_NOT_SUPPORTED;
  }

  /** The request was damaged on its way, if it was sound when it left. */
  get isMalformed(): boolean {
    return this.rc === RC_INVALID;
  }
}

/** SMP version 2 names the group; version 1 has a number alone. */
function errorOf(answer: Readonly<Record<string, unknown>>): { rc: number; group: number | null } {
  const { err } = answer as { err?: { rc?: unknown; group?: unknown } };
  if (typeof err !== 'object' || err === null) return { rc: Number(answer['rc']), group: null };
  return { rc: Number(err.rc), group: Number(err.group) };
}

const SIGNATURE_CODES: readonly string[] = [
  'UNSIGNED',
  'UNKNOWN_SIGNER',
  'BAD_SIGNATURE',
  'VERIFY_UNAVAILABLE',
  'TOO_MANY_SIGNATURES',
];

/** The error that the same refusal has on a gateway. */
export function asMallornError(refused: Refused): MallornError {
  const { reason, message } = refused;
  if (reason === 'SOURCE_HASH_MISMATCH') return new SourceHashMismatch(message);
  if (reason === 'TARGET_HASH_MISMATCH') return new TargetHashMismatch(message);
  if (SIGNATURE_CODES.includes(reason)) return new SignatureError(reason as ErrorCode, message);
  if (reason === '' || reason === 'IO' || !/^[A-Z_]+$/.test(reason) || reason === 'OUT_OF_MEMORY') return refused;
  return new InvalidPatch(reason as ErrorCode, message);
}
