/**
 * Random reads of the source for the matcher: whole in memory while it is small, else one window that follows the reads.
 */

import type { ByteSource } from '../ports.js';

/** Up to here a source is held whole: matching hops about, and a window would be read again and again. */
const WHOLE_BYTES = 32 << 20;
const WINDOW_BYTES = 1 << 20;
/** How much before a read the window begins, since matches are extended backwards too. */
const BEHIND_BYTES = 1 << 18;

export class SourceReader {
  readonly size: number;
  private readonly source: ByteSource;
  private window: Uint8Array;
  private windowStart = 0;

  constructor(source: ByteSource) {
    this.source = source;
    this.size = source.size;
    this.window = new Uint8Array(Math.min(source.size, source.size <= WHOLE_BYTES ? WHOLE_BYTES : WINDOW_BYTES));
    source.read(0, this.window);
  }

  /** Whether reads cost no more than memory does. */
  get isWhole(): boolean {
    return this.window.length === this.size;
  }

  /** Bytes [offset, offset + length) of the source, or fewer at its end; a view, valid until the next call. `length` <= 512 KiB. */
  view(offset: number, length: number): Uint8Array {
    const end = Math.min(offset + length, this.size);
    if (offset < this.windowStart || end > this.windowStart + this.window.length) this.move(offset);
    return this.window.subarray(offset - this.windowStart, end - this.windowStart);
  }

  /** The same of any length, where the source is whole; null where it is not, or ends before. A view that stays valid. */
  held(offset: number, length: number): Uint8Array | null {
    const isInside = offset >= 0 && length <= this.size - offset;
    return this.isWhole && isInside ? this.window.subarray(offset, offset + length) : null;
  }

  private move(offset: number): void {
    this.windowStart = Math.max(0, Math.min(offset - BEHIND_BYTES, this.size - this.window.length));
    this.source.read(this.windowStart, this.window);
  }
}

/** Longest view that is sure to fit behind any offset. */
export const MAX_VIEW_BYTES = WINDOW_BYTES - 2 * BEHIND_BYTES;
