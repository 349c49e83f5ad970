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

/** The ratios of elements one after another. It counts along, since divisions for each element took most of a rescaled tensor's time. */
class RatioWalk {
  private ratios: Uint8Array = new Uint8Array(0);
  // The places' own: objects with places come in several shapes, which V8 would look up for each element.
  private scaleCount = 1;
  private inner = 1;
  private group = 1;
  private outer = 1;
  private crossCount = 0;
  private crossInner = 1;
  /** Elements left of the stretch of `outer`, of `inner` and of `crossInner`, and the channels that these are. */
  private outerLeft = 0;
  private innerLeft = 0;
  private crossLeft = 0;
  private first = 0;
  private lane = 0;
  private cross = 0;

  /** @param ratios little-endian binary32, the first list and the second */
  begin(places: ChannelPlaces, ratios: Uint8Array, element: number): void {
    const { scaleCount, inner, group, outer, crossCount, crossInner } = places;
    this.scaleCount = scaleCount;
    this.inner = inner;
    this.group = group;
    this.outer = outer;
    this.crossCount = crossCount;
    this.crossInner = crossInner;
    this.ratios = ratios;
    this.outerLeft = outer - (element % outer);
    this.innerLeft = inner - (element % inner);
    this.crossLeft = crossInner - (element % crossInner);
    this.first = (Math.floor(element / outer) * group) % scaleCount;
    this.lane = Math.floor(element / inner) % group;
    this.cross = crossCount > 0 ? Math.floor(element / crossInner) % crossCount : 0;
  }

  /** The next element's, binary32: of both lists the product. What no product makes sense with (0, infinite, NaN) is 1. */
  next(): number {
    const { ratios, scaleCount } = this;
    ratioBits[0] = readI32(ratios, 4 * ((this.first + this.lane) % scaleCount));
    if (this.crossCount > 0) {
      const first = ratio[0]!;
      ratioBits[0] = readI32(ratios, 4 * (scaleCount + this.cross));
      ratio[0] = first * ratio[0]!;
      if (--this.crossLeft === 0) {
        this.crossLeft = this.crossInner;
        this.cross = this.cross + 1 === this.crossCount ? 0 : this.cross + 1;
      }
    }
    if (--this.innerLeft === 0) {
      this.innerLeft = this.inner;
      this.lane = this.lane + 1 === this.group ? 0 : this.lane + 1;
    }
    if (--this.outerLeft === 0) {
      this.outerLeft = this.outer;
      this.first = (this.first + this.group) % scaleCount;
    }
    const value = ratio[0]!;
    // What is no finite number minus itself is none.
    return value === 0 || value - value !== 0 ? 1 : value;
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
    fractions[i] = Math.floor((value - rounded) * FRACTIONS);
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
