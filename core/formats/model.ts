/**
 * What a format reader tells the diff about a model file. A layout is a hint that makes ops better, never a
 * requirement: whatever it says, the patch reproduces the target byte for byte.
 */

export type ModelFormat = 'TFLite' | 'GGUF' | 'ONNX' | 'SafeTensors' | 'ESPDL' | 'Binary';

export type DType =
  | 'f32'
  | 'f16'
  | 'bf16'
  | 'f64'
  | 'i8'
  | 'u8'
  | 'i16'
  | 'u16'
  | 'i32'
  | 'u32'
  | 'i64'
  | 'u64'
  | 'i4'
  | 'bool'
  | 'f8_e4m3'
  | 'f8_e5m2'
  | BlockDType
  | 'other';

/** Block-quantised types of ggml, by their names there: runs of elements that share scales (sizes in dtype.ts). */
export type BlockDType =
  | 'q1_0'
  | 'q4_0'
  | 'q4_1'
  | 'q5_0'
  | 'q5_1'
  | 'q8_0'
  | 'q8_1'
  | 'q2_k'
  | 'q3_k'
  | 'q4_k'
  | 'q5_k'
  | 'q6_k'
  | 'q8_k'
  | 'iq1_s'
  | 'iq1_m'
  | 'iq2_xxs'
  | 'iq2_xs'
  | 'iq2_s'
  | 'iq3_xxs'
  | 'iq3_s'
  | 'iq4_nl'
  | 'iq4_xs'
  | 'tq1_0'
  | 'tq2_0'
  | 'mxfp4'
  | 'nvfp4';

export interface Tensor {
  readonly name: string;
  /** Names of further tensors that read these same bytes; [] unless the model shares a buffer between tensors. */
  readonly aliases: readonly string[];
  /** `length` is a multiple of this type's size (dtype.ts), else the reader says 'other'. */
  readonly dtype: DType;
  /** As the file gives it; [] for a scalar. */
  readonly shape: readonly number[];
  /** Byte range of the data in the file. */
  readonly offset: number;
  readonly length: number;
  /**
   * Quantisation scales, per tensor (1) or per channel (shape[scaleAxis]); [] when the tensor has none. Where it has
   * some, `shape` and `dtype` account for exactly `length` bytes.
   */
  readonly scales: readonly number[];
  readonly scaleAxis: number;
  /** Of a tensor of i8 or u8 with scales: the number that stands for 0. Absent: 0, or not the same for all channels. */
  readonly zeroPoint?: number;
  /**
   * Output channels that lie interleaved, innermost, in the file: a shape [height, width, in, out] is stored as
   * [out / interleaved, height, width, in, interleaved]. Absent: as the shape says.
   */
  readonly interleaved?: number;
}

export interface ModelLayout {
  readonly format: ModelFormat;
  /** Tensors that hold data, in file order, ranges inside the file and not overlapping. */
  readonly tensors: readonly Tensor[];
  /**
   * Vectors of quantisation scales that lie outside the tensors' data, each named as its tensor; in file order, apart from
   * each other and from the tensors. Absent where the format has none.
   */
  readonly scaleVectors?: readonly Tensor[];
  /** Why a file that looks like `format` is treated as plain bytes, with the offset; null when it is not. */
  readonly warning: string | null;
}

/** Tensors of the model that hold data, each counted, also where several read the same bytes. */
export function tensorCount(layout: ModelLayout): number {
  return layout.tensors.reduce((count, tensor) => count + 1 + tensor.aliases.length, 0);
}
