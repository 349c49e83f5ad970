/**
 * The same tensor with other scales (SPEC.md, "Rescaled tensors"): each old value times a ratio of its channel, or of its row and
 * its column, predicts the new one. How near the product is to the next rounding tells how sure that is (research/codec.md, 3).
 * Exports that balance channels between layers scale every row and every column of a matrix by factors that no container
 * names; encoders fit them.
 */

import { readI32, writeU32 } from '../bytes.js';
import { ChannelWalk } from './channel-walk.js';

/** Steps of a rounding's fraction that are told apart. */
export const FRACTIONS = 16;

/** Which ratios an element takes: see `set`. */
export interface ChannelPlaces {
  /** Ratios of the first list. */
  readonly scaleCount: number;
  /** Elements that share a ratio, one after another. */
  readonly inner: number;
  /** Neighbouring channels that lie interleaved in a stretch of `outer` elements. */
  readonly group: number;
  readonly outer: number;
  /** Ratios of the second list, 0 for none, and how many elements share one. */
  readonly crossCount: number;
  readonly crossInner: number;
  /** The op's first element counts as this one. */
  readonly phase: number;
  /** Zero points of the new type and, from int8 to int8, the old one: see ZERO_POINTS. */
  readonly zero: number;
  readonly oldZero: number;
}

/**
 * Zero points are told as int8, modulo 256; UNSIGNED is added where bytes are uint8, which count as int8 with the top bit flipped:
 * UNSIGNED alone is uint8 of zero point 128.
 */
export const UNSIGNED = 256;
export const ZERO_POINTS = 2 * UNSIGNED;

/** What flips bytes of the type that `zero` tells into int8. */
export function flipOf(zero: number): number {
  return zero >= UNSIGNED ? 0x80 : 0;
}

/** The zero point that `zero` tells, as int8. */
export function zeroPointOf(zero: number): number {
  return (zero << 24) >> 24;
}

/** Largest of the numbers above, so that an element's place stays within 31 bits. */
export const MAX_PLACE = 2 ** 30;

const ratio = new Float32Array(1);
const ratioBits = new Int32Array(ratio.buffer);
const single = new Float32Array(1);
const singleBits = new Int32Array(single.buffer);

/** The ratios of elements one after another. */
class RatioWalk {
  private readonly rows = new ChannelWalk();
  private readonly columns = new ChannelWalk();
  private ratios: Uint8Array = new Uint8Array(0);
  private scaleCount = 1;
  private hasColumns = false;

  /** @param ratios little-endian binary32, the first list and the second */
  begin(places: ChannelPlaces, ratios: Uint8Array, element: number): void {
    const { scaleCount, inner, group, outer, crossCount, crossInner } = places;
    this.ratios = ratios;
    this.scaleCount = scaleCount;
    this.hasColumns = crossCount > 0;
    this.rows.begin(scaleCount, inner, group, outer, element);
    if (this.hasColumns) this.columns.begin(crossCount, crossInner, 1, crossInner, element);
  }

  /** The next element's, binary32: of both lists the product. What no product makes sense with (0, infinite, NaN) is 1. */
  next(): number {
    let value = this.ratioAt(this.rows.channel);
    this.rows.next();
    if (this.hasColumns) {
      value = Math.fround(value * this.ratioAt(this.scaleCount + this.columns.channel));
      this.columns.next();
    }
    // What is no finite number minus itself is none.
    return value === 0 || value - value !== 0 ? 1 : value;
  }

  private ratioAt(index: number): number {
    ratioBits[0] = readI32(this.ratios, 4 * index);
    return ratio[0]!;
  }
}

/** One for all: runs of a cast are short, and nothing is allocated for them. */
const walk = new RatioWalk();

/** @param fractions receives, for each element, where between two roundings the product lay: 0 just above the lower one */
export function rescaleInt8(
  source: Uint8Array,
  target: Uint8Array,
  places: ChannelPlaces,
  ratios: Uint8Array,
  first: number,
  fractions: Uint8Array,
): void {
  const { zero, oldZero } = places;
  const [flip, oldFlip] = [flipOf(zero), flipOf(oldZero)];
  const [zeroPoint, oldZeroPoint] = [zeroPointOf(zero), zeroPointOf(oldZero)];
  walk.begin(places, ratios, first);
  for (let i = 0; i < target.length; i++) {
    const old = (((source[i]! ^ oldFlip) << 24) >> 24) - oldZeroPoint;
    const value = old * walk.next() + 0.5;
    const rounded = Math.floor(value);
    fractions[i] = (value - rounded) * FRACTIONS;
    target[i] = Math.max(-128, Math.min(127, rounded + zeroPoint)) ^ flip;
  }
}

export function rescaleInt32(
  source: Uint8Array,
  target: Uint8Array,
  places: ChannelPlaces,
  ratios: Uint8Array,
  first: number,
): void {
  walk.begin(places, ratios, first);
  for (let i = 0; 4 * i < target.length; i++) {
    const value = Math.floor(readI32(source, 4 * i) * walk.next() + 0.5);
    writeU32(target, 4 * i, Math.max(-0x80000000, Math.min(0x7fffffff, value)));
  }
}

/** A NaN's bits stay as they are. */
export function rescaleFloat(
  source: Uint8Array,
  target: Uint8Array,
  places: ChannelPlaces,
  ratios: Uint8Array,
  first: number,
): void {
  walk.begin(places, ratios, first);
  for (let i = 0; 4 * i < target.length; i++) {
    const bits = readI32(source, 4 * i);
    singleBits[0] = bits;
    const isNotANumber = (bits & 0x7fffffff) > 0x7f800000;
    single[0] = single[0]! * walk.next();
    writeU32(target, 4 * i, isNotANumber ? bits : singleBits[0]!);
  }
}
