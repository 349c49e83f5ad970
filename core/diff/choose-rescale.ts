/**
 * Whether a tensor that was quantised again, with other scales, is better told through them (SPEC.md, "Rescaled tensors",
 * "Requantised blocks") than by plain differences. Judged as choose-piece.ts does.
 */

import { readI32 } from '../bytes.js';
import { CAST_F32, CAST_I8, CAST_I32 } from '../codec/cast.js';
import { NO_SCALES } from '../codec/cast-op.js';
import { ELEMENT_BYTE, ELEMENT_FLOAT32, ELEMENT_INT8, ELEMENT_INT32 } from '../codec/elements.js';
import { FRACTIONS } from '../codec/rescale.js';
import type { Tensor } from '../formats/model.js';
import { blockBits } from './block-bits.js';
import { predictCast, takeResidual } from './cast-residual.js';
import { floatBytes, type RunScales, zeroOf } from './cast-scales.js';
import { axesOf, type ChannelAxis, cutAxis } from './channel-axes.js';
import { countsBits, planesCost } from './choose-piece.js';
import { commonRatio, type Fit, MOST_CHANNELS, numbersOf, RatioFitter } from './fit-ratios.js';
import { castPiece, delta, type Piece } from './pieces.js';
import { scratchBytes } from './scratch.js';
import { takeDelta } from './take-delta.js';

/** Bits that an op costs beside its ratios. */
const OP_BITS = 64;
/** What fractions of roundings save at the least: bytes, which show how unchanged weights cluster, do not show that. */
const BLOCK_MARGIN = 1.05;
/** Below this many bits an element, plain differences are left alone: fits take time and have nothing to win. */
const LITTLE = 0.1;

/** Weights trained from scratch fit a ratio near zero, and what that leaves is the weights: a literal then has the better models. */
const LITERAL_MARGIN = 0.95;

/** From here on a run is first looked at in part: one stretch of so many, of so many bytes. */
const SAMPLED_BYTES = 128 << 10;
const SAMPLED_SHARE = 4;
const STRETCH_BYTES = 4096;
/** What a part says holds for the whole to less than this. */
const CLEARLY = 1.05;

const planesScratch = scratchBytes();
const fractionScratch = scratchBytes();

/** Values of a byte. */
const SYMBOLS = 256;

/** A tensor's run, its counterpart, and the tensors they are of. */
export interface RescaleRun {
  readonly base: Tensor;
  readonly tensor: Tensor;
  /** Offset of the run in the source, and bytes of both before it in the tensor. */
  readonly sourceOffset: number;
  readonly start: number;
  readonly source: Uint8Array;
  readonly target: Uint8Array;
  /** Most scales an op may carry. */
  readonly mostScales: number;
  /** The neural codec sees a block's numbers, and roundings' fractions; zstd sees bytes. */
  readonly isNeural: boolean;
}

/** The run's ops, by its type (core/codec/cast.ts); null where plain differences look cheaper. */
export function chooseRescaled(type: number, run: RescaleRun): Piece[] | null {
  if (type === CAST_I8) return chooseRescaledInt8(run);
  const piece = type === CAST_I32 ? chooseRescaledWords(run) : chooseRequantised(type, run);
  return piece === null ? null : [piece];
}

function chooseRequantised(type: number, { source, sourceOffset, target, isNeural }: RescaleRun): Piece | null {
  const piece = castPiece(target.length, sourceOffset, { from: type, to: type, scales: null });
  const planes = planesScratch.take(target.length);
  takeDelta(ELEMENT_BYTE, source, target, planes);
  const plain = Math.min(planesCost(planes, 1), planesCost(target, 1));
  takeResidual(piece, piece.cast!, source, target, planes);
  const bytes = planesCost(planes, 1);
  if (!isNeural) return bytes < plain ? piece : null;
  return Math.min(bytes / BLOCK_MARGIN, blockBits(piece, source, target)) < plain ? piece : null;
}

/** int8 weights: one op for the run, or several where it has more channels than an op may have scales. */
function chooseRescaledInt8(run: RescaleRun): Piece[] | null {
  const { target, source } = run;
  const planes = planesScratch.take(target.length);
  takeDelta(ELEMENT_INT8, source, target, planes);
  const plain = planesCost(planes, 1);
  if (plain < LITTLE * target.length) return null;
  const found = alternatives(run);
  return cheapest(found, run, Math.min(plain, LITERAL_MARGIN * planesCost(target, 1)));
}

