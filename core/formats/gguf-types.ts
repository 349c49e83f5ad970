/** The numbers GGUF gives to types. Tensor types are enum ggml_type (ggml/include/ggml.h), values those of docs/gguf.md. */

import type { DType } from './model.js';

/**
 * ggml_type to ours. Missing: 4, 5 (Q4_2, Q4_3), 31-33 (Q4_0 interleaved) and 36-38 (IQ4_NL interleaved), which ggml
 * removed, and whatever came after 41.
 */
export const TENSOR_TYPES: Readonly<Record<number, DType>> = {
  0: 'f32',
  1: 'f16',
  2: 'q4_0',
  3: 'q4_1',
  6: 'q5_0',
  7: 'q5_1',
  8: 'q8_0',
  9: 'q8_1',
  10: 'q2_k',
  11: 'q3_k',
  12: 'q4_k',
  13: 'q5_k',
  14: 'q6_k',
  15: 'q8_k',
  16: 'iq2_xxs',
  17: 'iq2_xs',
  18: 'iq3_xxs',
  19: 'iq1_s',
  20: 'iq4_nl',
  21: 'iq3_s',
  22: 'iq2_s',
  23: 'iq4_xs',
  24: 'i8',
  25: 'i16',
  26: 'i32',
  27: 'i64',
  28: 'f64',
  29: 'iq1_m',
  30: 'bf16',
  34: 'tq1_0',
  35: 'tq2_0',
  39: 'mxfp4',
  40: 'nvfp4',
  41: 'q1_0',
};

export const VALUE_U32 = 4;
export const VALUE_STRING = 8;
export const VALUE_ARRAY = 9;

/** Bytes of a metadata value by its type, 0 where they vary. */
export const VALUE_BYTES: readonly number[] = [
  1, // u8
  1, // i8
  2, // u16
  2, // i16
  4, // u32
  4, // i32
  4, // f32
  1, // bool
  0, // string
  0, // array
  8, // u64
  8, // i64
  8, // f64
];
