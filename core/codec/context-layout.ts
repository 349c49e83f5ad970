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
/** Lengths of numbers in bits; longer ones share the last context. */
export const NUMBER_SIZES = 24;

export interface ContextLayout {
  readonly twoRates: boolean;
  /** Buckets of the expected size of a wide difference, and how many 1/16 powers of two each spans, as a shift. */
  readonly expected: number;
  readonly expectedShift: number;
  /** Bucket of a difference of one unit. */
  readonly expectedZero: number;
  /** Fraction bits below a difference's leading one that are modelled. */
  readonly topBits: number;
  readonly activities: number;
  readonly levels: number;
  /** Whether a literal float's fraction is modelled under its exponent. */
  readonly fractionByExponent: boolean;

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
  readonly int8Tree: number;
  readonly floatExponent: number;
  readonly floatSign: number;
  readonly floatTop: number;
  readonly floatLow: number;
  readonly opKind: number;
  readonly opType: number;
  readonly opShifted: number;
  readonly opLength: number;
  readonly opShift: number;
  readonly castFrom: number;
  readonly castTo: number;
  readonly castNumbers: number;
  /** Whether an op's difference is sparse, by kind, and its gaps: sizes by that of the gap before, of which so many are told apart. */
  readonly opSparse: number;
  readonly gapSize: number;
  readonly gapTop: number;
  readonly gapsBefore: number;
  /** -1 where columns are not followed. */
  readonly columns: number;
  /** How many there are. */
  readonly contexts: number;
  /** Bytes of state they take. */
  readonly bytes: number;
}

type Choices = Pick<
  ContextLayout,
  | 'twoRates'
  | 'expected'
  | 'expectedShift'
  | 'expectedZero'
  | 'topBits'
  | 'activities'
  | 'levels'
  | 'fractionByExponent'
  | 'gapsBefore'
>;

function layOut(choices: Choices): ContextLayout {
  const { expected, topBits, activities, levels, fractionByExponent, gapsBefore, twoRates } = choices;
  let contexts = 0;
  const take = (count: number): number => {
    contexts += count;
    return contexts - count;
  };
  const places = {
    wideZero: take(expected * 9),
    wideSize: take(expected * SIZES),
    wideSign: take(3),
    wideTop: take(SIZES << topBits),
    byteZero: take(activities * 9),
    byteSign: take(3),
    byteUnary: take(activities * (UNARY + 1)),
    byteRest: take(8),
    fractionZero: take((activities * FRACTIONS) / 2),
    fractionSign: take(FRACTIONS),
    int8Tree: take(levels * BYTE_VALUES),
    floatExponent: take(levels * BYTE_VALUES),
    floatSign: take(1),
    floatTop: take((fractionByExponent ? BYTE_VALUES : 1) * 8),
    floatLow: take(20),
    opKind: take(5 * 4),
    opType: take(4 * 8),
    opShifted: take(4),
    opLength: take(4 * NUMBER_SIZES),
    opShift: take(NUMBER_SIZES),
    castFrom: take(16),
    castTo: take(16),
    castNumbers: take(3 * NUMBER_SIZES),
    opSparse: take(4),
    gapSize: take(gapsBefore << GAP_SIZE_BITS),
    gapTop: take(1 << GAP_SIZE_BITS),
    columns: twoRates ? take(2 * NUMBER_SIZES) : -1,
  };
  return { ...choices, ...places, contexts, bytes: ((twoRates ? 4 : 2) * contexts + 3) & ~3 };
}

/** By decode-cost class. */
export const CONTEXT_LAYOUTS: readonly ContextLayout[] = [
  layOut({
    twoRates: false,
    expected: 16,
    expectedShift: 4,
    expectedZero: 3,
    topBits: 2,
    activities: 8,
    levels: 1,
    fractionByExponent: false,
    gapsBefore: 1,
  }),
  layOut({
    twoRates: true,
    expected: 48,
    expectedShift: 3,
    expectedZero: 8,
    topBits: 3,
    activities: 16,
    levels: 8,
    fractionByExponent: true,
    gapsBefore: 16,
  }),
];
