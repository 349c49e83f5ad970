/**
 * Frames (SPEC.md, "Frames"): the unit of transport and trust. Frame i carries the hash of frame i + 1, the header that of
 * frame 0, so a device that holds one hash authenticates every byte before anything decodes it.
 */

import { equalBytes } from '../bytes.js';
import type { Hasher } from '../ports.js';

/** SHA-256 cut to 16 bytes: second-preimage strength 2^128 / frames is ample for a chain fixed by a signature. */
export const HASH_BYTES = 16;

/** How a body is cut: every frame but the last is `frameBytes` long and begins with the next one's hash. */
export class FrameGeometry {
  readonly frameBytes: number;
  readonly bodyBytes: number;
  readonly count: number;

  constructor(frameBytes: number, bodyBytes: number) {
    this.frameBytes = frameBytes;
    this.bodyBytes = bodyBytes;
    const chained = frameBytes - HASH_BYTES;
    this.count = bodyBytes === 0 ? 0 : 1 + Math.ceil(Math.max(0, bodyBytes - frameBytes) / chained);
  }

  /** Body and hashes: what follows the preamble in the file. */
  get wireBytes(): number {
    return this.count === 0 ? 0 : this.bodyBytes + (this.count - 1) * HASH_BYTES;
  }

  isLast(index: number): boolean {
    return index === this.count - 1;
  }

  /** Bytes of frame `index` on the wire. */
  lengthOf(index: number): number {
    return this.isLast(index) ? this.wireBytes - index * this.frameBytes : this.frameBytes;
  }

  /** Offset of the frame from the start of the body in the file; the body's end for frame `count`. */
  wireOffset(index: number): number {
    return Math.min(index * this.frameBytes, this.wireBytes);
  }

  /** Offset of the frame's first body byte, hashes not counted. */
  bodyOffset(index: number): number {
    return index * (this.frameBytes - HASH_BYTES);
  }

  /** The frame that holds the body byte at `offset`; `count` for the end of the body. */
  frameAt(offset: number): number {
    if (offset >= this.bodyBytes) return this.count;
    return Math.min(this.count - 1, Math.floor(offset / (this.frameBytes - HASH_BYTES)));
  }
}

/**
 * Gathers one frame at a time in a fixed buffer and lets its payload out only after it matched the expected hash.
 */
export class FrameReader {
  private readonly buffer: Uint8Array;
  private readonly geometry: FrameGeometry;
  private readonly hasher: Hasher;
  private readonly expected = new Uint8Array(HASH_BYTES);
  private readonly digest = new Uint8Array(32);
  private filled = 0;
  /** The frame being gathered, or, while its payload is out, the one it came from. */
  index = 0;
  /** Verified bytes not yet taken: buffer[payloadStart, payloadEnd). */
  payloadStart = 0;
  payloadEnd = 0;

  /** `buffer` holds at least min(frameBytes, wireBytes) bytes. */
  constructor(geometry: FrameGeometry, buffer: Uint8Array, hasher: Hasher, firstFrameHash: Uint8Array) {
    this.geometry = geometry;
    this.buffer = buffer;
    this.hasher = hasher;
    this.expected.set(firstFrameHash);
  }

  /** Starts at frame `index`, whose hash is known from a journal. */
  restart(index: number, expected: Uint8Array): void {
    this.index = index;
    this.expected.set(expected);
    this.filled = 0;
    this.payloadStart = 0;
    this.payloadEnd = 0;
  }

  /** Hash that frame `index` must have; while its payload is out, the hash of the frame after it. */
  get expectedHash(): Uint8Array {
    return this.expected;
  }

  get atEnd(): boolean {
    return this.index >= this.geometry.count;
  }

  get hasPayload(): boolean {
    return this.payloadStart < this.payloadEnd;
  }

  /** Takes bytes from `chunk` at `start`; returns how many. Takes none while payload is out. */
  gather(chunk: Uint8Array, start: number): number {
    if (this.atEnd || this.hasPayload) return 0;
    const length = this.geometry.lengthOf(this.index);
    const take = Math.min(length - this.filled, chunk.length - start);
    this.buffer.set(chunk.subarray(start, start + take), this.filled);
    this.filled += take;
    return take;
  }

  get complete(): boolean {
    return !this.atEnd && this.filled === this.geometry.lengthOf(this.index);
  }

  /** Checks the gathered frame. On false it is dropped, to be fed again from its first byte. */
  verify(): boolean {
    const length = this.geometry.lengthOf(this.index);
    this.hasher.reset();
    this.hasher.update(this.buffer.subarray(0, length));
    this.hasher.digest(this.digest);
    this.filled = 0;
    if (!equalBytes(this.digest.subarray(0, HASH_BYTES), this.expected)) return false;
    const last = this.geometry.isLast(this.index);
    if (!last) this.expected.set(this.buffer.subarray(0, HASH_BYTES));
    else this.expected.fill(0);
    this.payloadStart = last ? 0 : HASH_BYTES;
    this.payloadEnd = length;
    return true;
  }

  /** The verified bytes that are left; a view, valid until `drop` empties it. */
  get payload(): Uint8Array {
    return this.buffer.subarray(this.payloadStart, this.payloadEnd);
  }

  /** Marks `count` verified bytes as used; moves on to the next frame when none are left. */
  drop(count: number): void {
    this.payloadStart += count;
    if (this.payloadStart === this.payloadEnd) this.index++;
  }
}