/** The first of the cheapest of `found` below `least` bits, or null. Long runs are looked at in full only where a part leaves it open. */
function cheapest(found: readonly Piece[][], run: RescaleRun, least: number): Piece[] | null {
  let near = found;
  if (run.target.length >= SAMPLED_BYTES) {
    const estimates = found.map((pieces) => bitsOf(pieces, run, SAMPLED_SHARE));
    const most = CLEARLY * Math.min(least, ...estimates);
    near = found.filter((_, i) => estimates[i]! <= most);
    if (near.length === 1 && CLEARLY * Math.min(...estimates) < least) return near[0]!;
  }
  let best: Piece[] | null = null;
  for (const pieces of near) {
    const bits = bitsOf(pieces, run, 1);
    if (bits >= least) continue;
    least = bits;
    best = pieces;
  }
  return best;
}

function bitsOf(pieces: readonly Piece[], run: RescaleRun, share: number): number {
  return pieces.reduce((sum, piece) => sum + opBits(piece), share * residualBits(pieces, run, share));
}

/** One ratio where the container has one, and what fitting gives: rows alone, rows with columns. */
function alternatives(run: RescaleRun): Piece[][] {
  const { base, tensor, source, target, sourceOffset, mostScales } = run;
  const [zero, oldZero] = [zeroOf(tensor), zeroOf(base)];
  const found: Piece[][] = [];
  const common = containerRatio(base, tensor);
  if (common !== null) found.push([rescaled(CAST_I8, target.length, sourceOffset, { ...common, zero, oldZero })]);
  const { rows, columns, elements } = axesOf(tensor);
  const whole = Math.min(target.length, elements - run.start);
  const [olds, news] = [numbersOf(source, oldZero, false), numbersOf(target, zero, true)];
  if (rows === null || whole <= 0) return found;
  const crossed = columns !== null && columns.count + rows.group <= mostScales ? columns : null;
  const channels = Math.min(rows.count, mostScales - (crossed?.count ?? 0));
  const step = Math.floor(channels / rows.group) * rows.outer;
  const byRows: Piece[] = [];
  const byBoth: Piece[] = [];
  for (let at = 0; at < whole && step > 0; ) {
    const first = run.start + at;
    const length = Math.min(whole - at, step - (first % step));
    // A whole number of columns' periods fits between rows, so that one phase does for both.
    const { axis, phase } = cutAxis(rows, first, length);
    if (axis.count > MOST_CHANNELS) return found;
    const [old, now] = [olds.subarray(at, at + length), news.subarray(at, at + length)];
    const fits = new RatioFitter(old, now, { rows: axis, columns: crossed }, phase).fits();
    const pieces = fits.map((fit) => {
      const scales = { ...scalesOf(fit, axis, crossed, phase), zero, oldZero };
      return rescaled(CAST_I8, length, sourceOffset + at, scales);
    });
    byRows.push(pieces[0]!);
    byBoth.push(pieces.at(-1)!);
    at += length;
  }
  for (const pieces of crossed === null ? [byRows] : [byRows, byBoth]) {
    if (whole < target.length) pieces.push(delta(target.length - whole, sourceOffset + whole, ELEMENT_INT8));
    if (step > 0) found.push(pieces);
  }
  return found;
}

/** int32 biases, and vectors of scales: by the container's ratios, or by one that fits. */
export function chooseRescaledWords(run: RescaleRun): Piece | null {
  const { base, tensor, source, target, sourceOffset, start } = run;
  const isFloat = tensor.dtype === 'f32';
  const type = isFloat ? CAST_F32 : CAST_I32;
  const read = isFloat ? readFloats : readIntegers;
  const ratios = [oneRatio(commonRatio(read(source), read(target)))];
  const own = containerRatios(base, tensor, start / 4, target.length / 4);
  if (own !== null && own.scaleCount <= run.mostScales) ratios.push(own);
  const planes = new Uint8Array(target.length);
  takeDelta(isFloat ? ELEMENT_FLOAT32 : ELEMENT_INT32, source, target, planes);
  let least = numberBits(planes);
  let best: Piece | null = null;
  for (const scales of ratios) {
    const piece = rescaled(type, target.length, sourceOffset, scales);
    takeResidual(piece, piece.cast!, source, target, planes);
    const bits = numberBits(planes) + opBits(piece);
    if (bits >= least) continue;
    least = bits;
    best = piece;
  }
  return best;
}

function rescaled(type: number, length: number, sourceOffset: number, scales: RunScales): Piece {
  return castPiece(length, sourceOffset, { from: type, to: type, scales });
}

function oneRatio(ratio: number): RunScales {
  return { ...NO_SCALES, bytes: floatBytes([ratio]), scaleCount: 1 };
}

/** Of a tensor with one scale before and now; null where it and the zero point stay, or there is none. */
function containerRatio(base: Tensor, tensor: Tensor): RunScales | null {
  const { scales: old } = base;
  const { scales: now } = tensor;
  if (old.length !== 1 || now.length !== 1 || (old[0] === now[0] && base.zeroPoint === tensor.zeroPoint)) return null;
  return oneRatio(old[0]! / now[0]!);
}

