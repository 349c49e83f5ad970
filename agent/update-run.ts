/** One attempt at one update: the download on this thread feeding the applier on the other, chunk by chunk. */
import type { ApplySession, Failed } from './apply-messages.js';
import { type ConsumerAnswer, type DownloadLimits, download } from './download.js';
import { retryable } from './failure.js';
import type { Job } from './machine-types.js';
import type { StreamPort } from './streams/stream-hub.js';
import { streamIdOf } from './streams/stream-messages.js';
import { pullStream } from './streams/stream-pull.js';
import type { UrlPolicy } from './url-policy.js';

export interface UpdateRunOptions {
  readonly session: ApplySession;
  readonly job: Job;
  /** Ask for the header alone first, because the journal will probably make the applier jump. */
  readonly again: boolean;
  /** Of a patch that the slot holds whole: what is missing is finished with it alone, and nothing is downloaded. */
  readonly header: Uint8Array | null;
  readonly policy: UrlPolicy;
  readonly limits: DownloadLimits;
  /** Absent: nothing comes over MQTT. */
  readonly streams?: StreamPort | undefined;
  readonly signal: AbortSignal;
}

export type UpdateRunResult =
  /** `header`: the first bytes of the file, enough to begin it again. */
  { readonly kind: 'staged'; readonly header: Uint8Array } | Failed | { readonly kind: 'aborted' };

/** Holds the largest preamble of a patch (core/limits.ts). */
const PREAMBLE_BYTES = 2048;

export async function runUpdate(options: UpdateRunOptions): Promise<UpdateRunResult> {
  const { session, job, signal } = options;
  const { choice, desired } = job;
  const { targetSha256, targetSize } = desired;
  const order = { baseSha256: choice.baseSha256, targetSha256, targetSize, patchBytes: choice.size };
  const begun = await session.begin(order);
  if (begun.kind === 'failed') return begun;
  let reachedBytes = 0;
  const header = new Uint8Array(Math.min(PREAMBLE_BYTES, choice.size));
  let headerBytes = 0;
  const consume = async (chunk: Uint8Array, offset: number): Promise<ConsumerAnswer> => {
    // Copied first: the session may move the chunk to another thread.
    if (offset === headerBytes && headerBytes < header.length) {
      const part = chunk.subarray(0, header.length - headerBytes);
      header.set(part, headerBytes);
      headerBytes += part.length;
    }
    const reply = await session.push(chunk);
    if (reply.kind === 'failed') {
      reachedBytes = Math.max(reachedBytes, reply.reachedBytes);
      return { kind: 'failed', failure: reply.failure };
    }
    reachedBytes = reply.progress.targetBytes;
    return reply.step.kind === 'input' ? { kind: 'continue' } : reply.step;
  };
  if (options.header !== null) return finish(options.header, consume);
  const file = {
    size: choice.size,
    limits: options.limits,
    firstBytes: options.again ? PREAMBLE_BYTES : null,
    signal,
  };
  const id = streamIdOf(choice.url);
  const result =
    id !== null && options.streams !== undefined
      ? await pullStream({ ...file, id, port: options.streams }, consume)
      : await download({ ...file, url: choice.url, policy: options.policy }, consume);
  switch (result.kind) {
    case 'done':
      return { kind: 'staged', header: header.slice(0, headerBytes) };
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

type Consume = (chunk: Uint8Array, offset: number) => Promise<ConsumerAnswer>;

/** The journal makes the applier go to the end at once; where it does not, the slot is not what we took it for. */
async function finish(header: Uint8Array, consume: Consume): Promise<UpdateRunResult> {
  const answer = await consume(header.slice(), 0);
  if (answer.kind === 'done') return { kind: 'staged', header };
  const lost = retryable('not-staged', 'the slot no longer holds the new model, it is downloaded again');
  return { kind: 'failed', failure: answer.kind === 'failed' ? answer.failure : lost, reachedBytes: 0 };
}
