/**
 * Where each model's contexts lie, by decode-cost class. Class 1 (gateways) can afford fine buckets and two learning rates; class 0
 * (microcontrollers) keeps all model state within 4 KiB, so its buckets are coarser and it has one rate.
 */

import { FRACTIONS } from './rescale.js';
import { GAP_SIZE_BITS } from './sparse-model.js';

const BYTE_VALUES = 256;
/** floor(log2 |difference|) of 32-bit elements. */
export const SIZES = 32;
/** Unary part of a byte's difference. */
export const UNARY = 14;
/** Columns of words: container bytes are modelled by their place in one. */
export const WORD_BYTES = 4;

/** Buckets of the expected size of a wide difference, and how many 1/16 powers of two each spans, as a shift. */
export const EXPECTED = 16;
export const EXPECTED_SHIFT = 4;
/** Bucket of a difference of one unit. */
export const EXPECTED_UNIT = 3;
/** Bits below a wide difference's leading one that are modelled, and how many numbers of such bits are told apart. */
export const TOP_BITS = 2;
export const TOP_SIZES = 16;
/** Buckets of the expected size of a byte's difference. */
export const ACTIVITIES = 8;

/** Places are -1 where a class has no such contexts. */
export interface ContextLayout {
  readonly counted: boolean;
  readonly levels: number;
  /** Whether a literal float's fraction is modelled under its exponent. */
  readonly fractionByExponent: boolean;
  /** Lengths of numbers in bits; longer ones share the last context. */
  readonly numberSizes: number;

  readonly wideZero: number;
  readonly wideSize: number;
  readonly wideSign: number;
  readonly wideTop: number;
  readonly byteZero: number;
  readonly byteSign: number;
  readonly byteUnary: number;
  readonly byteRest: number;
  /** Zero flag and sign where a rounding's fraction is known: see rescale.ts. */
  readonly fractionZero: number;
  readonly fractionSign: number;
  /** Of bytes without a base: high halves, by place in a word and what is before; low halves. */
  readonly byteHigh: number;
  readonly byteLow: number;
  readonly floatExponent: number;
  readonly floatSign: number;
  readonly floatTop: number;
  readonly floatLow: number;
  readonly opKind: number;
  readonly opType: number;
  readonly opShifted: number;
  readonly opLength: number;
  /** Bits below the leading one of short lengths. */
  readonly opLengthLow: number;
  /** Whether a literal's model learns the source's bytes first. */
  readonly opLearns: number;
  readonly opBase: number;
  readonly opShift: number;
  readonly opShiftSign: number;
  readonly opShiftLow: number;
  readonly castFrom: number;
  readonly castTo: number;
  readonly castNumbers: number;
  /** Whether an op's difference is sparse, by kind, and its gaps: sizes by that of the gap before, of which so many are told apart. */
  readonly opSparse: number;
  readonly gapSize: number;
  readonly gapTop: number;
  readonly gapsBefore: number;
  readonly columns: number;
  /** How many there are. */
  readonly contexts: number;
  /** Bytes of state they take. */
  readonly bytes: number;
}

type Choices = Pick<ContextLayout, 'counted' | 'levels' | 'fractionByExponent' | 'numberSizes' | 'gapsBefore'>;

function layOut(choices: Choices): ContextLayout {
  const { levels, fractionByExponent, numberSizes, gapsBefore, counted } = choices;
  let contexts = 0;
  const take = (count: number): number => {
    contexts += count;
    return contexts - count;
  };
  // What mixers do in the other class.
  const takeSingle = (count: number): number => (counted ? -1 : take(count));
  const places = {
    wideZero: takeSingle(EXPECTED * 9),
    wideSize: takeSingle(EXPECTED * SIZES),
    wideSign: takeSingle(3),
    wideTop: takeSingle(TOP_SIZES << TOP_BITS),
    byteZero: take(ACTIVITIES * 9),
    byteSign: take(3),
    byteUnary: take(ACTIVITIES * (UNARY + 1)),
    byteRest: take(8),
    fractionZero: take((ACTIVITIES * FRACTIONS) / 2),
    fractionSign: take(FRACTIONS),
    byteHigh: takeSingle((2 * WORD_BYTES + 1) * 16),
    byteLow: takeSingle(BYTE_VALUES),
    floatExponent: take(levels * BYTE_VALUES),
    floatSign: take(1),
    floatTop: take((fractionByExponent ? BYTE_VALUES : 1) * 8),
    floatLow: take(20),
    opKind: take(5 * 4),
    opType: take(3 * 8),
    opShifted: take(4),
    opLength: take(3 * numberSizes),
    opLengthLow: take(3 * 8),
    opBase: take(4),
    opLearns: counted ? take(1) : -1,
    opShift: take(2 * numberSizes),
    opShiftSign: take(2),
    opShiftLow: take(2 * 4),
    castFrom: take(16),
    castTo: take(16),
    castNumbers: take(numberSizes),
    opSparse: take(4),
    gapSize: take(gapsBefore << GAP_SIZE_BITS),
    gapTop: take(1 << GAP_SIZE_BITS),
    columns: counted ? take(3 * numberSizes) : -1,
  };
  return { ...choices, ...places, contexts, bytes: ((counted ? 4 : 2) * contexts + 3) & ~3 };
}

/** By decode-cost class. */
export const CONTEXT_LAYOUTS: readonly ContextLayout[] = [
  layOut({
    counted: false,
    levels: 1,
    fractionByExponent: false,
    gapsBefore: 1,
    numberSizes: 16,
  }),
  layOut({
    counted: true,
    levels: 8,
    fractionByExponent: true,
    gapsBefore: 16,
    numberSizes: 24,
  }),
];
