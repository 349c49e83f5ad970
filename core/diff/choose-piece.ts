/**
 * Which op is likely cheapest for a run of target bytes with a known counterpart in the source. Judged by order-0 entropy of
 * the byte planes, which ranks the candidates as zstd does (checked on ../shared/models) at a fraction of its time.
 */

import {
  ELEMENT_BFLOAT16,
  ELEMENT_BYTE,
  ELEMENT_BYTES,
  ELEMENT_FLOAT16,
  ELEMENT_FLOAT32,
  ELEMENT_INT8,
  ELEMENT_INT16,
  ELEMENT_INT32,
} from '../codec/elements.js';
import type { DType } from '../formats/model.js';
import { type CastPiece, takeResidual } from './cast-residual.js';
import { castPiece, copy, delta, GUESSED_TYPES, literal, type Piece, splitPlanes } from './pieces.js';
import { scratchBytes } from './scratch.js';
import { takeDelta } from './take-delta.js';

/** Elements looked at when nothing says what the bytes are. */
const SAMPLE_BYTES = 16384;
/** A guessed delta must beat the plain literal by this factor: guesses cost ops and may not hold past the sample. */
const GUESS_MARGIN = 0.97;

/** How a tensor's differences are taken; the guess where its dtype has no arithmetic of ours. */
export function elementTypeOf(dtype: DType): number {
  switch (dtype) {
    case 'f32':
      return ELEMENT_FLOAT32;
    case 'f16':
      return ELEMENT_FLOAT16;
    case 'bf16':
      return ELEMENT_BFLOAT16;
    case 'i8':
    case 'u8':
      return ELEMENT_INT8;
    case 'i16':
    case 'u16':
      return ELEMENT_INT16;
    case 'i32':
    case 'u32':
    case 'i64':
    case 'u64':
      return ELEMENT_INT32;
    default:
      return ELEMENT_BYTE;
  }
}

/** Of what is only looked at. */
const planesScratch = scratchBytes();

/** @param source the counterpart, as long as `target`; null where there is none */
export function chooseTyped(type: number, source: Uint8Array | null, sourceOffset: number, target: Uint8Array): Piece {
  const planes = planesScratch.take(target.length);
  let best = literal(target.length);
  let least = planesCost(target, 1);
  // Of equals the typed one: the neural codec then knows that these are weights.
  if (type === ELEMENT_INT8) best = literal(target.length, type);
  else if (type !== ELEMENT_BYTE) {
    splitPlanes(ELEMENT_BYTES[type]!, target, planes);
    const cost = planesCost(planes, ELEMENT_BYTES[type]!);
    if (cost <= least) {
      least = cost;
      best = literal(target.length, type);
    }
  }
  if (source === null) return best;
  takeDelta(type, source, target, planes);
  return planesCost(planes, ELEMENT_BYTES[type]!) < least ? delta(target.length, sourceOffset, type) : best;
}

/** A cast, unless a literal looks cheaper than what the cast leaves over. */
export function chooseCast(cast: CastPiece, source: Uint8Array, sourceOffset: number, target: Uint8Array): Piece {
  const piece = castPiece(target.length, sourceOffset, cast);
  const planes = planesScratch.take(target.length);
  takeResidual(piece, cast, source, target, planes);
  const castCost = planesCost(planes, ELEMENT_BYTES[piece.type]!);
  const plain = chooseTyped(piece.type, null, 0, target);
  splitPlanes(ELEMENT_BYTES[plain.type]!, target, planes);
  return castCost < planesCost(planes, ELEMENT_BYTES[plain.type]!) ? piece : plain;
}

/**
 * For bytes of unknown type: the best of literal and delta over the guessed types and their phases.
 * @returns pieces that cover `target`
 */
