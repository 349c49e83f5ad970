/** One attempt at one update: the download on this thread feeding the applier on the other, chunk by chunk. */
import type { ApplySession, Failed } from './apply-messages.js';
import { type ConsumerAnswer, type DownloadLimits, download } from './download.js';
import { retryable } from './failure.js';
import type { Job } from './machine-types.js';
import type { UrlPolicy } from './url-policy.js';

export interface UpdateRunOptions {
  readonly session: ApplySession;
  readonly job: Job;
  /** Ask for the header alone first, because the journal will probably make the applier jump. */
  readonly again: boolean;
  readonly policy: UrlPolicy;
  readonly limits: DownloadLimits;
  readonly signal: AbortSignal;
}

export type UpdateRunResult = { readonly kind: 'staged' } | Failed | { readonly kind: 'aborted' };

/** Holds the largest preamble of a patch (core/limits.ts). */
const PREAMBLE_BYTES = 2048;

export async function runUpdate(options: UpdateRunOptions): Promise<UpdateRunResult> {
  const { session, job, signal } = options;
  const { choice, desired } = job;
  const begun = await session.begin({ baseSha256: choice.baseSha256, targetSha256: desired.targetSha256 });
  if (begun.kind === 'failed') return begun;
  let reachedBytes = 0;
  const consume = async (chunk: Uint8Array): Promise<ConsumerAnswer> => {
    const reply = await session.push(chunk);
    if (reply.kind === 'failed') {
      reachedBytes = Math.max(reachedBytes, reply.reachedBytes);
      return { kind: 'failed', failure: reply.failure };
    }
    reachedBytes = reply.progress.targetBytes;
    return reply.step.kind === 'input' ? { kind: 'continue' } : reply.step;
  };
  const result = await download(
    {
      url: choice.url,
      size: choice.size,
      policy: options.policy,
      limits: options.limits,
      firstBytes: options.again ? PREAMBLE_BYTES : null,
      signal,
    },
    consume,
  );
  switch (result.kind) {
    case 'done':
      return { kind: 'staged' };
    case 'aborted':
      return { kind: 'aborted' };
    case 'failed':
      return { kind: 'failed', failure: result.failure, reachedBytes };
    case 'ended': {
      const ended = await session.end();
      if (ended.kind === 'failed') return ended;
      const failure = retryable('cut', `the document says ${choice.size} bytes, the patch needs more`);
      return { kind: 'failed', failure, reachedBytes };
    }
  }
}
