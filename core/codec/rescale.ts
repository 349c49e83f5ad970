/**
 * The same tensor with other scales (SPEC.md, "Rescaled tensors"): each old value times a ratio of its channel, or of its row and
 * its column, predicts the new one. How near the product is to the next rounding tells how sure that is (research/codec.md, 3).
 * Exports that balance channels between layers scale every row and every column of a matrix by factors that no container
 * names; encoders fit them.
 */

import { readI32, writeU32 } from '../bytes.js';

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

/**
 * The ratio of one element, binary32: of both lists the product. What no product makes sense with (0, infinite, NaN) is 1.
 * Places stay within 31 bits, so that their divisions are of whole numbers.
 * @param ratios little-endian binary32, the first list and the second
 */
function ratioOf(places: ChannelPlaces, ratios: Uint8Array, element: number): number {
  const { scaleCount, inner, group, outer, crossCount, crossInner } = places;
  const channel = (((element / outer) | 0) * group + (((element / inner) | 0) % group)) % scaleCount;
  ratioBits[0] = readI32(ratios, 4 * channel);
  if (crossCount > 0) {
    const first = ratio[0]!;
    ratioBits[0] = readI32(ratios, 4 * (scaleCount + (((element / crossInner) | 0) % crossCount)));
    ratio[0] = first * ratio[0]!;
  }
  const value = ratio[0]!;
  // What is no finite number minus itself is none.
  return value === 0 || value - value !== 0 ? 1 : value;
}

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
  for (let i = 0; i < target.length; i++) {
    const old = (((source[i]! ^ oldFlip) << 24) >> 24) - oldZeroPoint;
    const value = old * ratioOf(places, ratios, first + i) + 0.5;
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
  for (let i = 0; 4 * i < target.length; i++) {
    const value = Math.floor(readI32(source, 4 * i) * ratioOf(places, ratios, first + i) + 0.5);
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
  for (let i = 0; 4 * i < target.length; i++) {
    const bits = readI32(source, 4 * i);
    singleBits[0] = bits;
    const isNotANumber = (bits & 0x7fffffff) > 0x7f800000;
    single[0] = single[0]! * ratioOf(places, ratios, first + i);
    writeU32(target, 4 * i, isNotANumber ? bits : singleBits[0]!);
  }
}
