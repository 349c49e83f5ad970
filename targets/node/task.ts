/** What an operation in a worker thread is given besides its arguments: ways to report and to hear of an abort. */

import type { ByteSource, Compressor } from '../../core/ports.js';
import type { Progress } from './api-types.js';

/** Thrown inside a worker when its caller aborted; the caller rejects with its own reason. */
export class Aborted extends Error {}

const REPORT_EVERY_MS = 50;

export class Task {
  private readonly cancelled: Int32Array;
  private readonly report: (progress: Progress) => void;
  private lastReport = 0;

  /** @param cancelled one shared cell, non-zero once the caller aborted */
  constructor(cancelled: Int32Array, report: (progress: Progress) => void) {
    this.cancelled = cancelled;
    this.report = report;
  }

  /** To be called between bounded pieces of work. @throws Aborted */
  checkpoint(phase: Progress['phase'], done: number, total: number): void {
    this.throwIfAborted();
    const now = performance.now();
    if (done < total && now - this.lastReport < REPORT_EVERY_MS) return;
    this.lastReport = now;
    this.report({ phase, done, total });
  }

  /** @throws Aborted */
  throwIfAborted(): void {
    if (Atomics.load(this.cancelled, 0) !== 0) throw new Aborted();
  }

  /**
   * The source, except that reading it ends the work once the caller aborted. Core's longest loops, such as indexing a
   * source, report nothing, but none of them goes on for long without a read.
   */
  watchSource(source: ByteSource): ByteSource {
    return {
      size: source.size,
      read: (offset, into) => {
        this.throwIfAborted();
        source.read(offset, into);
      },
    };
  }

  /** As watchSource: at level 19 a segment takes seconds, tried several ways. */
  watchCompressor(compressor: Compressor): Compressor {
    return {
      compress: (dictionary, plain, level) => {
        this.throwIfAborted();
        return compressor.compress(dictionary, plain, level);
      },
    };
  }
}
