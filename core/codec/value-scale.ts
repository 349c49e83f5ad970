/** Elements of a type as whole numbers in the order of their values, and the values: what a prediction is rounded to. */

import {
  ELEMENT_BFLOAT16,
  ELEMENT_FLOAT16,
  ELEMENT_FLOAT32,
  ELEMENT_INT16,
  fromOrdered16,
  fromOrdered32,
  toOrdered16,
  toOrdered32,
} from './elements.js';
import { floatToBfloat, floatToHalf, halfToFloat } from './half.js';

/** Infinities and what is no number count as just beyond the largest number. */
const BEYOND_HALF = 65536;
const BEYOND_FLOAT = 2 ** 128;

export class ValueScale {
  /** The greatest whole number. */
  top = 0xffff;
  /** Places of the lowest bit of the exponent; integers have none. */
  fractionBits = 31;
  private type = 0;
  private isFloat = false;
  private readonly float = new Float32Array(1);
  private readonly floatBits = new Int32Array(this.float.buffer);

  use(type: number): void {
    this.type = type;
    this.isFloat = type === ELEMENT_FLOAT32 || type === ELEMENT_FLOAT16 || type === ELEMENT_BFLOAT16;
    const isShort = type === ELEMENT_FLOAT16 || type === ELEMENT_BFLOAT16 || type === ELEMENT_INT16;
    this.top = isShort ? 0xffff : 0xffffffff;
    this.fractionBits =
      type === ELEMENT_FLOAT32 ? 23 : type === ELEMENT_FLOAT16 ? 10 : type === ELEMENT_BFLOAT16 ? 7 : 31;
  }

  toOrdered(bits: number): number {
    if (this.isFloat) return this.top === 0xffff ? toOrdered16(bits) : toOrdered32(bits) >>> 0;
    return this.top === 0xffff ? (bits + 0x8000) & 0xffff : (bits + 0x80000000) >>> 0;
  }

  toBits(ordered: number): number {
    if (this.isFloat) return this.top === 0xffff ? fromOrdered16(ordered) : fromOrdered32(ordered | 0);
    return this.top === 0xffff ? (ordered - 0x8000) & 0xffff : (ordered - 0x80000000) | 0;
  }

  value(ordered: number): number {
    if (!this.isFloat) return ordered - (this.top === 0xffff ? 0x8000 : 0x80000000);
    const bits = this.toBits(ordered);
    this.floatBits[0] =
      this.type === ELEMENT_FLOAT32 ? bits : this.type === ELEMENT_FLOAT16 ? halfToFloat(bits) : bits << 16;
    const value = this.float[0]!;
    if (value - value === 0) return value;
    const beyond = this.type === ELEMENT_FLOAT16 ? BEYOND_HALF : BEYOND_FLOAT;
    return ordered > this.top / 2 ? beyond : -beyond;
  }

  /** The whole number of the element nearest to a finite value: ties to even, integers with halves upwards. */
  nearest(value: number): number {
    if (!this.isFloat) {
      const half = this.top === 0xffff ? 0x8000 : 0x80000000;
      return Math.max(0, Math.min(this.top, Math.floor(value + 0.5) + half));
    }
    this.float[0] = value;
    const bits = this.floatBits[0]!;
    return this.toOrdered(
      this.type === ELEMENT_FLOAT32 ? bits : this.type === ELEMENT_FLOAT16 ? floatToHalf(bits) : floatToBfloat(bits),
    );
  }
}
