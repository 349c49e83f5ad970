/**
 * Adaptive binary range decoder (Martin, "Range encoding", 1979; the carry-less form of LZMA), with every value inside 31 bits,
 * which is 1.5-2 times as fast on V8 as 32 bits and costs QuickJS nothing (research/codec.md).
 *
 * Range starts at 2^30 - 1 and is kept at 2^22 or above. Bits past the end of the payload read as zero, so that an encoder
 * may leave trailing zero bytes out. Whatever the payload, decoding never fails and never leaves its bounds: garbage decodes to
 * garbage, which the target's hash refuses.
 */

import { type BitCoder, COUNT_LIMIT, COUNT_RATES, EVEN } from './bit-coder.js';
import { grown, LEAST, MOST } from './context-state.js';
import type { Priors } from './priors.js';

/** The range is kept at this or above. */
export const TOP = 1 << 22;

/** What both ways of keeping probabilities share. */
export abstract class RangeDecoder implements BitCoder {
  readonly encodes = false;
  // Open to loops that have the decoder's bit written out (byte-deltas.ts).
  range = 0;
  code = 0;
  private bytes: Uint8Array = new Uint8Array(0);
  private position = 0;
  /** The byte whose last two bits are still to come: 30 bits are no whole number of bytes. */
  private last = 0;

  /** Starts a payload with fresh contexts. */
  begin(bytes: Uint8Array): void {
    this.startContexts();
    this.bytes = bytes;
    this.position = 0;
    this.range = 0x3fffffff;
    this.code = (this.read() << 22) | (this.read() << 14) | (this.read() << 6);
    this.last = this.read();
    this.code |= this.last >>> 2;
  }

  protected abstract startContexts(): void;

  abstract bit(context: number): number;

  mixed(zero: number): number {
    const bound = (this.range >>> 12) * zero;
    let bit = 0;
    if (this.code < bound) this.range = bound;
    else {
      this.code -= bound;
      this.range -= bound;
      bit = 1;
    }
    if (this.range < TOP) this.renormalise();
    return bit;
  }

  direct(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++) {
      this.range >>>= 1;
      const bit = this.code >= this.range ? 1 : 0;
      if (bit === 1) this.code -= this.range;
      value = (value << 1) | bit;
      if (this.range < TOP) this.renormalise();
    }
    return value;
  }

  renormalise(): void {
    do {
      this.code = (this.code << 8) | this.next();
      this.range <<= 8;
    } while (this.range < TOP);
  }

  private read(): number {
    return this.position < this.bytes.length ? this.bytes[this.position++]! : 0;
  }

  /** Eight more bits of the payload, two bits behind its bytes. */
  private next(): number {
    const byte = this.read();
    const digit = ((this.last << 6) & 0xff) | (byte >>> 2);
    this.last = byte;
    return digit;
  }
}

/** Gateways: a probability a context, which starts even, and how many bits it has seen. */
export class CountedDecoder extends RangeDecoder {
  /** That the bit is 0, in 1/65536, by context. */
  private readonly zeros: Uint16Array;
  private readonly counts: Uint16Array;

  /** @param state two entries a context */
  constructor(state: Uint16Array) {
    super();
    this.zeros = state.subarray(0, state.length >> 1);
    this.counts = state.subarray(state.length >> 1);
  }

  protected override startContexts(): void {
    this.zeros.fill(EVEN);
    this.counts.fill(0);
  }

  override bit(context: number): number {
    const zero = this.zeros[context]!;
    const count = this.counts[context]!;
    const rate = COUNT_RATES[count]!;
    if (count < COUNT_LIMIT) this.counts[context] = count + 1;
    const bound = (this.range >>> 12) * (zero >>> 4);
    let bit = 0;
    if (this.code < bound) {
      this.range = bound;
      this.zeros[context] = zero + (((65536 - zero) * rate) >>> 16);
    } else {
      this.code -= bound;
      this.range -= bound;
      this.zeros[context] = zero - ((zero * rate) >>> 16);
      bit = 1;
    }
    if (this.range < TOP) this.renormalise();
    return bit;
  }
}

/** Microcontrollers: contexts as context-state.ts has them, from priors on. */
export class SingleRateDecoder extends RangeDecoder {
  readonly state: Uint16Array;
  /** How settled contexts move: `settled` of context-state.ts, written out in `bit`. */
  readonly shift: number;
  readonly upFrom: number;
  readonly downFrom: number;
  private readonly priors: Priors;

  /** @param state an entry a context */
  constructor(state: Uint16Array, priors: Priors) {
    super();
    this.state = state;
    this.priors = priors;
    const round = (2 << priors.shift) - 1;
    this.shift = priors.shift + 1;
    this.upFrom = MOST + round;
    this.downFrom = round - LEAST;
  }

  protected override startContexts(): void {
    this.priors.fill(this.state);
  }

  override bit(context: number): number {
    const { state } = this;
    const p = state[context]!;
    const bound = (this.range >>> 12) * (p >>> 4);
    if (this.code < bound) {
      this.range = bound;
      state[context] = (p & 1) === 1 ? grown(p, 0) : p + (((this.upFrom - p) >> this.shift) << 1);
      if (bound < TOP) this.renormalise();
      return 0;
    }
    this.code -= bound;
    this.range -= bound;
    state[context] = (p & 1) === 1 ? grown(p, 1) : p - (((p + this.downFrom) >> this.shift) << 1);
    if (this.range < TOP) this.renormalise();
    return 1;
  }
}
