/**
 * Why an update did not go on, in the one shape that the download, the apply thread and the machine share. Every
 * failure decides one thing: is it worth trying the same document again?
 */
import { type ErrorCode, IoError, MallornError } from '../core/errors.js';
import { messageOf } from './message-of.js';
import { redactText } from './redact.js';

export type Failure =
  | {
      readonly kind: 'retryable';
      /** Kebab-case, stable, for programs. */
      readonly reason: string;
      /** A sentence for people. */
      readonly message: string;
      /** Do not come back sooner than this; where it stands it replaces the backoff. */
      readonly retryAfterMs?: number | undefined;
    }
  | { readonly kind: 'permanent'; readonly reason: string; readonly message: string };

/** Failures are reported to the broker and kept: addresses in their messages lose what may be secret here, once for all. */
export function retryable(reason: string, text: string, retryAfterMs?: number): Failure {
  const message = redactText(text);
  return retryAfterMs === undefined
    ? { kind: 'retryable', reason, message }
    : { kind: 'retryable', reason, message, retryAfterMs };
}

export function permanent(reason: string, text: string): Failure {
  return { kind: 'permanent', reason, message: redactText(text) };
}

/**
 * Codes that say nothing about the signed patch itself. BAD_MAGIC is among them because a captive portal or a proxy
 * answers 200 with a page of its own: such bytes are no patch at all, and tomorrow the real one may come.
 */
const RETRYABLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['IO', 'VERIFY_UNAVAILABLE', 'BAD_MAGIC']);

/** `WRONG_FAMILY` becomes `wrong-family`: the reasons of core, spelt as the agent's own. */
export function reasonOf(code: ErrorCode): string {
  return code.toLowerCase().replaceAll('_', '-');
}

/** What an exception of the applier or the slots means for the update. A bug of ours is retried too, a bounded number of times. */
export function failureOf(error: unknown): Failure {
  if (error instanceof IoError) return retryable('io', error.message);
  if (error instanceof MallornError) {
    const reason = reasonOf(error.code);
    return RETRYABLE.has(error.code) ? retryable(reason, error.message) : permanent(reason, error.message);
  }
  return retryable('internal', messageOf(error));
}
