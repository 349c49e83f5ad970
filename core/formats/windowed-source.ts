/**
 * Reads small fields out of a model file of any size while holding at most a quarter of a megabyte of it. Format readers
 * hop between a directory at one end and names, shapes and scales spread over the rest; the weights between are never
 * read. Every access is checked against the file's size first, so a reader built on this cannot leave the file.
 *
 * Knows nothing of any format.
 */

import { readU16, readU32, readU64 } from '../bytes.js';
import { ModelFormatError } from '../errors.js';
import type { ByteSource } from '../ports.js';

const PAGE_BYTES = 4096;
const MAX_PAGES = 64;
/** A page also holds the first bytes of the next one, so that a field that straddles both lies in one piece. */
const OVERLAP_BYTES = 8;
const STRIDE = PAGE_BYTES + OVERLAP_BYTES;

export class WindowedSource {
  readonly size: number;
  private readonly source: ByteSource;
  private readonly pageCount: number;
  /** [pageCount, STRIDE], direct-mapped: page p of the file lives in slot p mod pageCount. */
  private readonly pages: Uint8Array;
  private readonly view: DataView;
  private readonly held: Float64Array;

  constructor(source: ByteSource) {
    this.source = source;
    this.size = source.size;
    this.pageCount = Math.max(1, Math.min(MAX_PAGES, Math.ceil(source.size / PAGE_BYTES)));
    this.pages = new Uint8Array(this.pageCount * STRIDE);
    this.view = new DataView(this.pages.buffer);
    this.held = new Float64Array(this.pageCount).fill(-1);
  }

  /** Throws ModelFormatError unless `length` bytes from `offset` lie inside the file. `what` names them in the message. */
  require(offset: number, length: number, what: string): void {
    // Written so that NaN and sums past 2^53 fail too.
    if (offset >= 0 && length >= 0 && offset <= this.size && length <= this.size - offset) return;
    throw new ModelFormatError(
      `expected ${length} bytes of ${what} at ${offset}, but the file has ${this.size}`,
      Math.min(Math.max(offset, 0), this.size),
    );
  }

  u8(offset: number, what: string): number {
    return this.pages[this.locate(offset, 1, what)]!;
  }

  u16(offset: number, what: string): number {
    return readU16(this.pages, this.locate(offset, 2, what));
  }

  u32(offset: number, what: string): number {
    return readU32(this.pages, this.locate(offset, 4, what));
  }

  i32(offset: number, what: string): number {
    return this.u32(offset, what) | 0;
  }

  f32(offset: number, what: string): number {
    return this.view.getFloat32(this.locate(offset, 4, what), true);
  }

  /** Throws ModelFormatError for a value no size or offset can have (above 2^53 - 1). */
  u64(offset: number, what: string): number {
    const value = readU64(this.pages, this.locate(offset, 8, what));
    if (Number.isSafeInteger(value)) return value;
    throw new ModelFormatError(`expected ${what} of at most 2^53 - 1, got ${value}`, offset);
  }

  /** A copy. The caller bounds `length` by a declared limit first; here it is only checked against the file. */
  bytes(offset: number, length: number, what: string): Uint8Array {
    this.require(offset, length, what);
    const copy = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const run = Math.min(length - done, PAGE_BYTES - (at % PAGE_BYTES));
      const from = this.locate(at, 1, what);
      copy.set(this.pages.subarray(from, from + run), done);
      done += run;
    }
    return copy;
  }

  /** Index into `pages` from which `length` <= OVERLAP_BYTES bytes of the file lie in one piece. */
  private locate(offset: number, length: number, what: string): number {
    this.require(offset, length, what);
    const page = Math.floor(offset / PAGE_BYTES);
    const slot = page % this.pageCount;
    const start = page * PAGE_BYTES;
    if (this.held[slot] !== page) this.load(slot, page, start);
    return slot * STRIDE + (offset - start);
  }

  private load(slot: number, page: number, start: number): void {
    // Forgotten first: a read that throws leaves the slot half-filled.
    this.held[slot] = -1;
    const length = Math.min(STRIDE, this.size - start);
    this.source.read(start, this.pages.subarray(slot * STRIDE, slot * STRIDE + length));
    this.held[slot] = page;
  }
}
