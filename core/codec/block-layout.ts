/**
 * Where the numbers of a quantised block lie, for blocks that stay in their type but get other scales. Layouts of ggml
 * (ggml-common.h block_q4_0 to block_q6_K; the order of quants as dequantize_row_* in ggml-quants.c reads them), and of packed
 * int4 (TFLite, ONNX: the first element in the low half of a byte).
 */

/**
 * Numbers of `width` bits packed in bytes: the first `lane` bytes hold the lowest bits of as many numbers, then the next
 * higher bits of the next ones, until the bytes are full. Lane and width are powers of two.
 */
export interface PackedField {
  /** Byte offset in the block. */
  readonly at: number;
  readonly width: number;
  readonly lane: number;
}

/** Low bits, and where a number has more of them than `low.width`, the high ones. */
export interface Numbers {
  readonly count: number;
  readonly low: PackedField;
  readonly high: PackedField | null;
  readonly bits: number;
  /** What stands for 0. */
  readonly zero: number;
  /** Two's complement; zero is 0 then. */
  readonly signed: boolean;
}

export interface BlockLayout {
  readonly bytes: number;
  /** Offsets of binary16 values: the block's scale and, or -1, what its elements are shifted by. -1: no scale either. */
  readonly scale: number;
  readonly shift: number;
  /** 1 where the shift is added, -1 where it is taken off. */
  readonly shiftSign: number;
  readonly quants: Numbers;
  /** Scales of sub-blocks, and for blocks with a shift then as many factors of it; null where the block has none. */
  readonly parts: Numbers | null;
  /** The 6-bit numbers of Q4_K and Q5_K: which of them is the k-th scale and k-th factor is partPlace's business. */
  readonly isSplit: boolean;
}

function numbers(count: number, low: PackedField, high: PackedField | null, zero = 0): Numbers {
  return { count, low, high, bits: low.width + (high?.width ?? 0), zero, signed: false };
}

function packed(at: number, width: number, lane: number): PackedField {
  return { at, width, lane };
}

const BYTE_SIGNED = (count: number, at: number): Numbers => ({
  ...numbers(count, packed(at, 8, 1), null),
  signed: true,
});

function block(bytes: number, scale: number, shift: number, quants: Numbers): BlockLayout {
  return { bytes, scale, shift, shiftSign: 1, quants, parts: null, isSplit: false };
}

function superBlock(bytes: number, scale: number, shift: number, quants: Numbers, parts: Numbers): BlockLayout {
  return { bytes, scale, shift, shiftSign: -1, quants, parts, isSplit: shift >= 0 && parts.bits === 6 };
}

export const Q8_0_LAYOUT = block(34, 0, -1, BYTE_SIGNED(32, 2));
export const Q4_0_LAYOUT = block(18, 0, -1, numbers(32, packed(2, 4, 16), null, 8));
export const Q4_1_LAYOUT = block(20, 0, 2, numbers(32, packed(4, 4, 16), null));
export const Q5_0_LAYOUT = block(22, 0, -1, numbers(32, packed(6, 4, 16), packed(2, 1, 1), 16));
export const Q5_1_LAYOUT = block(24, 0, 2, numbers(32, packed(8, 4, 16), packed(4, 1, 1)));
export const Q2_K_LAYOUT = superBlock(
  84,
  80,
  82,
  numbers(256, packed(16, 2, 32), null),
  numbers(32, packed(0, 4, 16), null),
);
export const Q3_K_LAYOUT = superBlock(
  110,
  108,
  -1,
  numbers(256, packed(32, 2, 32), packed(0, 1, 32), 4),
  numbers(16, packed(96, 4, 8), packed(104, 2, 4), 32),
);
/** `low` has the low halves of the last eight numbers; getPart knows the rest. */
const SPLIT_PARTS: Numbers = { ...numbers(16, packed(12, 4, 4), null), bits: 6 };
export const Q4_K_LAYOUT = superBlock(144, 0, 2, numbers(256, packed(16, 4, 32), null), SPLIT_PARTS);
export const Q5_K_LAYOUT = superBlock(176, 0, 2, numbers(256, packed(48, 4, 32), packed(16, 1, 32)), SPLIT_PARTS);
export const Q6_K_LAYOUT = superBlock(
  210,
  208,
  -1,
  numbers(256, packed(0, 4, 64), packed(128, 2, 32), 32),
  BYTE_SIGNED(16, 192),
);
/** Two int4 weights. */
export const INT4_LAYOUT = block(1, -1, -1, numbers(2, packed(0, 4, 1), null));

function getPacked(bytes: Uint8Array, { at, width, lane }: PackedField, index: number): number {
  const inLane = Math.floor(index / lane);
  const perByte = 8 / width;
  const place = at + Math.floor(inLane / perByte) * lane + (index % lane);
  return (bytes[place]! >> (width * (inLane % perByte))) & ((1 << width) - 1);
}

function putPacked(bytes: Uint8Array, { at, width, lane }: PackedField, index: number, value: number): void {
  const inLane = Math.floor(index / lane);
  const perByte = 8 / width;
  const place = at + Math.floor(inLane / perByte) * lane + (index % lane);
  const shift = width * (inLane % perByte);
  const mask = ((1 << width) - 1) << shift;
  bytes[place] = (bytes[place]! & ~mask) | ((value << shift) & mask);
}

/** The number as it is stored, two's complement extended. */
export function getNumber(bytes: Uint8Array, field: Numbers, index: number): number {
  const low = getPacked(bytes, field.low, index);
  if (field.signed) return (low << 24) >> 24;
  return field.high === null ? low : low | (getPacked(bytes, field.high, index) << field.low.width);
}

/** Stores the low bits of `value`. */
export function putNumber(bytes: Uint8Array, field: Numbers, index: number, value: number): void {
  putPacked(bytes, field.low, index, value);
  if (field.high !== null) putPacked(bytes, field.high, index, value >> field.low.width);
}

/** Sub-block `part`'s scale, or for `kind` 1 its factor of the shift. */
export function getPart(bytes: Uint8Array, layout: BlockLayout, kind: number, part: number): number {
  const parts = layout.parts!;
  if (!layout.isSplit) return getNumber(bytes, parts, part + (kind * parts.count) / 2);
  if (part < 4) return bytes[4 + part + 4 * kind]! & 63;
  const index = part - 4 + 4 * kind;
  return getPacked(bytes, parts.low, index) | ((bytes[4 + index]! >> 6) << 4);
}

export function putPart(bytes: Uint8Array, layout: BlockLayout, kind: number, part: number, value: number): void {
  const parts = layout.parts!;
  if (!layout.isSplit) {
    putNumber(bytes, parts, part + (kind * parts.count) / 2, value);
    return;
  }
  if (part < 4) {
    const place = 4 + part + 4 * kind;
    bytes[place] = (bytes[place]! & 0xc0) | (value & 63);
    return;
  }
  const index = part - 4 + 4 * kind;
  putPacked(bytes, parts.low, index, value);
  bytes[4 + index] = (bytes[4 + index]! & 63) | (((value >> 4) & 3) << 6);
}

/** Sub-blocks of a block; 1 where it has no parts. */
export function partCount({ parts, shift }: BlockLayout): number {
  return parts === null ? 1 : shift < 0 ? parts.count : parts.count / 2;
}
