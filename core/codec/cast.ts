/**
 * CAST: what a model file holds when the same weights are written in another element type (SPEC.md, "CAST"). The source is
 * read as binary32, quantised the way the common exporters do, and the result is the prediction; the patch carries only
 * what differs from it. A release that changes nothing but the dtype then costs next to nothing (research/codec.md, 8).
 *
 * Quantisers follow ggml's reference code (ggml-quants.c, quantize_row_*_ref) and TFLite's symmetric weights
 * (round(w / scale), half away from zero). Each step is rounded to binary32 as theirs is.
 */

import { readI32, readU16, writeU16, writeU32 } from '../bytes.js';
import {
  type BlockLayout,
  INT4_LAYOUT,
  Q2_K_LAYOUT,
  Q3_K_LAYOUT,
  Q4_0_LAYOUT,
  Q4_1_LAYOUT,
  Q4_K_LAYOUT,
  Q5_0_LAYOUT,
  Q5_1_LAYOUT,
  Q5_K_LAYOUT,
  Q6_K_LAYOUT,
  Q8_0_LAYOUT,
} from './block-layout.js';
import { floatToBfloat, floatToHalf, halfToFloat, halfValue } from './half.js';
import { flipOf, zeroPointOf } from './rescale.js';

export const CAST_F32 = 0;
export const CAST_F16 = 1;
export const CAST_BF16 = 2;
/** int8 with scales that the patch carries; from itself alone, or as a target. */
export const CAST_I8 = 3;
export const CAST_Q8_0 = 4;
export const CAST_Q4_0 = 5;
export const CAST_Q4_1 = 6;
export const CAST_Q5_0 = 7;
export const CAST_Q5_1 = 8;
/** int32 with scales that the patch carries, as quantised biases are; from itself alone, or as a target. */
export const CAST_I32 = 9;
/** From here on from themselves alone. */
export const CAST_Q2_K = 10;
export const CAST_Q3_K = 11;
export const CAST_Q4_K = 12;
export const CAST_Q5_K = 13;
export const CAST_Q6_K = 14;
export const CAST_I4 = 15;

export interface BlockShape {
  /** Elements of a block, and the bytes they take. */
  readonly elements: number;
  readonly bytes: number;
}

export const CAST_BLOCKS: readonly BlockShape[] = [
  { elements: 1, bytes: 4 },
  { elements: 1, bytes: 2 },
  { elements: 1, bytes: 2 },
  { elements: 1, bytes: 1 },
  { elements: 32, bytes: 34 },
  { elements: 32, bytes: 18 },
  { elements: 32, bytes: 20 },
  { elements: 32, bytes: 22 },
  { elements: 32, bytes: 24 },
  { elements: 1, bytes: 4 },
  { elements: 256, bytes: 84 },
  { elements: 256, bytes: 110 },
  { elements: 256, bytes: 144 },
  { elements: 256, bytes: 176 },
  { elements: 256, bytes: 210 },
  { elements: 2, bytes: 1 },
];

/** Types whose blocks are coded number by number where both sides have the type. */
export const CAST_LAYOUTS: readonly (BlockLayout | null)[] = [
  null,
  null,
  null,
  null,
  Q8_0_LAYOUT,
  Q4_0_LAYOUT,
  Q4_1_LAYOUT,
  Q5_0_LAYOUT,
  Q5_1_LAYOUT,
  null,
  Q2_K_LAYOUT,
  Q3_K_LAYOUT,
  Q4_K_LAYOUT,
  Q5_K_LAYOUT,
  Q6_K_LAYOUT,
  INT4_LAYOUT,
];

/** Elements handled at a time: one ggml block. */
export const CAST_RUN = 32;

const floats = new Float32Array(CAST_RUN);
const bits = new Int32Array(floats.buffer);
const one = new Float32Array(1);
const oneBits = new Int32Array(one.buffer);

/** Scales of CAST_I8 and CAST_I32: element e uses scale floor(e / inner) mod count. */
export interface Scales {
  /** Little-endian binary32 values. */
  readonly bytes: Uint8Array;
  readonly inner: number;
  /** Of CAST_I8: see UNSIGNED. */
  readonly zero: number;
}

export interface CastTypes {
  readonly from: number;
  readonly to: number;
}

/**
 * Predicts one run of target bytes from the source's.
 * @param source whole blocks of `from`, CAST_RUN elements or (between types without blocks) fewer
 * @param target receives whole blocks of `to`
 * @param first index of the run's first element within the op, for the scales
 */
export function castRun(
  types: CastTypes,
  source: Uint8Array,
  target: Uint8Array,
  scales: Scales | null,
  first: number,
): void {
  const count = readElements(types.from, source);
  switch (types.to) {
    case CAST_F32:
      for (let i = 0; i < count; i++) writeU32(target, 4 * i, bits[i]!);
      return;
    case CAST_F16:
      for (let i = 0; i < count; i++) writeU16(target, 2 * i, floatToHalf(bits[i]!));
      return;
    case CAST_BF16:
      for (let i = 0; i < count; i++) writeU16(target, 2 * i, floatToBfloat(bits[i]!));
      return;
    case CAST_I8:
      for (let i = 0; i < count; i++) target[i] = quantise(floats[i]!, scales!, first + i, 0x7f) ^ flipOf(scales!.zero);
      return;
    case CAST_I32:
      for (let i = 0; i < count; i++) writeU32(target, 4 * i, quantise(floats[i]!, scales!, first + i, 0x7fffffff));
      return;
    case CAST_Q8_0:
      writeQ8(target);
      return;
    default:
      writeNibbles(types.to, target);
  }
}

