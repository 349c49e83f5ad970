/**
 * Brings the bytes of one file to a consumer, in order and exactly once unless it asks otherwise. A broken transfer is
 * taken up where it stopped, a bounded number of times; backpressure is the consumer's promise, so that memory stays at
 * one chunk. The consumer may jump: that is how a resumed update skips what its journal has.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type Failure, retryable } from './failure.js';
import { Headway } from './headway.js';
import { networkMessage } from './http-get.js';
import { type OpenBody, openBody } from './http-request.js';
import type { Pace } from './pace.js';
import type { UrlPolicy } from './url-policy.js';

export type ConsumerAnswer =
  | { readonly kind: 'continue' }
  /** Go on at this file offset; the rest of the chunk was not used. */
  | { readonly kind: 'seek'; readonly offset: number }
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly failure: Failure };

/** `offset` is the file offset of the chunk's first byte. The chunk is the consumer's to keep. */
export type Consumer = (chunk: Uint8Array, offset: number) => Promise<ConsumerAnswer>;

export interface DownloadOptions {
  readonly url: string;
  /** Exact size of the file; not a byte beyond it is taken. */
  readonly size: number;
  readonly policy: UrlPolicy;
  readonly limits: DownloadLimits;
  /** Length of the first request where a jump is likely after it; null asks for the whole file. */
  readonly firstBytes: number | null;
  readonly signal: AbortSignal;
}

export interface DownloadLimits {
  readonly maxResumes: number;
  readonly resumeDelayMs: number;
  readonly stallTimeoutMs: number;
  /** On average, while a body is waited for: one that brings less over `stallTimeoutMs` is given up. 0: any. */
  readonly minBytesPerSecond: number;
  /** Absent: as fast as it comes. */
  readonly pace?: Pace | undefined;
  /** Told of every piece of a body that came in. */
  readonly onBytes?: ((count: number) => void) | undefined;
}

export type DownloadResult =
  /** The consumer has all it wants. */
  | { readonly kind: 'done' }
  /** Every byte was delivered and the consumer still wanted more. */
  | { readonly kind: 'ended' }
  | { readonly kind: 'failed'; readonly failure: Failure }
  | { readonly kind: 'aborted' };

const MAX_CHUNK_BYTES = 64 * 1024;
/** A jump this short ahead is cheaper to read over than to ask for anew, also where bytes cost money. */
const MAX_SKIP_BYTES = 32 * 1024;
/** A server that wants us back later than this is left to the machine's own waiting, which survives a restart. */
const MAX_PATIENCE_MS = 10_000;

type Transfer =
  | { kind: 'done' }
  | { kind: 'failed'; failure: Failure }
  | { kind: 'next'; offset: number }
  | { kind: 'broken'; failure: Failure };

export async function download(options: DownloadOptions, consumer: Consumer): Promise<DownloadResult> {
  const run = new Download(options, consumer);
  try {
    return await run.run();
  } catch (error) {
    if (options.signal.aborted) return { kind: 'aborted' };
    throw error;
  }
}

class Download {
  private readonly options: DownloadOptions;
  private readonly consumer: Consumer;
  private position = 0;
  private etag: string | null = null;
  private delivered = 0;

  constructor(options: DownloadOptions, consumer: Consumer) {
    this.options = options;
    this.consumer = consumer;
  }

  async run(): Promise<DownloadResult> {
    const { size, limits, signal } = this.options;
    let end = this.options.firstBytes === null ? this.pieceEnd() : Math.min(this.options.firstBytes, size);
    let failuresInRow = 0;
    let pausedMs = 0;
    while (this.position < size) {
      signal.throwIfAborted();
      const before = this.delivered;
      const begunMs = performance.now();
      const transfer = await this.transfer(end);
      if (transfer.kind === 'done' || transfer.kind === 'failed') return transfer;
      if (transfer.kind === 'next') {
        this.position = transfer.offset;
        end = this.pieceEnd();
        failuresInRow = 0;
        pausedMs = 0;
        continue;
      }
      const { failure } = transfer;
      const got = this.delivered - before;
      // A server that hangs up after each byte gets on as little as one that drips.
      const moved = got > 0 && got * 1000 >= limits.minBytesPerSecond * (performance.now() - begunMs + pausedMs);
      failuresInRow = moved ? 1 : failuresInRow + 1;
      const pauseMs = pauseAfter(failure, failuresInRow, limits);
      if (pauseMs === null) return { kind: 'failed', failure };
      await delay(pauseMs, undefined, { signal });
      pausedMs = pauseMs;
    }
    return { kind: 'ended' };
  }

  /** Null where the next request is for all that follows. */
  private pieceEnd(): number | null {
    const { size, limits } = this.options;
    return limits.pace === undefined ? null : Math.min(this.position + limits.pace.pieceBytes, size);
  }

