/** The other half of core/codec/range-decoder.ts: same probabilities, same 30-bit range, carries resolved before bytes leave. */

import { type BitCoder, COUNT_LIMIT, COUNT_RATES, EVEN } from '../codec/bit-coder.js';
import { grown, settled } from '../codec/context-state.js';
import type { Priors } from '../codec/priors.js';
import { ByteBuilder } from './byte-builder.js';

const TOP = 1 << 22;
const CARRY = 1 << 30;

export class RangeEncoder implements BitCoder {
  readonly encodes = true;
  /** By context; that the bit is 0 in class 1. */
  private readonly state: Uint16Array;
  /** Class 1: bits seen, by context. */
  private readonly counts: Uint16Array;
  private readonly priors: Priors | null;
  private readonly out = new ByteBuilder(1024);
  private low = 0;
  private range = 0;
  /** The last byte not yet written, since a carry may still reach it, and how many 0xFF follow it. */
  private cache = 0;
  private pending = 0;
  private started = false;

  /** As RangeDecoder's. */
  constructor(state: Uint16Array, priors: Priors | null) {
    this.priors = priors;
    this.state = priors === null ? state.subarray(0, state.length >> 1) : state;
    this.counts = priors === null ? state.subarray(state.length >> 1) : state;
  }

  begin(): void {
    if (this.priors === null) {
      this.state.fill(EVEN);
      this.counts.fill(0);
    } else this.priors.fill(this.state);
    this.out.clear();
    this.low = 0;
    this.range = 0x3fffffff;
    this.cache = 0;
    this.pending = 0;
    this.started = false;
  }

  bit(context: number, bit: number): number {
    if (this.priors !== null) return this.singleBit(this.priors.shift, context, bit);
    const zero = this.state[context]!;
    const count = this.counts[context]!;
    const rate = COUNT_RATES[count]!;
    if (count < COUNT_LIMIT) this.counts[context] = count + 1;
    this.split((this.range >>> 12) * (zero >>> 4), bit);
    this.state[context] = bit === 0 ? zero + (((65536 - zero) * rate) >>> 16) : zero - ((zero * rate) >>> 16);
    return bit;
  }

  private singleBit(shift: number, context: number, bit: number): number {
    const p = this.state[context]!;
    this.split((this.range >>> 12) * (p >>> 4), bit);
    this.state[context] = (p & 1) === 1 ? grown(p, bit) : settled(p, bit, shift);
    return bit;
  }

  mixed(zero: number, bit: number): number {
    this.split((this.range >>> 12) * zero, bit);
    return bit;
  }

  direct(count: number, value: number): number {
    for (let i = count - 1; i >= 0; i--) this.split(this.range >>> 1, (value >>> i) & 1, true);
    return value;
  }

  /** The payload; a view, valid until the next `begin`. Trailing zeros are left out: the decoder reads them past the end. */
  finish(): Uint8Array {
    this.roundLow();
    for (let i = 0; i < 5; i++) this.shiftLow();
    const bytes = this.out.view();
    let end = bytes.length;
    while (end > 0 && bytes[end - 1] === 0) end--;
    return bytes.subarray(0, end);
  }

  /** Any value in [low, low + range) decodes the same; the one with the most zeros at its end is the shortest. */
  private roundLow(): void {
    for (let zeros = 29; zeros > 0; zeros--) {
      const unit = 2 ** zeros;
      const rounded = Math.ceil(this.low / unit) * unit;
      if (rounded < this.low + this.range) {
        this.low = rounded;
        return;
      }
    }
  }

  /** `even`: both halves are the same size, so that the decoder can halve without a product. */
  private split(bound: number, bit: number, even = false): void {
    if (bit === 0) this.range = bound;
    else {
      this.low += bound;
      this.range = even ? bound : this.range - bound;
    }
    while (this.range < TOP) {
      this.range <<= 8;
      this.shiftLow();
    }
  }

  /** Moves the top eight of low's 30 bits out. */
  private shiftLow(): void {
    const carry = this.low >= CARRY ? 1 : 0;
    const low = this.low & (CARRY - 1);
    const digit = low >>> 22;
    if (carry === 1 || digit < 0xff) {
      if (this.started) this.out.byte((this.cache + carry) & 0xff);
      for (; this.pending > 0; this.pending--) this.out.byte((0xff + carry) & 0xff);
      this.cache = digit;
      this.started = true;
    } else this.pending++;
    this.low = (low & (TOP - 1)) << 8;
  }
}
