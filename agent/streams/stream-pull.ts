/**
 * Brings the bytes of one file to a consumer over MQTT, under the contract of download.ts: in order, exactly once unless it asks
 * otherwise, and with so few blocks on their way that memory stays small. What is lost is asked for again, what comes twice or in
 * another order does no harm; a broker that goes away and comes back costs the blocks that were on their way.
 */
import type { Consumer, DownloadLimits, DownloadResult } from '../download.js';
import { type Failure, retryable } from '../failure.js';
import { STREAM_WINDOW_BLOCKS } from '../limits.js';
import type { StreamPort } from './stream-hub.js';
import type { Block, Rejection } from './stream-messages.js';

export interface StreamPullOptions {
  readonly id: string;
  /** Exact size of the file; not a byte beyond it is asked for. */
  readonly size: number;
  readonly port: StreamPort;
  readonly limits: DownloadLimits;
  /** Length of the first request where a jump is likely after it; null asks for the whole file. */
  readonly firstBytes: number | null;
  readonly signal: AbortSignal;
  readonly nowMs?: () => number;
}

/** A block is asked for again when nothing has come for this part of the stall time-out. */
const LATE_FRACTION = 0.25;

interface Wanted {
  readonly length: number;
  askedMs: number;
  bytes: Uint8Array | null;
}

export async function pullStream(options: StreamPullOptions, consumer: Consumer): Promise<DownloadResult> {
  const pull = new StreamPull(options, consumer);
  try {
    return await pull.run();
  } catch (error) {
    if (options.signal.aborted) return { kind: 'aborted' };
    throw error;
  } finally {
    pull.end();
  }
}

class StreamPull {
  private readonly options: StreamPullOptions;
  private readonly consumer: Consumer;
  private readonly now: () => number;
  private readonly stopListening: () => void;
  /** By offset, without gaps: what was asked for and not yet handed out. */
  private readonly wanted = new Map<number, Wanted>();
  private position = 0;
  /** End of what has been asked for. */
  private asked = 0;
  /** Of the head alone, where a jump is likely behind it. */
  private head: number | null;
  private tag: string | null = null;
  private failure: Failure | null = null;
  private rejection: Failure | null = null;
  private failuresInRow = 0;
  private paused = false;
  private lastMoveMs: number;
  private wake: () => void = () => {};

  constructor(options: StreamPullOptions, consumer: Consumer) {
    this.options = options;
    this.consumer = consumer;
    this.now = options.nowMs ?? (() => performance.now());
    this.head = options.firstBytes === null ? null : Math.min(options.firstBytes, options.size);
    this.lastMoveMs = this.now();
    this.stopListening = options.port.listen(options.id, {
      block: (block) => this.take(block),
      rejected: (rejection) => this.note(rejection),
      reconnected: () => this.askAgain(),
    });
    options.signal.addEventListener('abort', this.onAbort);
  }

  end(): void {
    this.stopListening();
    this.options.signal.removeEventListener('abort', this.onAbort);
  }

  async run(): Promise<DownloadResult> {
    const { size, limits, signal } = this.options;
    while (this.position < size) {
      if (signal.aborted) return { kind: 'aborted' };
      if (this.failure !== null) return { kind: 'failed', failure: this.failure };
      this.fillWindow();
      const bytes = this.next();
      if (bytes === null) {
        await this.wait();
        continue;
      }
      const at = this.position;
      // The consumer may move the chunk to another thread, which leaves none of it here, not even its length.
      const { length } = bytes;
      await limits.pace?.take(length, signal);
      const answer = await this.consumer(bytes, at);
      if (signal.aborted) return { kind: 'aborted' };
      this.moved();
      if (answer.kind === 'done' || answer.kind === 'failed') return answer;
      if (answer.kind === 'continue') this.position = at + length;
      else this.seek(answer.offset);
    }
    return { kind: 'ended' };
  }

  private readonly onAbort = (): void => this.wake();

