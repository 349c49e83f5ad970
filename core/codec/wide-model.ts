/**
 * The gateway class's model of differences between floats. How large an update is shows in the updates just before, in those of
 * the last hundred weights, and in those of the same column of the matrix; which way it goes shows in the weight's own sign
 * and in its neighbours'. Each predicts every bit, and mixing finds out what holds for this model.
 */

import type { BitCoder } from './bit-coder.js';
import { Mixer, mapEntry, WEIGHT_ONE } from './mixer.js';
import {
  WIDE_BUCKETS,
  WIDE_COLUMNS,
  WIDE_MAPS,
  WIDE_NODES,
  WIDE_SIGN_INPUTS,
  WIDE_SIGN_STATES,
  WIDE_SIZE_INPUTS,
  WIDE_SIZE_MAPS,
  WIDE_WEIGHTS,
} from './neural-sizes.js';

const SIZE_RATE = 32;
const SIGN_RATE = 24;
/** Bucket of an update as large as one unit of the old weight. */
const BUCKET_ZERO = 12;
/** No update of this column was seen. */
const UNSEEN = -32768;
/** Signs as contexts: plus, minus, none yet. */
const NO_SIGN = 2;

export class WideModel {
  private readonly maps: Uint32Array;
  private readonly weights: Int32Array;
  /** Running mean of log2 of the update's absolute size, in 1/16, by column. */
  private readonly columnSizes: Int16Array;
  private readonly columnSigns: Int16Array;
  private readonly sizes: Mixer;
  private readonly signs: Mixer;
  /** The same over the last few weights, and over about a hundred; the latter in 1/256. */
  private near = 0;
  private far = 0;
  /** Exponent of the old weight, its low bits. */
  private under = 0;
  private columns = 1;
  private column = 0;
  private lastSign = NO_SIGN;
  private beforeSign = NO_SIGN;

  constructor(coder: BitCoder, memory: ArrayBuffer, offset: number) {
    this.maps = new Uint32Array(memory, offset, WIDE_MAPS);
    const weightsAt = offset + 4 * WIDE_MAPS;
    this.weights = new Int32Array(memory, weightsAt, WIDE_WEIGHTS);
    const columnsAt = weightsAt + 4 * WIDE_WEIGHTS;
    this.columnSizes = new Int16Array(memory, columnsAt, WIDE_COLUMNS);
    this.columnSigns = new Int16Array(memory, columnsAt + 2 * WIDE_COLUMNS, WIDE_COLUMNS);
    const sizeWeights = WIDE_SIZE_INPUTS * (WIDE_NODES + 1);
    this.sizes = new Mixer({
      coder,
      maps: this.maps,
      weights: this.weights.subarray(0, sizeWeights),
      inputs: WIDE_SIZE_INPUTS,
      rate: SIZE_RATE,
    });
    this.signs = new Mixer({
      coder,
      maps: this.maps,
      weights: this.weights.subarray(sizeWeights),
      inputs: WIDE_SIGN_INPUTS,
      rate: SIGN_RATE,
    });
  }

  /** A segment begins. */
  begin(): void {
    this.maps.fill(mapEntry(0.5, 0));
    this.weights.fill(Math.floor((WEIGHT_ONE * 3) / 16));
    this.near = 0;
    this.far = 0;
    this.beginOp(1, 0);
  }

  /** An op begins at `column` of rows of `columns` elements. */
  beginOp(columns: number, column: number): void {
    this.columns = columns;
    this.column = column;
    this.lastSign = NO_SIGN;
    this.beforeSign = NO_SIGN;
    const held = Math.min(columns, WIDE_COLUMNS);
    this.columnSizes.fill(UNSEEN, 0, held);
    this.columnSigns.fill(NO_SIGN, 0, held);
  }

  /** Codes floor(log2 |difference|) + 1, or 0 for none. `exponent` is that of the old weight. */
  size(value: number, exponent: number): number {
    const slot = this.column % WIDE_COLUMNS;
    const seen = this.columnSizes[slot]!;
    const near = bucketOf(this.near - 16 * exponent);
    const far = bucketOf((this.far >> 4) - 16 * exponent);
    const column = seen === UNSEEN ? near : bucketOf(seen - 16 * exponent);
    const both = ((near >> 3) << 3) | (column >> 3);
    this.under = exponent & (WIDE_BUCKETS - 1);
    const zero = this.sizeBit(near, far, column, both, 0, value === 0 ? 1 : 0);
    let size = 0;
    if (zero === 0) {
      let node = 1;
      for (let bit = 4; bit >= 0; bit--)
        node = (node << 1) | this.sizeBit(near, far, column, both, node, ((value - 1) >> bit) & 1);
      size = node - 31;
    }
    this.learnSize(size, exponent, slot, seen);
    return size;
  }

  private sizeBit(near: number, far: number, column: number, both: number, node: number, value: number): number {
    const { states } = this.sizes;
    states[0] = near * WIDE_NODES + node;
    states[1] = (WIDE_BUCKETS + far) * WIDE_NODES + node;
    states[2] = (2 * WIDE_BUCKETS + column) * WIDE_NODES + node;
    states[3] = (3 * WIDE_BUCKETS + both) * WIDE_NODES + node;
    states[4] = (4 * WIDE_BUCKETS + this.under) * WIDE_NODES + node;
    return this.sizes.bit(value, node, WIDE_NODES);
  }

  private learnSize(size: number, exponent: number, slot: number, seen: number): void {
    // No difference only says that the update was below the weight's resolution.
    const near = size === 0 ? Math.min(this.near, 16 * exponent - 16) : 16 * (size + exponent);
    this.near += (near - this.near) >> 3;
    const far = size === 0 ? Math.min(this.far >> 4, 16 * exponent - 16) : near;
    this.far += (16 * far - this.far) >> 6;
    const own = size === 0 ? Math.min(seen === UNSEEN ? this.near : seen, 16 * exponent - 16) : near;
    this.columnSizes[slot] = seen === UNSEEN ? own : seen + ((own - seen) >> 2);
  }

  /** Codes a difference's sign, 1 for minus, and goes on to the next column. */
  sign(value: number, size: number, oldIsNegative: boolean): number {
    const { states } = this.signs;
    const slot = this.column % WIDE_COLUMNS;
    const column = this.columnSigns[slot]!;
    const old = oldIsNegative ? 1 : 0;
    const around = 3 * this.lastSign + this.beforeSign;
    states[0] = WIDE_SIZE_MAPS + 32 * old + (size & 31);
    states[1] = WIDE_SIZE_MAPS + WIDE_SIGN_STATES + 9 * old + around;
    states[2] = WIDE_SIZE_MAPS + 2 * WIDE_SIGN_STATES + 3 * column + this.lastSign;
    states[3] = WIDE_SIZE_MAPS + 3 * WIDE_SIGN_STATES + 27 * old + 9 * column + around;
    const sign = this.signs.bit(value, 0, 1);
    this.beforeSign = this.lastSign;
    this.lastSign = sign;
    this.columnSigns[slot] = sign;
    return sign;
  }

  /** Passes over elements that are known not to differ. */
  skip(count: number): void {
    this.column = (this.column + count) % this.columns;
  }

  /** To be called after each element. */
  nextColumn(): void {
    this.column = this.column + 1 === this.columns ? 0 : this.column + 1;
  }
}

/** In half powers of two. */
function bucketOf(size: number): number {
  return Math.max(0, Math.min(WIDE_BUCKETS - 1, ((size + 4) >> 3) + BUCKET_ZERO));
}