  /** One request, from the current position. */
  private async transfer(end: number | null): Promise<Transfer> {
    const { url, size, policy, limits, signal } = this.options;
    const stall = new StallGuard(limits.stallTimeoutMs, signal);
    try {
      const request = {
        url,
        offset: this.position,
        end,
        size,
        etag: this.etag,
        policy,
        signal: stall.signal,
        nowMs: Date.now,
      };
      const opened = await stall.watch(openBody(request));
      if (opened.kind === 'failed') return { kind: 'broken', failure: opened.failure };
      this.etag ??= opened.etag;
      try {
        return await this.drain(opened, stall);
      } finally {
        // Frees the connection where the body was left early.
        opened.bytes.destroy();
      }
    } catch (error) {
      signal.throwIfAborted();
      return {
        kind: 'broken',
        failure: stall.stalled ? stalled(limits.stallTimeoutMs) : retryable('network', networkMessage(error)),
      };
    } finally {
      stall.end();
    }
  }

  private async drain(body: OpenBody, stall: StallGuard): Promise<Transfer> {
    const { limits } = this.options;
    const headway = new Headway(limits.minBytesPerSecond, limits.stallTimeoutMs);
    let at = body.start;
    const chunks = body.bytes[Symbol.asyncIterator]() as AsyncIterator<Uint8Array, undefined>;
    for (;;) {
      const askedMs = performance.now();
      const { done, value } = await stall.watch(chunks.next());
      if (done) break;
      limits.onBytes?.(value.length);
      const isSlow = !headway.came(value.length, performance.now() - askedMs);
      await limits.pace?.take(value.length, this.options.signal);
      if (at + value.length > body.end)
        return broken('too-long', `expected the body to end at byte ${body.end}, got more`);
      const outcome = await this.deliver(value, at, body.end);
      if (outcome !== null) return outcome;
      at += value.length;
      if (isSlow && at < body.end)
        return broken('slow', `expected ${limits.minBytesPerSecond} bytes a second, the server sent fewer`);
    }
    if (at < body.end) return broken('cut', `the body ended at byte ${at}, expected ${body.end}`);
    return { kind: 'next', offset: this.position };
  }

  /** Hands out the part of `bytes` (which lie at `at`) that is wanted. */
  private async deliver(bytes: Uint8Array, at: number, end: number): Promise<Transfer | null> {
    while (this.position < at + bytes.length) {
      const from = this.position - at;
      // A copy: what Node hands out is a view of memory that it may use again, and a Buffer's own slice is a view too.
      const chunk = new Uint8Array(bytes.subarray(from, from + MAX_CHUNK_BYTES));
      // The consumer may move the chunk to another thread, which leaves none of it here, not even its length.
      const { length } = chunk;
      const answer = await this.consumer(chunk, this.position);
      this.options.signal.throwIfAborted();
      this.delivered += length;
      if (answer.kind === 'done' || answer.kind === 'failed') return answer;
      if (answer.kind === 'continue') {
        this.position += length;
        continue;
      }
      if (answer.offset < this.position || answer.offset >= end || answer.offset - this.position > MAX_SKIP_BYTES) {
        return { kind: 'next', offset: answer.offset };
      }
      this.position = answer.offset;
    }
    return null;
  }
}

function pauseAfter(failure: Failure, failuresInRow: number, limits: DownloadLimits): number | null {
  if (failure.kind === 'permanent' || failure.reason === 'changed' || failuresInRow > limits.maxResumes) return null;
  const asked = failure.retryAfterMs ?? 0;
  return asked > MAX_PATIENCE_MS ? null : Math.max(asked, limits.resumeDelayMs * 2 ** (failuresInRow - 1));
}

function broken(reason: string, message: string): Transfer {
  return { kind: 'broken', failure: retryable(reason, message) };
}

function stalled(timeoutMs: number): Failure {
  return retryable('stalled', `the server sent nothing for ${timeoutMs} ms`);
}

/** Aborts a request that makes no headway. The consumer's own time does not count. */
class StallGuard {
  stalled = false;
  private readonly controller = new AbortController();
  private readonly outer: AbortSignal;
  private readonly timeoutMs: number;
  private readonly forward = (): void => this.controller.abort(this.outer.reason);

  constructor(timeoutMs: number, outer: AbortSignal) {
    this.timeoutMs = timeoutMs;
    this.outer = outer;
    outer.addEventListener('abort', this.forward, { once: true });
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  async watch<T>(work: Promise<T>): Promise<T> {
    const timer = setTimeout(() => {
      this.stalled = true;
      this.controller.abort(new Error('stalled'));
    }, this.timeoutMs);
    try {
      return await work;
    } finally {
      clearTimeout(timer);
    }
  }

  end(): void {
    this.outer.removeEventListener('abort', this.forward);
  }
}