  /** The next bytes in order, taken out of the window. */
  private next(): Uint8Array | null {
    const { bytes } = this.wanted.get(this.position) ?? { bytes: null };
    if (bytes !== null) {
      this.wanted.delete(this.position);
      this.head = null;
    }
    return bytes;
  }

  private seek(offset: number): void {
    this.wanted.clear();
    this.position = offset;
    this.asked = offset;
  }

  private fillWindow(): void {
    const { port, size } = this.options;
    if (this.wanted.size === 0) this.asked = this.position;
    while (this.asked < size && this.wanted.size < (this.head === null ? STREAM_WINDOW_BLOCKS : 1)) {
      const length = Math.min(port.blockBytes, this.head ?? size, size - this.asked);
      const wanted = { length, askedMs: 0, bytes: null };
      this.wanted.set(this.asked, wanted);
      this.ask(this.asked, wanted);
      this.asked += length;
    }
  }

  private ask(offset: number, wanted: Wanted): void {
    wanted.askedMs = this.now();
    this.options.port.request(this.options.id, { offset, length: wanted.length });
  }

  private askAgain(): void {
    for (const [offset, wanted] of this.wanted) if (wanted.bytes === null) this.ask(offset, wanted);
  }

  private take({ tag, offset, bytes }: Block): void {
    this.options.limits.onBytes?.(bytes.length);
    const wanted = this.wanted.get(offset);
    // Late, repeated, or the answer to an earlier process of this device.
    if (wanted === undefined || wanted.bytes !== null || bytes.length !== wanted.length) return;
    this.tag ??= tag;
    if (tag !== this.tag) {
      // Begun again at once: the journal keeps what was applied if the patch is the same one after all.
      this.failure = retryable('changed', `the file changed on the server: ${this.tag} became ${tag}`, 0);
    } else {
      wanted.bytes = bytes;
      this.moved();
    }
    this.wake();
  }

  private note({ code, offset }: Rejection): void {
    // All blocks of the window are refused together: that is one failure.
    if (this.paused || (offset !== undefined && this.wanted.get(offset)?.bytes !== null)) return;
    this.rejection = retryable(reasonOf(code), `the server refused a block of ${this.options.id}: ${code}`);
    this.wake();
  }

  private moved(): void {
    this.lastMoveMs = this.now();
    this.failuresInRow = 0;
  }

  /** Until something has happened, or it is time to ask again. */
  private async wait(): Promise<void> {
    const { limits } = this.options;
    if (this.rejection !== null) {
      const failure = this.rejection;
      this.rejection = null;
      return this.fail(failure, limits.resumeDelayMs * 2 ** this.failuresInRow);
    }
    const lateMs = limits.stallTimeoutMs * LATE_FRACTION;
    await this.pause(lateMs);
    const nowMs = this.now();
    if (nowMs - this.lastMoveMs >= limits.stallTimeoutMs) {
      const stalled = retryable('stalled', `no block of ${this.options.id} in ${limits.stallTimeoutMs} ms`);
      return this.fail(stalled, 0);
    }
    for (const [offset, wanted] of this.wanted) {
      // On a slow link the others of the window may be on their way still.
      const quietMs = nowMs - Math.max(wanted.askedMs, this.lastMoveMs);
      if (wanted.bytes === null && quietMs >= lateMs) this.ask(offset, wanted);
    }
  }

  /** A failure within the attempt: after a bounded number of them in a row without a block it is the attempt's. */
  private async fail(failure: Failure, pauseMs: number): Promise<void> {
    if (++this.failuresInRow > this.options.limits.maxResumes) {
      this.failure = failure;
      return;
    }
    this.paused = true;
    await this.pause(pauseMs);
    this.paused = false;
    this.lastMoveMs = this.now();
    this.askAgain();
  }

  private async pause(ms: number): Promise<void> {
    if (this.options.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.wake = () => {};
  }
}

function reasonOf(code: Rejection['code']): string {
  return {
    NotFound: 'not-found',
    OutOfRange: 'wrong-size',
    InvalidRequest: 'rejected',
    Busy: 'busy',
    ReadFailed: 'io',
  }[code];
}
