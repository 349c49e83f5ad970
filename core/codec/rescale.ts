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

/** Largest of the numbers above, so that an element's place stays within 31 bits and its divisions are of whole numbers. */
export const MAX_PLACE = 2 ** 30;

const single = new Float32Array(1);
const singleBits = new Int32Array(single.buffer);

function ratioAt(ratios: Uint8Array, index: number): number {
  singleBits[0] = readI32(ratios, 4 * index);
  return single[0]!;
}

/**
 * The ratios of elements from `first` on, as many as `into` holds: binary32, of both lists the product. What no product makes sense
 * with (0, infinite, NaN) is 1. Goes from place to place: finding each by division took as long as all else.
 * @param ratios little-endian binary32, the first list and the second
 */
export function findRatios(
  { scaleCount, inner, group, outer, crossCount, crossInner }: ChannelPlaces,
  ratios: Uint8Array,
  first: number,
  into: Float32Array,
): void {
  let inGroup = ((first / inner) | 0) % group;
  // Of the stretch the remainder: the product could otherwise be past what a double holds.
  let channels = ((((first / outer) | 0) % scaleCount) * group) % scaleCount;
  let cross = crossCount > 0 ? ((first / crossInner) | 0) % crossCount : 0;
  let crossRatio = crossCount > 0 ? ratioAt(ratios, scaleCount + cross) : 1;
  let innerLeft = inner - (first % inner);
  let outerLeft = outer - (first % outer);
  let crossLeft = crossInner - (first % crossInner);
  for (let i = 0; i < into.length; i++) {
    into[i] = ratioAt(ratios, (channels + inGroup) % scaleCount) * crossRatio;
    const value = into[i]!;
    // What is no finite number minus itself is none.
    if (value === 0 || value - value !== 0) into[i] = 1;
    if (--innerLeft === 0) {
      innerLeft = inner;
      if (++inGroup === group) inGroup = 0;
    }
    if (--outerLeft === 0) {
      outerLeft = outer;
      channels = (channels + group) % scaleCount;
    }
    if (crossCount > 0 && --crossLeft === 0) {
      crossLeft = crossInner;
      if (++cross === crossCount) cross = 0;
      crossRatio = ratioAt(ratios, scaleCount + cross);
    }
  }
}

/** @param fractions receives, for each element, where between two roundings the product lay: 0 just above the lower one */
export function rescaleInt8(
  source: Uint8Array,
  target: Uint8Array,
  ratios: Float32Array,
  { zero, oldZero }: ChannelPlaces,
  fractions: Uint8Array,
): void {
  const flip = flipOf(zero);
  const oldFlip = flipOf(oldZero);
  const zeroPoint = zeroPointOf(zero);
  const oldZeroPoint = zeroPointOf(oldZero);
  for (let i = 0; i < target.length; i++) {
    const old = (((source[i]! ^ oldFlip) << 24) >> 24) - oldZeroPoint;
    const value = old * ratios[i]! + 0.5;
    const rounded = Math.floor(value);
    fractions[i] = (value - rounded) * FRACTIONS;
    target[i] = Math.max(-128, Math.min(127, rounded + zeroPoint)) ^ flip;
  }
}

export function rescaleInt32(source: Uint8Array, target: Uint8Array, ratios: Float32Array): void {
  for (let i = 0; 4 * i < target.length; i++) {
    const value = Math.floor(readI32(source, 4 * i) * ratios[i]! + 0.5);
    writeU32(target, 4 * i, Math.max(-0x80000000, Math.min(0x7fffffff, value)));
  }
}

/** A NaN's bits stay as they are. */
export function rescaleFloat(source: Uint8Array, target: Uint8Array, ratios: Float32Array): void {
  for (let i = 0; 4 * i < target.length; i++) {
    const bits = readI32(source, 4 * i);
    singleBits[0] = bits;
    const isNotANumber = (bits & 0x7fffffff) > 0x7f800000;
    single[0] = single[0]! * ratios[i]!;
    writeU32(target, 4 * i, isNotANumber ? bits : singleBits[0]!);
  }
}