export function chooseGuessed(source: Uint8Array | null, sourceOffset: number, target: Uint8Array): Piece[] {
  const sample = target.subarray(0, Math.min(SAMPLE_BYTES, target.length & ~3));
  const planes = new Uint8Array(sample.length);
  let least = planesCost(sample, 1) * GUESS_MARGIN;
  let best = { type: ELEMENT_BYTE, phase: 0, isDelta: false };
  for (const type of GUESSED_TYPES) {
    const width = ELEMENT_BYTES[type]!;
    for (let phase = 0; phase < width; phase++) {
      const length = Math.floor((sample.length - phase) / width) * width;
      const run = sample.subarray(phase, phase + length);
      const scale = sample.length / length;
      const view = planes.subarray(0, length);
      splitPlanes(width, run, view);
      const literalCost = planesCost(view, width) * scale;
      if (literalCost < least) {
        least = literalCost;
        best = { type, phase, isDelta: false };
      }
      if (source === null) continue;
      takeDelta(type, source.subarray(phase, phase + length), run, view);
      const deltaCost = planesCost(view, width) * scale;
      if (deltaCost < least) {
        least = deltaCost;
        best = { type, phase, isDelta: true };
      }
    }
  }
  const { type, phase, isDelta } = best;
  const width = ELEMENT_BYTES[type]!;
  const body = Math.floor((target.length - phase) / width) * width;
  const tail = target.length - phase - body;
  const piece = isDelta ? delta(body, sourceOffset + phase, type) : literal(body, type);
  return [literal(phase), piece, literal(tail)];
}

/** A copy where the bytes are the same, else null. */
export function chooseCopy(source: Uint8Array, sourceOffset: number, target: Uint8Array): Piece | null {
  for (let i = 0; i < target.length; i++) if (source[i] !== target[i]) return null;
  return copy(target.length, sourceOffset);
}

/** Bits that an order-0 coder would need for each plane with a table of its own. */
export function planesCost(planes: Uint8Array, width: number): number {
  const length = planes.length / width;
  let bits = 0;
  for (let plane = 0; plane < width; plane++)
    bits += entropyBits(planes.subarray(plane * length, (plane + 1) * length));
  return bits;
}

/** Four tables, added up: where most bytes are the same, each count would wait for the last. */
const counts = new Uint32Array(4 * 256);
const counted = counts.subarray(0, 256);

function entropyBits(bytes: Uint8Array): number {
  counts.fill(0);
  const whole = bytes.length & ~3;
  for (let i = 0; i < whole; i += 4) {
    counts[bytes[i]!]!++;
    counts[256 + bytes[i + 1]!]!++;
    counts[512 + bytes[i + 2]!]!++;
    counts[768 + bytes[i + 3]!]!++;
  }
  for (let i = whole; i < bytes.length; i++) counts[bytes[i]!]!++;
  for (let i = 0; i < 256; i++) counts[i]! += counts[256 + i]! + counts[512 + i]! + counts[768 + i]!;
  return countsBits(counted);
}

/** A table of symbols costs about so many bits each; it decides between candidates on small tensors. */
const SYMBOL_BITS = 5;

/** The same of symbols that were counted. @param symbolBits what each kind of symbol costs beside */
export function countsBits(counted: Uint32Array, symbolBits = SYMBOL_BITS): number {
  let total = 0;
  for (const count of counted) total += count;
  let bits = 0;
  let symbols = 0;
  for (const count of counted) {
    if (count === 0) continue;
    symbols++;
    bits += count * log2Ratio(total, count);
  }
  return bits + symbolBits * symbols;
}

/**
 * log2(total / count), to 1/64 bit, from integer arithmetic alone: Math.log may differ in its last bit between machines,
 * and a patch must not.
 */
function log2Ratio(total: number, count: number): number {
  let ratio = total / count;
  let whole = 0;
  while (ratio >= 2) {
    ratio /= 2;
    whole++;
  }
  return whole + LOG2_FRACTIONS[Math.floor((ratio - 1) * 64)]!;
}

/** log2(1 + i/64) by repeated squaring, exact in double arithmetic everywhere. */
const LOG2_FRACTIONS = Float64Array.from({ length: 64 }, (_, i) => {
  let value = 1 + i / 64;
  let result = 0;
  for (let bit = 0.5; bit > 2 ** -20; bit /= 2) {
    value *= value;
    if (value >= 2) {
      value /= 2;
      result += bit;
    }
  }
  return result;
});