/** One for each of `count` elements from `first`, where each has a scale of its own. */
function containerRatios(base: Tensor, tensor: Tensor, first: number, count: number): RunScales | null {
  const { scales } = tensor;
  if (scales.length === 1) return containerRatio(base, tensor);
  if (scales.length * 4 !== tensor.length || base.scales.length !== scales.length) return null;
  const ratios = scales.slice(first, first + count).map((scale, i) => base.scales[first + i]! / scale);
  return { ...NO_SCALES, bytes: floatBytes(ratios), scaleCount: count };
}

function scalesOf(fit: Fit, rows: ChannelAxis, columns: ChannelAxis | null, phase: number): RunScales {
  const { count: scaleCount, inner, group, outer } = rows;
  const cross = fit.columns === null || columns === null ? null : { ratios: fit.columns, inner: columns.inner };
  return {
    ...NO_SCALES,
    bytes: floatBytes([...fit.rows, ...(cross?.ratios ?? [])]),
    ...{ scaleCount, inner: group > 1 ? inner : outer, group, outer, phase },
    crossCount: cross?.ratios.length ?? 0,
    crossInner: cross?.inner ?? 1,
  };
}

/** What an op costs beside its residual, about. Powers of two, as ESP-DL has them, have no fraction to code. */
function opBits({ cast, length }: Piece): number {
  const scales = cast?.scales ?? null;
  if (scales === null) return OP_BITS;
  const view = new DataView(scales.bytes.buffer, scales.bytes.byteOffset, scales.bytes.length);
  let bits = OP_BITS;
  for (let at = 0; at < scales.bytes.length; at += 4) {
    const word = view.getInt32(at, true) & 0x7fffff;
    // The fraction's bits down to the last 1, and the exponent.
    bits += 2 + (word === 0 ? 0 : 23 - (31 - Math.clz32(word & -word)));
  }
  return length > 0 ? bits : 0;
}

/**
 * As planesCost, of the residual as one and of what lies at each fraction of a rounding apart: the lesser of both.
 * @param share of every so many stretches of each piece only the first is looked at
 */
function residualBits(pieces: readonly Piece[], { source, target, isNeural }: RescaleRun, share: number): number {
  const memory = planesScratch.take(target.length);
  const fractions = fractionScratch.take(isNeural ? target.length : 0).fill(FRACTIONS);
  let start = 0;
  let seen = 0;
  for (const piece of pieces) {
    const end = start + piece.length;
    const stretch = share === 1 ? piece.length : STRETCH_BYTES;
    for (let at = start; at < end; at += share * stretch) {
      const length = Math.min(stretch, end - at);
      const [old, now] = [source.subarray(at, at + length), target.subarray(at, at + length)];
      const predicted =
        piece.cast === undefined
          ? null
          : predictCast({ ...piece, length }, piece.cast, old, { done: at - start, wantsFractions: isNeural });
      if (predicted?.fractions && isNeural) fractions.set(predicted.fractions, seen);
      takeDelta(ELEMENT_INT8, predicted?.bytes ?? old, now, memory.subarray(seen, seen + length));
      seen += length;
    }
    start = end;
  }
  const residual = memory.subarray(0, seen);
  const whole = planesCost(residual, 1);
  if (!isNeural) return whole;
  const counts = new Uint32Array((FRACTIONS + 1) * SYMBOLS);
  for (let i = 0; i < residual.length; i++) counts[fractions[i]! * SYMBOLS + residual[i]!]!++;
  let apart = 0;
  for (let first = 0; first < counts.length; first += SYMBOLS)
    apart += countsBits(counts.subarray(first, first + SYMBOLS));
  return Math.min(whole, apart);
}

/** Bits that the four-byte numbers in `planes` take as Exp-Golomb codes: small tensors have no statistics. */
function numberBits(planes: Uint8Array): number {
  const count = planes.length / 4;
  let bits = 0;
  for (let i = 0; i < count; i++) {
    const word =
      (planes[i]! << 24) | (planes[i + count]! << 16) | (planes[i + 2 * count]! << 8) | planes[i + 3 * count]!;
    bits += 1 + 2 * (32 - Math.clz32(word));
  }
  return bits;
}

function readIntegers(bytes: Uint8Array): Int32Array {
  return Int32Array.from({ length: bytes.length / 4 }, (_, i) => readI32(bytes, 4 * i));
}

function readFloats(bytes: Uint8Array): Float32Array {
  return new Float32Array(readIntegers(bytes).buffer);
}
