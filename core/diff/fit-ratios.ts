/**
 * Fits the ratios by which int8 weights were scaled between two versions: of each row, each column, or both, by alternating least
 * squares. Where layers were balanced against each other (cross-layer equalisation; Nagel et al., "Data-free quantization
 * through weight equalization and bias correction", 2019) every row and column has a factor of its own, and the scales in
 * the container tell nothing of it. Encoder side only; sums run in file order, so that they are the same everywhere.
 */

import { flipOf, zeroPointOf } from '../codec/rescale.js';
import type { ChannelAxis } from './channel-axes.js';
import { fillChannels } from './channel-runs.js';
import { Scratch } from './scratch.js';

/** Stands for values at the ends of the range, which may have been cut off: they would pull the fit. */
const CUT_OFF = 0x7fff;
const LARGEST = 127;
const ROUNDS = 2;

/** One fit: ratios by channel; null where columns are not scaled. */
export interface Fit {
  readonly rows: Float32Array;
  readonly columns: Float32Array | null;
}

const places = (length: number): Uint16Array => new Uint16Array(length);
const rowScratch = new Scratch(places);
const columnScratch = new Scratch(places);
const shorts = (length: number): Int16Array => new Int16Array(length);
const oldScratch = new Scratch(shorts);
const newScratch = new Scratch(shorts);

/** Most channels of an axis that is fitted. */
export const MOST_CHANNELS = 1 << 16;

/** One at a time: they share memory. */
export class RatioFitter {
  private readonly old: Int16Array;
  private readonly now: Int16Array;
  private readonly rowOf: Uint16Array;
  private readonly columnOf: Uint16Array | null;
  private readonly rowCount: number;
  private readonly columnCount: number;

  /** Numbers as from numbersOf, the new ones marked; axes as of the run: its first element is element `phase`. */
  constructor(
    old: Int16Array,
    now: Int16Array,
    axes: { readonly rows: ChannelAxis; readonly columns: ChannelAxis | null },
    phase: number,
  ) {
    this.old = old;
    this.now = now;
    this.rowOf = channels(axes.rows, rowScratch.take(old.length), phase);
    this.columnOf = axes.columns === null ? null : channels(axes.columns, columnScratch.take(old.length), phase);
    this.rowCount = axes.rows.count;
    this.columnCount = axes.columns?.count ?? 0;
  }

  /** Rows alone and, where there are columns, rows with columns. */
  fits(): Fit[] {
    const { rowOf, columnOf } = this;
    let rows = this.fit(rowOf, this.rowCount, columnOf, null);
    const fits: Fit[] = [{ rows: shortened(rows, this.old.length / this.rowCount), columns: null }];
    if (columnOf === null) return fits;
    let columns: Float32Array | null = null;
    for (let round = 0; round < ROUNDS; round++) {
      columns = this.fit(columnOf, this.columnCount, rowOf, rows);
      rows = this.fit(rowOf, this.rowCount, columnOf, columns);
    }
    fits.push({
      rows: shortened(rows, this.old.length / this.rowCount),
      columns: shortened(columns!, this.old.length / this.columnCount),
    });
    return fits;
  }

  /** Ratios of the channels in `of`, given those of the others. */
  private fit(of: Uint16Array, count: number, others: Uint16Array | null, given: Float32Array | null): Float32Array {
    const { old, now } = this;
    const products = new Float64Array(count);
    const squares = new Float64Array(count);
    for (let i = 0; i < old.length; i++) {
      const target = now[i]!;
      if (target === CUT_OFF) continue;
      const value = given === null ? old[i]! : old[i]! * given[others![i]!]!;
      products[of[i]!]! += value * target;
      squares[of[i]!]! += value * value;
    }
    return Float32Array.from(products, (product, i) => (product > 0 ? product / squares[i]! : 1));
  }
}

/**
 * What bytes stand for, relative to their zero point (ChannelPlaces.zero).
 * @param isMarked whether those at the ends of the range are CUT_OFF; each sort has its memory, valid until the next call for it
 */
export function numbersOf(bytes: Uint8Array, zero: number, isMarked: boolean): Int16Array {
  const flip = flipOf(zero);
  const zeroPoint = zeroPointOf(zero);
  const numbers = (isMarked ? newScratch : oldScratch).take(bytes.length);
  for (let i = 0; i < bytes.length; i++) {
    const value = ((bytes[i]! ^ flip) << 24) >> 24;
    numbers[i] = isMarked && (value >= LARGEST || value <= -LARGEST) ? CUT_OFF : value - zeroPoint;
  }
  return numbers;
}

function channels(axis: ChannelAxis, found: Uint16Array, phase: number): Uint16Array {
  fillChannels(axis, phase, found);
  return found;
}

/** Fraction bits that a ratio keeps: the fit knows no more, and zeros cost nothing. `elements` share it. */
function fractionBits(elements: number): number {
  return elements < 32 ? 7 : elements < 512 ? 9 : 11;
}

function shortened(ratios: Float32Array, elements: number): Float32Array {
  const bits = new Int32Array(ratios.slice().buffer);
  const dropped = 23 - fractionBits(elements);
  const rounded = bits.map((value) => ((value + (1 << (dropped - 1))) >> dropped) << dropped);
  return new Float32Array(rounded.buffer);
}

/** The ratio that takes `old` to `now` best, where all share one. Binary32. */
export function commonRatio(old: ArrayLike<number>, now: ArrayLike<number>): number {
  let products = 0;
  let squares = 0;
  for (let i = 0; i < old.length; i++) {
    products += old[i]! * now[i]!;
    squares += old[i]! * old[i]!;
  }
  const ratio = Math.fround(products / squares);
  return ratio > 0 && Number.isFinite(ratio) ? ratio : 1;
}
