/**
 * Finds where in the source the next bytes of the target may have come from: a table of 8-byte hashes at evenly spaced
 * source offsets, bounded in memory whatever the source's size (the spacing grows instead).
 */

import { readU32 } from '../bytes.js';
import { MAX_VIEW_BYTES, type SourceReader } from './source-reader.js';

/** Bytes a hash covers. */
export const HASHED_BYTES = 8;
const MAX_ENTRIES = 1 << 21;
/** Fewer for a source of this size or more, whose copies are long anyway: half the memory. */
const LARGE_BYTES = 64 << 20;

export class SourceIndex {
  /** Source offsets in units of `spacing`, -1 where empty. */
  private readonly slots: Int32Array;
  /** More bits of the hash: a slot that merely collides is not worth a read of the source. None where that is in memory. */
  private readonly tags: Uint16Array | null;
  private readonly shift: number;
  private readonly spacing: number;

  constructor(source: SourceReader) {
    this.spacing = Math.max(1, Math.ceil(source.size / (source.size < LARGE_BYTES ? MAX_ENTRIES : MAX_ENTRIES / 2)));
    const bits = tableBits(Math.ceil(source.size / this.spacing));
    this.shift = 32 - bits;
    this.slots = new Int32Array(2 ** bits).fill(-1);
    this.tags = source.isWhole ? null : new Uint16Array(2 ** bits);
    const run = Math.floor((MAX_VIEW_BYTES - HASHED_BYTES) / this.spacing) * this.spacing;
    for (let start = 0; start + HASHED_BYTES <= source.size; start += run) {
      const bytes = source.view(start, run + HASHED_BYTES);
      for (let i = 0; i + HASHED_BYTES <= bytes.length && i < run; i += this.spacing) {
        const hash = hash8(bytes, i);
        const slot = hash >>> this.shift;
        this.slots[slot] = (start + i) / this.spacing;
        if (this.tags !== null) this.tags[slot] = hash;
      }
    }
  }

  /** A source offset whose 8 bytes may equal those at `at`, likely where reading it would cost something; or -1. */
  find(bytes: Uint8Array, at: number): number {
    const hash = hash8(bytes, at);
    const slot = hash >>> this.shift;
    const entry = this.slots[slot]!;
    return entry < 0 || (this.tags !== null && this.tags[slot] !== (hash & 0xffff)) ? -1 : entry * this.spacing;
  }
}

function hash8(bytes: Uint8Array, at: number): number {
  const mixed = Math.imul(readU32(bytes, at), 0x9e3779b1) ^ Math.imul(readU32(bytes, at + 4), 0x85ebca77);
  const folded = mixed ^ (mixed >>> 15);
  return Math.imul(folded, 0x2c1b3c6d) >>> 0;
}

/** At least twice as many slots as entries: log2, by shifting, since Math.log2 may differ in its last bit. */
function tableBits(entries: number): number {
  let bits = 8;
  while (2 ** bits < 2 * entries) bits++;
  return bits;
}
