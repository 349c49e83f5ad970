/** What the agent's state says about the job it works on: null while it still works, a verdict once it is at rest. Pure. */
import type { Failure } from '../failure.js';
import { MAX_DETAIL_LENGTH } from '../limits.js';
import type { State } from '../machine-types.js';
import type { OpenJob, Verdict } from './job-machine.js';

/** Judged by the document or the signed header alone, before a byte was written: the device said no. */
const REJECTIONS: ReadonlySet<string> = new Set([
  'bad-document',
  'wrong-model',
  'wrong-base',
  'too-large',
  'url-refused',
  'wrong-family',
  'wrong-device-class',
  'counter-too-low',
  'counter-missing',
  'buffers-exceeded',
  'flash-exceeded',
  'unsupported-codec',
  'unsigned',
  'unknown-signer',
  'bad-signature',
  'too-many-signatures',
]);

/** Part of the wish's id: the same document in another execution is another wish. */
export function originOf({ jobId, executionNumber }: Pick<OpenJob, 'jobId' | 'executionNumber'>): string {
  return `${jobId}#${executionNumber}`;
}

/** `wishId` is the id that the agent gave to the document of the job. */
export function verdictOf(state: State, wishId: string): Verdict | null {
  const { wish, installed, previous } = state;
  if (wish.kind === 'none' || (wish.kind === 'want' ? wish.desired.id : wish.id) !== wishId) return null;
  const active = { sha256: installed?.sha256 ?? 'none', version: installed?.version ?? 'unknown' };
  switch (state.kind) {
    case 'idle':
      return { status: 'SUCCEEDED', details: active };
    case 'refused': {
      const { failure } = state.refusal;
      const status = REJECTIONS.has(failure.reason) ? 'REJECTED' : 'FAILED';
      const rolledBack = status === 'FAILED' && wish.kind === 'want' && previous?.sha256 === wish.desired.targetSha256;
      return {
        status,
        details: { ...reasonOf(failure), ...active, ...(rolledBack ? { rolledBackFrom: previous.sha256 } : {}) },
      };
    }
    case 'failed':
      return { status: 'FAILED', details: { ...reasonOf(state.failure), ...active } };
    default:
      return null;
  }
}

export function reasonOf({ reason, message }: Failure): Record<string, string> {
  return { reason, message: message.slice(0, MAX_DETAIL_LENGTH) };
}
