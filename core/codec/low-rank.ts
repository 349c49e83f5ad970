/**
 * Updates of low rank, as merged adapters leave them (Hu et al., "LoRA", 2021): each row of the update is a combination of a few
 * others. The first rows become a basis; of each further row the part that is known gives the combination by least squares,
 * and that predicts the rest. Found without being told, so patches say nothing about it.
 */

import { LOW_RANK_COLUMNS, LOW_RANKS } from './neural-sizes.js';

/** Up to here a row is solved for at each column, then at every 8th, and from LATE on at every 32nd. */
const EARLY = 40;
const LATE = 128;
/** An op whose rows gained less than this behind twice as many rows as there are ranks is of no low rank. */
const GAIN = 0.9;
const FEWEST_COLUMNS = 16;
/** Keeps pivots from being zero. */
const LEAST_PIVOT = 2 ** -996;

export class LowRankUpdates {
  /** False where the tensor is too wide, or was found to be of higher rank. */
  isActive = false;
  /** Whether it predicts better than no update so far. */
  isUseful = false;
  /** [ranks, columns]; the row under way. */
  private readonly basis: Float64Array;
  private readonly row: Float64Array;
  /** How much of each basis row was seen, in squares of its share. */
  private readonly power = new Float64Array(LOW_RANKS);
  /** Normal equations, the triangle that they are split into, and what they give. */
  private readonly normal = new Float64Array(LOW_RANKS * LOW_RANKS);
  private readonly triangle = new Float64Array(LOW_RANKS * LOW_RANKS);
  private readonly right = new Float64Array(LOW_RANKS);
  private readonly shares = new Float64Array(LOW_RANKS);
  private columns = 1;
  private rank = 0;
  private rows = 0;
  /** Elements of the row so far. */
  private count = 0;
  /** Mean square of the units, of this op's elements. */
  private unit = 0;
  private seen = 0;
  /** Sums of errors, ours and without. */
  private error = 0;
  private without = 0;

  /** @param offset a multiple of 8 */
  constructor(memory: ArrayBuffer, offset: number) {
    this.basis = new Float64Array(memory, offset, LOW_RANKS * LOW_RANK_COLUMNS);
    this.row = new Float64Array(memory, offset + this.basis.byteLength, LOW_RANK_COLUMNS);
  }

  beginOp(columns: number): void {
    this.columns = columns;
    this.isActive = columns >= FEWEST_COLUMNS && columns <= LOW_RANK_COLUMNS;
    this.isUseful = false;
    this.rank = 0;
    this.rows = 0;
    this.unit = 0;
    this.seen = 0;
    this.error = 0;
    this.without = 0;
    this.beginRow();
  }

  private beginRow(): void {
    this.count = 0;
    this.normal.fill(0);
    this.right.fill(0);
    this.shares.fill(0);
  }

  predict(column: number): number {
    const { basis, shares, rank } = this;
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += shares[k]! * basis[k * LOW_RANK_COLUMNS + column]!;
    return sum;
  }

  /** @param unit distance of neighbouring values: an update is known no better */
  learn(column: number, update: number, unit: number): void {
    const { rank, normal, right, basis } = this;
    const off = update - this.predict(column);
    this.error += off < 0 ? -off : off;
    this.without += update < 0 ? -update : update;
    this.row[column] = update;
    this.seen++;
    this.unit += (unit * unit - this.unit) / this.seen;
    for (let j = 0; j < rank; j++) {
      const factor = basis[j * LOW_RANK_COLUMNS + column]!;
      right[j] = right[j]! + factor * update;
      for (let k = 0; k <= j; k++)
        normal[j * LOW_RANKS + k] = normal[j * LOW_RANKS + k]! + factor * basis[k * LOW_RANK_COLUMNS + column]!;
    }
    this.count++;
    const every = this.count < EARLY ? 0 : this.count < LATE ? 7 : 31;
    if ((this.count & every) === 0) this.solve();
  }

  /** Least squares with each share about 1 beforehand and updates known to a unit: L D L' without square roots. */
  private solve(): void {
    const { rank, normal, triangle, right, shares } = this;
    const ridge = this.unit;
    for (let i = 0; i < rank; i++) {
      let share = right[i]!;
      for (let j = 0; j <= i; j++) {
        let sum = normal[i * LOW_RANKS + j]! + (i === j ? ridge : 0);
        for (let k = 0; k < j; k++)
          sum -= triangle[i * LOW_RANKS + k]! * triangle[j * LOW_RANKS + k]! * triangle[k * LOW_RANKS + k]!;
        triangle[i * LOW_RANKS + j] = i === j ? Math.max(sum, LEAST_PIVOT) : sum / triangle[j * LOW_RANKS + j]!;
      }
      for (let k = 0; k < i; k++) share -= triangle[i * LOW_RANKS + k]! * shares[k]!;
      shares[i] = share;
    }
    for (let i = rank - 1; i >= 0; i--) {
      let share = shares[i]! / triangle[i * LOW_RANKS + i]!;
      for (let k = i + 1; k < rank; k++) share -= triangle[k * LOW_RANKS + i]! * shares[k]!;
      shares[i] = share;
    }
  }

  /** The row is over; one that was not seen whole is left out. */
  endRow(): void {
    if (this.isActive && this.count === this.columns) this.learnRow();
    this.beginRow();
  }

  private learnRow(): void {
    const { columns, row, basis, shares, power } = this;
    this.solve();
    let left = 0;
    for (let column = 0; column < columns; column++) {
      row[column] = row[column]! - this.predict(column);
      left += row[column]! * row[column]!;
    }
    if (left <= columns * this.unit) {
      // Explained: what is left over makes the basis more exact.
      for (let k = 0; k < this.rank; k++) {
        power[k] = power[k]! + shares[k]! * shares[k]!;
        const step = shares[k]! / power[k]!;
        for (let column = 0; column < columns; column++)
          basis[k * LOW_RANK_COLUMNS + column] = basis[k * LOW_RANK_COLUMNS + column]! + step * row[column]!;
      }
    } else if (this.rank < LOW_RANKS) {
      basis.set(row.subarray(0, columns), this.rank * LOW_RANK_COLUMNS);
      power[this.rank] = 1;
      this.rank++;
    }
    this.rows++;
    this.isUseful = this.error < GAIN * this.without;
    if (this.rows > 2 * LOW_RANKS && !this.isUseful) this.isActive = false;
    // The latest rows count most.
    this.error -= this.error / 8;
    this.without -= this.without / 8;
  }
}