/** Fills `floats`; returns how many. */
function readElements(type: number, source: Uint8Array): number {
  switch (type) {
    case CAST_F32:
      for (let i = 0; i < source.length / 4; i++) bits[i] = readI32(source, 4 * i);
      return source.length / 4;
    case CAST_F16:
      for (let i = 0; i < source.length / 2; i++) bits[i] = halfToFloat(readU16(source, 2 * i));
      return source.length / 2;
    case CAST_BF16:
      for (let i = 0; i < source.length / 2; i++) bits[i] = readU16(source, 2 * i) << 16;
      return source.length / 2;
    case CAST_Q8_0: {
      const scale = halfValue(readU16(source, 0));
      for (let i = 0; i < CAST_RUN; i++) floats[i] = ((source[2 + i]! << 24) >> 24) * scale;
      settleNaNs();
      return CAST_RUN;
    }
    default:
      readNibbles(type, source);
      settleNaNs();
      return CAST_RUN;
  }
}

/** Half away from zero, plus the zero point, within [-most - 1, most]. A NaN counts as 0. */
function quantise(value: number, scales: Scales, element: number, most: number): number {
  const count = scales.bytes.length / 4;
  const channel = Math.floor(element / scales.inner) % count;
  oneBits[0] = readI32(scales.bytes, 4 * channel);
  const quotient = value / one[0]!;
  const rounded = quotient < 0 ? -Math.floor(0.5 - quotient) : Math.floor(quotient + 0.5);
  return Math.max(-most - 1, Math.min(most, (rounded || 0) + zeroPointOf(scales.zero)));
}

function writeQ8(target: Uint8Array): void {
  let most = 0;
  for (let i = 0; i < CAST_RUN; i++) most = Math.max(most, Math.abs(floats[i]!));
  const scale = Math.fround(most / 127);
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
  writeU16(target, 0, halfOf(scale));
  for (let i = 0; i < CAST_RUN; i++) {
    const quotient = Math.fround(floats[i]! * inverse);
    target[2 + i] = quotient < 0 ? -Math.floor(0.5 - quotient) : Math.floor(quotient + 0.5);
  }
}

/** Q4_0, Q4_1, Q5_0 and Q5_1: two elements a byte, i and i + 16; the fifth bits apart. */
function writeNibbles(type: number, target: Uint8Array): void {
  const hasFifth = type === CAST_Q5_0 || type === CAST_Q5_1;
  const hasMinimum = type === CAST_Q4_1 || type === CAST_Q5_1;
  const top = hasFifth ? 31 : 15;
  let offset: number;
  let scale: number;
  if (hasMinimum) {
    let least = floats[0]!;
    let most = floats[0]!;
    for (let i = 1; i < CAST_RUN; i++) {
      least = Math.min(least, floats[i]!);
      most = Math.max(most, floats[i]!);
    }
    scale = Math.fround(Math.fround(most - least) / top);
    offset = least;
    writeU16(target, 2, halfOf(least));
  } else {
    let extreme = 0;
    for (let i = 0; i < CAST_RUN; i++) if (Math.abs(floats[i]!) > Math.abs(extreme)) extreme = floats[i]!;
    offset = (top + 1) / 2;
    scale = Math.fround(extreme / -offset);
  }
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
  writeU16(target, 0, halfOf(scale));
  const start = (hasMinimum ? 4 : 2) + (hasFifth ? 4 : 0);
  let fifths = 0;
  for (let i = 0; i < 16; i++) {
    const low = nibble(floats[i]!, inverse, offset, hasMinimum, top);
    const high = nibble(floats[i + 16]!, inverse, offset, hasMinimum, top);
    target[start + i] = (low & 15) | ((high & 15) << 4);
    fifths |= ((low >> 4) << i) | ((high >> 4) << (i + 16));
  }
  if (hasFifth) writeU32(target, start - 4, fifths);
}

function nibble(value: number, inverse: number, offset: number, hasMinimum: boolean, top: number): number {
  const level = hasMinimum
    ? Math.fround(Math.fround(Math.fround(value - offset) * inverse) + 0.5)
    : Math.fround(Math.fround(value * inverse) + (offset + 0.5));
  return Math.max(0, Math.min(top, Math.trunc(level) || 0));
}

function readNibbles(type: number, source: Uint8Array): void {
  const hasFifth = type === CAST_Q5_0 || type === CAST_Q5_1;
  const hasMinimum = type === CAST_Q4_1 || type === CAST_Q5_1;
  const scale = halfValue(readU16(source, 0));
  const minimum = hasMinimum ? halfValue(readU16(source, 2)) : 0;
  const zero = hasMinimum ? 0 : hasFifth ? 16 : 8;
  const start = (hasMinimum ? 4 : 2) + (hasFifth ? 4 : 0);
  const fifths = hasFifth ? readI32(source, start - 4) : 0;
  for (let i = 0; i < 16; i++) {
    const low = (source[start + i]! & 15) | (((fifths >>> i) & 1) << 4);
    const high = (source[start + i]! >> 4) | (((fifths >>> (i + 16)) & 1) << 4);
    floats[i] = Math.fround((low - zero) * scale) + minimum;
    floats[i + 16] = Math.fround((high - zero) * scale) + minimum;
  }
}

/** A NaN that arithmetic made has a sign that differs between processors; one that was read keeps its bits. */
function settleNaNs(): void {
  for (let i = 0; i < CAST_RUN; i++) if (Number.isNaN(floats[i]!)) bits[i] = 0x7fc00000;
}

function halfOf(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  one[0] = value;
  return floatToHalf(oneBits[0]!);
}
