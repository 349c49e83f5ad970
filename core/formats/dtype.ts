/** How each element type lies in a file: its size, and its value as a number. All little-endian. */

import { readU16, readU32 } from '../bytes.js';
import type { BlockDType, DType } from './model.js';

const ELEMENT_BYTES: Readonly<Record<Exclude<DType, BlockDType>, number>> = {
  f64: 8,
  i64: 8,
  u64: 8,
  f32: 4,
  i32: 4,
  u32: 4,
  f16: 2,
  bf16: 2,
  i16: 2,
  u16: 2,
  i8: 1,
  u8: 1,
  bool: 1,
  f8_e4m3: 1,
  f8_e5m2: 1,
  // Packed or opaque: a byte is the smallest thing that can be addressed.
  i4: 1,
  other: 1,
};

export interface BlockSize {
  readonly elements: number;
  readonly bytes: number;
}

/**
 * The blocks of ggml (ggml-common.h; the same in gguf-py's GGML_QUANT_SIZES but for q8_1, which ggml halved to two fp16
 * scales in 2023 and which is made while computing, never stored).
 */
const BLOCKS: Readonly<Record<BlockDType, BlockSize>> = {
  q1_0: { elements: 128, bytes: 18 },
  q4_0: { elements: 32, bytes: 18 },
  q4_1: { elements: 32, bytes: 20 },
  q5_0: { elements: 32, bytes: 22 },
  q5_1: { elements: 32, bytes: 24 },
  q8_0: { elements: 32, bytes: 34 },
  q8_1: { elements: 32, bytes: 36 },
  q2_k: { elements: 256, bytes: 84 },
  q3_k: { elements: 256, bytes: 110 },
  q4_k: { elements: 256, bytes: 144 },
  q5_k: { elements: 256, bytes: 176 },
  q6_k: { elements: 256, bytes: 210 },
  q8_k: { elements: 256, bytes: 292 },
  iq1_s: { elements: 256, bytes: 50 },
  iq1_m: { elements: 256, bytes: 56 },
  iq2_xxs: { elements: 256, bytes: 66 },
  iq2_xs: { elements: 256, bytes: 74 },
  iq2_s: { elements: 256, bytes: 82 },
  iq3_xxs: { elements: 256, bytes: 98 },
  iq3_s: { elements: 256, bytes: 110 },
  iq4_nl: { elements: 32, bytes: 18 },
  iq4_xs: { elements: 256, bytes: 136 },
  tq1_0: { elements: 256, bytes: 54 },
  tq2_0: { elements: 256, bytes: 66 },
  mxfp4: { elements: 32, bytes: 17 },
  nvfp4: { elements: 64, bytes: 36 },
};

function isBlock(dtype: DType): dtype is BlockDType {
  return Object.hasOwn(BLOCKS, dtype);
}

/** The block of a block-quantised type, null for any other. */
export function blockSize(dtype: DType): BlockSize | null {
  return isBlock(dtype) ? BLOCKS[dtype] : null;
}

/**
 * Bytes of one addressable unit: an element, or one byte for 'i4' (two elements, the last one padded), for block types
 * and for 'other'.
 */
export function elementBytes(dtype: DType): number {
  return isBlock(dtype) ? 1 : ELEMENT_BYTES[dtype];
}

/** Bytes that `elements` values take, the last block whole; null for 'other', which has no fixed size. */
export function packedBytes(dtype: DType, elements: number): number | null {
  if (dtype === 'other') return null;
  if (isBlock(dtype)) return Math.ceil(elements / BLOCKS[dtype].elements) * BLOCKS[dtype].bytes;
  return dtype === 'i4' ? Math.ceil(elements / 2) : elements * ELEMENT_BYTES[dtype];
}

/** The zero point that all channels share, as Tensor has it: nothing where it is 0, differs, or is none of the type's values. */
export function sharedZeroPoint(dtype: DType, zeros: readonly number[]): { readonly zeroPoint?: number } {
  const zeroPoint = zeros[0] ?? 0;
  const least = dtype === 'u8' ? 0 : -128;
  const isValue = (dtype === 'u8' || dtype === 'i8') && zeroPoint >= least && zeroPoint < least + 256;
  return isValue && zeroPoint !== 0 && zeros.every((zero) => zero === zeroPoint) ? { zeroPoint } : {};
}

/**
 * Reads numbers of one type out of byte arrays. 64-bit integers are rounded to doubles, 'i4' gives the low nibble of its
 * byte, block types and 'other' the byte itself: good for telling how alike two tensors are, not for coding them.
 */
export function elementReader(dtype: DType): (bytes: Uint8Array, at: number) => number {
  if (isBlock(dtype)) return byteAt;
  switch (dtype) {
    case 'f32':
      return (bytes, at) => view(bytes).getFloat32(at, true);
    case 'f64':
      return (bytes, at) => view(bytes).getFloat64(at, true);
    case 'f16':
      return (bytes, at) => halfToNumber(readU16(bytes, at));
    case 'bf16':
      return (bytes, at) => bitsToFloat(readU16(bytes, at) << 16);
    case 'i8':
      return (bytes, at) => (bytes[at]! << 24) >> 24;
    case 'i16':
      return (bytes, at) => (readU16(bytes, at) << 16) >> 16;
    case 'u16':
      return readU16;
    case 'i32':
      return (bytes, at) => readU32(bytes, at) | 0;
    case 'u32':
      return readU32;
    case 'i64':
      return (bytes, at) => (readU32(bytes, at + 4) | 0) * 4294967296 + readU32(bytes, at);
    case 'u64':
      return (bytes, at) => readU32(bytes, at + 4) * 4294967296 + readU32(bytes, at);
    case 'i4':
      return (bytes, at) => (bytes[at]! << 28) >> 28;
    case 'f8_e5m2':
      return (bytes, at) => halfToNumber(bytes[at]! << 8);
    case 'f8_e4m3':
      return (bytes, at) => e4m3ToNumber(bytes[at]!);
    case 'u8':
    case 'bool':
    case 'other':
      return byteAt;
  }
}

function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at]!;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const scratch = new DataView(new ArrayBuffer(4));

function bitsToFloat(bits: number): number {
  scratch.setInt32(0, bits);
  return scratch.getFloat32(0);
}

/** IEEE 754 binary16. */
function halfToNumber(half: number): number {
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  const sign = half & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** E4M3FN of "FP8 Formats for Deep Learning" (arXiv 2209.05433): no infinities, NaN where all other bits are set. */
function e4m3ToNumber(bits: number): number {
  const exponent = (bits >> 3) & 15;
  const fraction = bits & 7;
  const sign = bits & 0x80 ? -1 : 1;
  if (exponent === 15 && fraction === 7) return NaN;
  return exponent === 0 ? sign * fraction * 2 ** -9 : sign * (8 + fraction) * 2 ** (exponent - 10);
}
