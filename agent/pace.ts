/**
 * A token bucket over everything that is downloaded: bytes a second on average, with at most a second's worth at once. One for the
 * life of the agent, so that broken transfers and retries get no more.
 */
import { setTimeout as delay } from 'node:timers/promises';

export interface Pace {
  /** To be asked for at once: what was asked for comes as fast as the network brings it, into the kernel's buffers if nobody reads. */
  readonly pieceBytes: number;
  /** Resolves when `bytes` that have arrived were due. @throws the signal's reason. */
  take(bytes: number, signal: AbortSignal): Promise<void>;
}

export interface PaceClock {
  /** Monotonic. */
  readonly nowMs: () => number;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

const REAL_CLOCK: PaceClock = {
  nowMs: () => performance.now(),
  sleep: (ms, signal) => delay(ms, undefined, { signal }),
};

/** Smaller ones would spend the limit on the headers of requests. */
const MIN_PIECE_BYTES = 64 * 1024;

export class TokenBucket implements Pace {
  readonly pieceBytes: number;
  private readonly bytesPerSecond: number;
  private readonly clock: PaceClock;
  /** Below zero after a chunk larger than what had gathered: it is waited for, not refused. */
  private tokens = 0;
  private filledMs: number;

  constructor(bytesPerSecond: number, clock: PaceClock = REAL_CLOCK) {
    this.bytesPerSecond = bytesPerSecond;
    this.pieceBytes = Math.max(MIN_PIECE_BYTES, bytesPerSecond);
    this.clock = clock;
    this.filledMs = clock.nowMs();
  }

  async take(bytes: number, signal: AbortSignal): Promise<void> {
    const { bytesPerSecond, clock } = this;
    const nowMs = clock.nowMs();
    this.tokens = Math.min(bytesPerSecond, this.tokens + ((nowMs - this.filledMs) * bytesPerSecond) / 1000);
    this.filledMs = nowMs;
    this.tokens -= bytes;
    if (this.tokens < 0) await clock.sleep((-this.tokens * 1000) / bytesPerSecond, signal);
  }
}
