/**
 * Who predicts a retrained weight: the old one as it is, the old one times what its row or its column was multiplied by so far
 * (folding a batch normalisation multiplies each channel by a number, and that is all that happens to dead ones), and the old
 * one plus an update of low rank. Each is followed by how far off it was, nearby, for long, and in the column.
 *
 * Doubles, with nothing but + - * / and roundings to binary32: IEEE 754 leaves no choice in these, so every machine gets the same.
 */

import { LowRankUpdates } from './low-rank.js';
import { EXPERTS, LOW_RANK_BYTES, WIDE_COLUMNS } from './neural-sizes.js';

const OLD = 0;
const ROW = 1;
const COLUMN = 2;
const ROW_AND_ALL = 3;
const COLUMN_AND_ALL = 4;
const LOW_RANK = 5;
/** Whose distributions are worth mixing: the plain scales' say what the shrunk ones' do. The last counts where low rank shows. */
export const VOICES = [OLD, ROW_AND_ALL, COLUMN_AND_ALL, LOW_RANK] as const;

/** Elements that the scale of all counts for against that of a row or column. */
const PRIOR_ELEMENTS = 2;
/** Slowest rates: in the row, in the op, in the column, and of the scale of all. */
const NEAR = 1 / 32;
const FAR = 1 / 128;
const IN_COLUMN = 1 / 64;
const ALL = 1 / 256;
/** Rows of a low-rank update differ at their beginning, until enough is known to solve for them. */
const IN_COLUMN_LOW_RANK = 1 / 5;

export class UpdateExperts {
  readonly expected = new Float64Array(EXPERTS);
  readonly near = new Float64Array(EXPERTS);
  readonly far = new Float64Array(EXPERTS);
  /** Of the column under way; see `isColumnSeen`. */
  readonly inColumn = new Float64Array(EXPERTS);
  isColumnSeen = false;
  /** Those that predict: without the last where no low rank shows. */
  count = LOW_RANK;
  /** The column of the element under way, as far as columns are told apart. */
  slot = 0;
  private readonly sums: Float64Array;
  private readonly errors: Float32Array;
  private readonly counts: Uint8Array;
  private readonly lowRank: LowRankUpdates;
  private columns = 1;
  private column = 0;
  private inRow = 0;
  private old = 0;
  private rowProduct = 0;
  private rowSquare = 0;
  private allProduct = 0;
  private allSquare = 0;

  /** @param offset a multiple of 8 */
  constructor(memory: ArrayBuffer, offset: number) {
    let at = offset;
    this.lowRank = new LowRankUpdates(memory, at);
    at += LOW_RANK_BYTES;
    this.sums = new Float64Array(memory, at, 2 * WIDE_COLUMNS);
    at += this.sums.byteLength;
    this.errors = new Float32Array(memory, at, EXPERTS * WIDE_COLUMNS);
    this.counts = new Uint8Array(memory, at + this.errors.byteLength, WIDE_COLUMNS);
  }

  beginOp(columns: number, column: number): void {
    const held = Math.min(columns, WIDE_COLUMNS);
    this.columns = columns;
    this.column = column;
    this.sums.fill(0, 0, 2 * held);
    this.errors.fill(0, 0, EXPERTS * held);
    this.counts.fill(0, 0, held);
    this.near.fill(0);
    this.far.fill(0);
    this.allProduct = 0;
    this.allSquare = 0;
    this.lowRank.beginOp(columns);
    this.beginRow();
  }

  private beginRow(): void {
    this.inRow = 0;
    this.rowProduct = 0;
    this.rowSquare = 0;
  }

  /** Fills `expected` for a weight that was `old`; returns the expert to go by. */
  predict(old: number): number {
    const { expected, near, far, inColumn } = this;
    this.old = old;
    const slot = this.column % WIDE_COLUMNS;
    this.slot = slot;
    const product = this.sums[2 * slot]!;
    const square = this.sums[2 * slot + 1]!;
    this.isColumnSeen = this.counts[slot]! > 0;
    const all = this.allSquare > 0 ? this.allProduct / this.allSquare : 1;
    const prior = PRIOR_ELEMENTS * this.allSquare;
    this.expect(OLD, 1);
    this.expect(ROW, this.rowSquare > 0 ? this.rowProduct / this.rowSquare : all);
    this.expect(COLUMN, square > 0 ? product / square : all);
    this.expect(ROW_AND_ALL, (this.rowProduct + prior * all) / (this.rowSquare + prior));
    this.expect(COLUMN_AND_ALL, (product + prior * all) / (square + prior));
    for (let i = 0; i < EXPERTS; i++) inColumn[i] = this.errors[EXPERTS * slot + i]!;
    this.count = this.lowRank.isUseful && this.isColumnSeen ? EXPERTS : LOW_RANK;
    if (this.count === EXPERTS) {
      const low = old + this.lowRank.predict(this.column);
      expected[LOW_RANK] = low - low === 0 ? low : old;
      near[LOW_RANK] = inColumn[LOW_RANK]!;
      far[LOW_RANK] = inColumn[LOW_RANK]!;
    } else expected[LOW_RANK] = this.lowRank.isActive ? old + this.lowRank.predict(this.column) : old;
    let best = OLD;
    let least = near[OLD]! + inColumn[OLD]!;
    for (let i = 1; i < this.count; i++) {
      const score = near[i]! + inColumn[i]!;
      if (score >= least) continue;
      least = score;
      best = i;
    }
    return best;
  }

  private expect(expert: number, scale: number): void {
    const value = this.old * scale;
    this.expected[expert] = value - value === 0 ? value : this.old;
  }

  /**
   * Learns what the weight became, and goes on to the next.
   * @param hit the expert whose prediction it was after rounding, or -1: that only says that it was off by less than that
   * @param unit distance of neighbouring values
   */
  learn(now: number, hit: number, unit: number): void {
    const { near, far, inColumn, errors, counts, slot, old } = this;
    const count = Math.min(255, counts[slot]! + 1);
    counts[slot] = count;
    const nearRate = Math.max(NEAR, 1 / (this.inRow + 1.5));
    const columnRate = Math.max(IN_COLUMN, 1 / count);
    for (let i = 0; i < EXPERTS; i++) {
      const off = now - this.expected[i]!;
      const error = i === hit ? Math.min(near[i]!, unit / 4) : off < 0 ? -off : off;
      near[i] = near[i]! + (error - near[i]!) * nearRate;
      far[i] = far[i]! + (error - far[i]!) * FAR;
      const rate = i === LOW_RANK ? Math.max(IN_COLUMN_LOW_RANK, columnRate) : columnRate;
      errors[EXPERTS * slot + i] = inColumn[i]! + (error - inColumn[i]!) * rate;
    }
    const product = now * old;
    const square = old * old;
    this.rowProduct += product;
    this.rowSquare += square;
    this.sums[2 * slot] = this.sums[2 * slot]! + product;
    this.sums[2 * slot + 1] = this.sums[2 * slot + 1]! + square;
    this.allProduct += (product - this.allProduct) * ALL;
    this.allSquare += (square - this.allSquare) * ALL;
    this.inRow++;
    if (this.lowRank.isActive) this.lowRank.learn(this.column, now - old, unit);
    this.skip(1);
  }

  /** Passes over elements that are known not to differ. */
  skip(count: number): void {
    this.column += count;
    if (this.column < this.columns) return;
    this.column %= this.columns;
    this.beginRow();
    this.lowRank.endRow();
  }
}
