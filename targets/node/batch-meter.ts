/** How far a batch has got: one number over all its pairs. */

import { statSync } from 'node:fs';
import type { BatchProgress, Input, Progress } from './api-types.js';
import { isSystemError } from './io-error.js';

const REPORT_EVERY_MS = 50;

export class BatchMeter {
  private readonly sizes: readonly number[];
  private readonly done: number[];
  private readonly total: number;
  private readonly report: (progress: BatchProgress) => void;
  private settled = 0;
  private sum = 0;
  private lastReport = 0;

  constructor(pairs: readonly { readonly target: Input }[], report: (progress: BatchProgress) => void) {
    this.sizes = pairs.map(({ target }) => sizeOf(target));
    this.done = pairs.map(() => 0);
    this.total = this.sizes.reduce((sum, size) => sum + size, 0);
    this.report = report;
  }

  /** Only encoding counts: hashing before and verifying behind it are a small part of the time. */
  advance(index: number, { phase, done }: Progress): void {
    if (phase !== 'encoding') return;
    this.add(index, Math.min(done, this.sizes[index]!));
    const now = performance.now();
    if (now - this.lastReport < REPORT_EVERY_MS) return;
    this.lastReport = now;
    this.send();
  }

  /** Told each time, or nobody would see the end. */
  settle(index: number): void {
    this.add(index, this.sizes[index]!);
    this.settled++;
    this.send();
  }

  private add(index: number, done: number): void {
    this.sum += done - this.done[index]!;
    this.done[index] = done;
  }

  private send(): void {
    const { sum, total, settled, sizes } = this;
    this.report({ done: sum, total, settled, pairs: sizes.length });
  }
}

/** 0 for a file that cannot be looked at: its pair fails when its turn comes. */
function sizeOf(target: Input): number {
  if (typeof target !== 'string') return target.length;
  try {
    return statSync(target).size;
  } catch (error) {
    if (isSystemError(error)) return 0;
    throw error;
  }
}
