/**
 * The gateway class's model of differences between bytes: int8 weights, blocks of quantised ones, tables that moved a little. As
 * wide-model.ts, with the old value itself as a context: weights at the end of the range cannot grow.
 */

import type { BitCoder } from './bit-coder.js';
import { Mixer, mapEntry, SILENT, WEIGHT_ONE } from './mixer.js';
import {
  NARROW_BUCKETS,
  NARROW_COLUMNS,
  NARROW_FRACTION_MAPS,
  NARROW_INPUTS,
  NARROW_MAPS,
  NARROW_NODES,
  NARROW_SIGN_INPUTS,
  NARROW_SIGN_STATES,
  NARROW_SIZE_MAPS,
  NARROW_WEIGHTS,
} from './neural-sizes.js';

const SIZE_RATE = 20;
const SIGN_RATE = 16;
const UNSEEN = -1;
const NO_SIGN = 2;
/** Nothing was rounded. */
export const NO_FRACTION = -1;
/** Inputs but for the last, the fraction's. */
const BUCKETED = NARROW_INPUTS - 1;
/** Magnitudes from here on are coded in full behind the unary code. */
const LONGEST = NARROW_NODES - 1;

export class NarrowModel {
  private readonly coder: BitCoder;
  private readonly maps: Uint32Array;
  private readonly weights: Int32Array;
  /** Running mean of |difference| in 1/16, by column. */
  private readonly columnSizes: Int16Array;
  private readonly columnSigns: Int16Array;
  private readonly sizes: Mixer;
  private readonly signs: Mixer;
  /** The same over the last few, in 1/64, and over about a hundred, in 1/1024. */
  private near = 0;
  private far = 0;
  private last = 0;
  private before = 0;
  private lastSign = NO_SIGN;
  private columns = 1;
  private column = 0;
  // Buckets of the element under way.
  private readonly buckets = new Int32Array(BUCKETED);
  private fraction = NO_FRACTION;

  constructor(coder: BitCoder, memory: ArrayBuffer, offset: number) {
    this.coder = coder;
    this.maps = new Uint32Array(memory, offset, NARROW_MAPS);
    const weightsAt = offset + 4 * NARROW_MAPS;
    this.weights = new Int32Array(memory, weightsAt, NARROW_WEIGHTS);
    const columnsAt = weightsAt + 4 * NARROW_WEIGHTS;
    this.columnSizes = new Int16Array(memory, columnsAt, NARROW_COLUMNS);
    this.columnSigns = new Int16Array(memory, columnsAt + 2 * NARROW_COLUMNS, NARROW_COLUMNS);
    const sizeWeights = NARROW_INPUTS * (NARROW_NODES + 1);
    const { maps, weights } = this;
    this.sizes = new Mixer({
      coder,
      maps,
      weights: weights.subarray(0, sizeWeights),
      inputs: NARROW_INPUTS,
      rate: SIZE_RATE,
    });
    this.signs = new Mixer({
      coder,
      maps,
      weights: weights.subarray(sizeWeights),
      inputs: NARROW_SIGN_INPUTS,
      rate: SIGN_RATE,
    });
  }

  begin(): void {
    this.maps.fill(mapEntry(0.5, 0));
    this.weights.fill(Math.floor((WEIGHT_ONE * 3) / 16));
    this.near = 64;
    this.far = 1024;
    this.beginOp(1, 0);
  }

  beginOp(columns: number, column: number): void {
    this.columns = columns;
    this.column = column;
    this.last = 0;
    this.before = 0;
    this.lastSign = NO_SIGN;
    const held = Math.min(columns, NARROW_COLUMNS);
    this.columnSizes.fill(UNSEEN, 0, held);
    this.columnSigns.fill(NO_SIGN, 0, held);
  }

  /** Passes over elements that are known not to differ. */
  skip(count: number): void {
    this.column = (this.column + count) % this.columns;
  }

  /**
   * Codes a difference within [-128, 127] to a byte that was `old`.
   * @param fraction where between two roundings the prediction lay, or NO_FRACTION
   */
  difference(value: number, old: number, fraction: number): number {
    this.fraction = fraction;
    const slot = this.column % NARROW_COLUMNS;
    const seen = this.columnSizes[slot]!;
    const { buckets } = this;
    buckets[0] = bucketOf(this.near >> 2);
    buckets[1] = bucketOf(this.far >> 6);
    buckets[2] = seen === UNSEEN ? buckets[0]! : bucketOf(seen);
    buckets[3] = (((old << 24) >> 24) + 128) >> 3;
    buckets[4] = 5 * Math.min(4, this.last) + Math.min(4, this.before);
    buckets[5] = (buckets[0]! >> 2) * 4 + (buckets[2]! >> 3);
    const magnitude = value < 0 ? -value : value;
    let size = 0;
    while (size < LONGEST && this.sizeBit(size, magnitude > size ? 1 : 0) === 1) size++;
    if (size === LONGEST) size += this.coder.direct(7, magnitude - LONGEST);
    let sign = 0;
    if (size > 0) sign = this.sign(value < 0 ? 1 : 0, old, slot, size);
    this.learn(Math.min(size, 127), slot, seen);
    return sign === 1 ? -size : size;
  }

  private sizeBit(node: number, value: number): number {
    const { states } = this.sizes;
    for (let i = 0; i < BUCKETED; i++) states[i] = (i * NARROW_BUCKETS + this.buckets[i]!) * NARROW_NODES + node;
    states[BUCKETED] =
      this.fraction === NO_FRACTION
        ? SILENT
        : NARROW_FRACTION_MAPS + (8 * this.fraction + (this.buckets[0]! >> 2)) * NARROW_NODES + node;
    return this.sizes.bit(value, node, NARROW_NODES);
  }

  private sign(value: number, old: number, slot: number, size: number): number {
    const { states } = this.signs;
    const column = this.columnSigns[slot]!;
    states[0] = NARROW_SIZE_MAPS + old;
    states[1] = NARROW_SIZE_MAPS + NARROW_SIGN_STATES + 3 * column + this.lastSign;
    states[2] = NARROW_SIZE_MAPS + 2 * NARROW_SIGN_STATES + 16 * (old >> 4) + Math.min(15, size);
    states[3] =
      this.fraction === NO_FRACTION
        ? SILENT
        : NARROW_SIZE_MAPS + 3 * NARROW_SIGN_STATES + 16 * this.fraction + Math.min(15, size);
    const sign = this.signs.bit(value, 0, 1);
    this.lastSign = sign;
    this.columnSigns[slot] = sign;
    return sign;
  }

  private learn(size: number, slot: number, seen: number): void {
    this.before = this.last;
    this.last = size;
    this.near += (64 * size - this.near) >> 3;
    this.far += (1024 * size - this.far) >> 6;
    this.columnSizes[slot] = seen === UNSEEN ? 16 * size : seen + ((16 * size - seen) >> 2);
    this.column = this.column + 1 === this.columns ? 0 : this.column + 1;
  }
}

/** Of a mean in 1/16: fine near zero, then by quarter powers of two. */
function bucketOf(mean: number): number {
  if (mean < 8) return mean;
  const power = 31 - Math.clz32(mean);
  return Math.min(NARROW_BUCKETS - 1, 8 + 4 * (power - 3) + ((mean >> (power - 2)) & 3));
}
