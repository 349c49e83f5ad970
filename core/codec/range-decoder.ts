/**
 * Adaptive binary range decoder (Martin, "Range encoding", 1979; the carry-less form of LZMA), with every value inside 31 bits,
 * which is 1.5-2 times as fast on V8 as 32 bits and costs QuickJS nothing (research/codec.md).
 *
 * Range starts at 2^30 - 1 and is kept at 2^22 or above. Bits past the end of the payload read as zero, so that an encoder
 * may leave trailing zero bytes out. Whatever the payload, decoding never fails and never leaves its bounds: garbage decodes to
 * garbage, which the target's hash refuses.
 */

import { type BitCoder, EVEN, QUICK_SHIFT, SINGLE_SHIFT, SLOW_SHIFT } from './bit-coder.js';

const TOP = 1 << 22;

export class RangeDecoder implements BitCoder {
  readonly encodes = false;
  /** Probability that the bit is 0, in 1/65536, by context; with one rate both are the same array. */
  private readonly quick: Uint16Array;
  private readonly slow: Uint16Array;
  private readonly twoRates: boolean;
  private bytes: Uint8Array = new Uint8Array(0);
  private position = 0;
  private range = 0;
  private code = 0;
  /** The byte whose last two bits are still to come: 30 bits are no whole number of bytes. */
  private last = 0;

  /** @param state two bytes a context and rate */
  constructor(state: Uint16Array, twoRates: boolean) {
    this.twoRates = twoRates;
    this.quick = twoRates ? state.subarray(0, state.length >> 1) : state;
    this.slow = twoRates ? state.subarray(state.length >> 1) : state;
  }

  /** Starts a payload with fresh contexts. */
  begin(bytes: Uint8Array): void {
    this.quick.fill(EVEN);
    this.slow.fill(EVEN);
    this.bytes = bytes;
    this.position = 0;
    this.range = 0x3fffffff;
    this.code = (this.read() << 22) | (this.read() << 14) | (this.read() << 6);
    this.last = this.read();
    this.code |= this.last >>> 2;
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

  bit(context: number): number {
    if (!this.twoRates) return this.singleBit(context);
    const quick = this.quick[context]!;
    const slow = this.slow[context]!;
    const bound = (this.range >>> 12) * ((quick + slow) >>> 5);
    let bit = 0;
    if (this.code < bound) {
      this.range = bound;
      this.quick[context] = quick + ((65536 - quick) >>> QUICK_SHIFT);
      this.slow[context] = slow + ((65536 - slow) >>> SLOW_SHIFT);
    } else {
      this.code -= bound;
      this.range -= bound;
      this.quick[context] = quick - (quick >>> QUICK_SHIFT);
      this.slow[context] = slow - (slow >>> SLOW_SHIFT);
      bit = 1;
    }
    if (this.range < TOP) this.renormalise();
    return bit;
  }

  private singleBit(context: number): number {
    const p = this.quick[context]!;
    const bound = (this.range >>> 12) * (p >>> 4);
    let bit = 0;
    if (this.code < bound) {
      this.range = bound;
      this.quick[context] = p + ((65536 - p) >>> SINGLE_SHIFT);
    } else {
      this.code -= bound;
      this.range -= bound;
      this.quick[context] = p - (p >>> SINGLE_SHIFT);
      bit = 1;
    }
    if (this.range < TOP) this.renormalise();
    return bit;
  }

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

  private renormalise(): void {
    do {
      this.code = (this.code << 8) | this.next();
      this.range <<= 8;
    } while (this.range < TOP);
  }
}
