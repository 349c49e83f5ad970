/**
 * Writes a list of tensors and operators as a .tflite file. Field slots are those of the public schema, version 3
 * (tensorflow/compiler/mlir/lite/schema/schema.fbs), written by hand with the `flatbuffers` builder: the handful needed
 * here is shorter than generated code. Independent of Mallorn's own TFLite reader on purpose, so that neither can hide
 * the other's mistakes.
 */

import { Builder } from 'flatbuffers';

export const TENSOR_INT8 = 9;
export const TENSOR_INT32 = 2;

export interface TfliteTensor {
  readonly name: string;
  readonly type: typeof TENSOR_INT8 | typeof TENSOR_INT32;
  readonly shape: readonly number[];
  /** Absent for activations, which then share the empty buffer 0. */
  readonly data?: Uint8Array;
  /** More than one scale means per-channel along dimension 0. */
  readonly quantization?: { readonly scales: ArrayLike<number>; readonly zeroPoint: number };
}

export type TfliteOptions =
  | { readonly kind: 'conv2d'; readonly strideHeight: number; readonly relu: boolean }
  | { readonly kind: 'fullyConnected'; readonly relu: boolean }
  | { readonly kind: 'reshape'; readonly shape: readonly number[] }
  | { readonly kind: 'softmax' };

export interface TfliteOperator {
  /** Indices into the model's tensors. */
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  readonly options: TfliteOptions;
}

export interface TfliteModel {
  readonly description: string;
  readonly tensors: readonly TfliteTensor[];
  readonly operators: readonly TfliteOperator[];
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
}

/**
 * BuiltinOperator, the operator version that introduced int8 (tensorflow/lite/tools/versioning), and the BuiltinOptions
 * union tag.
 */
const OPERATORS = {
  conv2d: { code: 3, version: 3, optionsTag: 1 },
  fullyConnected: { code: 9, version: 4, optionsTag: 8 },
  reshape: { code: 22, version: 1, optionsTag: 17 },
  softmax: { code: 25, version: 2, optionsTag: 9 },
} as const;
type OperatorKind = keyof typeof OPERATORS;

const PADDING_VALID = 1;
const ACTIVATION_RELU = 1;
/** "Note the 0th entry of this array must be an empty buffer (sentinel)." */
const EMPTY_BUFFER = 0;
/** The first TensorFlow release whose runtime knows all operator versions above. */
const MIN_RUNTIME_VERSION = '1.14.0';

export function writeTflite(model: TfliteModel): Uint8Array {
  const builder = new Builder(1 << 17);
  const kinds = [...new Set(model.operators.map((operator) => operator.options.kind))];

  // Buffers in the order of the tensors, so that equal layouts give equal offsets in both versions of a model.
  const blobs: Uint8Array[] = [new Uint8Array(0)];
  const bufferOf = model.tensors.map((tensor) => (tensor.data ? blobs.push(tensor.data) - 1 : EMPTY_BUFFER));
  const versionBlob = new Uint8Array(16);
  versionBlob.set(new TextEncoder().encode(MIN_RUNTIME_VERSION));
  const versionBuffer = blobs.push(versionBlob) - 1;

  const buffers = offsets(
    builder,
    blobs.map((blob) => writeBuffer(builder, blob)),
  );
  const metadata = offsets(builder, [writeMetadata(builder, 'min_runtime_version', versionBuffer)]);
  const codes = offsets(
    builder,
    kinds.map((kind) => writeOperatorCode(builder, kind)),
  );
  const subgraphs = offsets(builder, [writeSubgraph(builder, model, kinds, bufferOf)]);
  const description = builder.createString(model.description);

  builder.startObject(7);
  builder.addFieldInt32(0, 3, 0); // version
  builder.addFieldOffset(1, codes, 0);
  builder.addFieldOffset(2, subgraphs, 0);
  builder.addFieldOffset(3, description, 0);
  builder.addFieldOffset(4, buffers, 0);
  builder.addFieldOffset(6, metadata, 0);
  builder.finish(builder.endObject(), 'TFL3');
  return builder.asUint8Array().slice();
}

function writeBuffer(builder: Builder, blob: Uint8Array): number {
  let data = 0;
  if (blob.length > 0) {
    builder.startVector(1, blob.length, 16); // force_align: 16
    for (let i = blob.length - 1; i >= 0; i--) builder.addInt8(blob[i]!);
    data = builder.endVector();
  }
  builder.startObject(1);
  builder.addFieldOffset(0, data, 0);
  return builder.endObject();
}

function writeMetadata(builder: Builder, label: string, buffer: number): number {
  const name = builder.createString(label);
  builder.startObject(2);
  builder.addFieldOffset(0, name, 0);
  builder.addFieldInt32(1, buffer, 0);
  return builder.endObject();
}

function writeOperatorCode(builder: Builder, kind: OperatorKind): number {
  const { code, version } = OPERATORS[kind];
  builder.startObject(4);
  builder.addFieldInt8(0, code, 0); // deprecated_builtin_code, all that old readers look at
  builder.addFieldInt32(2, version, 1);
  builder.addFieldInt32(3, code, 0); // builtin_code
  return builder.endObject();
}

function writeSubgraph(
  builder: Builder,
  model: TfliteModel,
  kinds: readonly OperatorKind[],
  bufferOf: readonly number[],
): number {
  const tensors = offsets(
    builder,
    model.tensors.map((tensor, i) => writeTensor(builder, tensor, bufferOf[i]!)),
  );
  const inputs = int32s(builder, model.inputs);
  const outputs = int32s(builder, model.outputs);
  const operators = offsets(
    builder,
    model.operators.map((operator) => writeOperator(builder, operator, kinds)),
  );
  const name = builder.createString('main');
  builder.startObject(5);
  builder.addFieldOffset(0, tensors, 0);
  builder.addFieldOffset(1, inputs, 0);
  builder.addFieldOffset(2, outputs, 0);
  builder.addFieldOffset(3, operators, 0);
  builder.addFieldOffset(4, name, 0);
  return builder.endObject();
}

function writeTensor(builder: Builder, tensor: TfliteTensor, buffer: number): number {
  const shape = int32s(builder, tensor.shape);
  const name = builder.createString(tensor.name);
  const quantization = tensor.quantization ? writeQuantization(builder, tensor.quantization) : 0;
  builder.startObject(9);
  builder.addFieldOffset(0, shape, 0);
  builder.addFieldInt8(1, tensor.type, 0);
  builder.addFieldInt32(2, buffer, 0);
  builder.addFieldOffset(3, name, 0);
  builder.addFieldOffset(4, quantization, 0);
  builder.addFieldInt8(8, 1, 0); // has_rank
  return builder.endObject();
}

function writeQuantization(builder: Builder, { scales, zeroPoint }: NonNullable<TfliteTensor['quantization']>): number {
  builder.startVector(8, scales.length, 8);
  for (let i = 0; i < scales.length; i++) builder.addInt64(BigInt(zeroPoint));
  const zeroPoints = builder.endVector();
  builder.startVector(4, scales.length, 4);
  for (let i = scales.length - 1; i >= 0; i--) builder.addFloat32(scales[i]!);
  const scaleVector = builder.endVector();
  builder.startObject(7);
  builder.addFieldOffset(2, scaleVector, 0);
  builder.addFieldOffset(3, zeroPoints, 0);
  builder.addFieldInt32(6, 0, 0); // quantized_dimension: output channels come first in every weight tensor here
  return builder.endObject();
}

function writeOperator(builder: Builder, operator: TfliteOperator, kinds: readonly OperatorKind[]): number {
  const inputs = int32s(builder, operator.inputs);
  const outputs = int32s(builder, operator.outputs);
  const options = writeOptions(builder, operator.options);
  builder.startObject(5);
  builder.addFieldInt32(0, kinds.indexOf(operator.options.kind), 0);
  builder.addFieldOffset(1, inputs, 0);
  builder.addFieldOffset(2, outputs, 0);
  builder.addFieldInt8(3, OPERATORS[operator.options.kind].optionsTag, 0);
  builder.addFieldOffset(4, options, 0);
  return builder.endObject();
}

function writeOptions(builder: Builder, options: TfliteOptions): number {
  switch (options.kind) {
    case 'conv2d':
      builder.startObject(6);
      builder.addFieldInt8(0, PADDING_VALID, 0);
      builder.addFieldInt32(1, 1, 0); // stride_w
      builder.addFieldInt32(2, options.strideHeight, 0);
      builder.addFieldInt8(3, options.relu ? ACTIVATION_RELU : 0, 0);
      return builder.endObject();
    case 'fullyConnected':
      builder.startObject(4);
      builder.addFieldInt8(0, options.relu ? ACTIVATION_RELU : 0, 0);
      return builder.endObject();
    case 'reshape': {
      const shape = int32s(builder, options.shape);
      builder.startObject(1);
      builder.addFieldOffset(0, shape, 0);
      return builder.endObject();
    }
    case 'softmax':
      builder.startObject(1);
      builder.addFieldFloat32(0, 1, 0); // beta
      return builder.endObject();
  }
}

function offsets(builder: Builder, entries: readonly number[]): number {
  builder.startVector(4, entries.length, 4);
  for (let i = entries.length - 1; i >= 0; i--) builder.addOffset(entries[i]!);
  return builder.endVector();
}

function int32s(builder: Builder, values: readonly number[]): number {
  builder.startVector(4, values.length, 4);
  for (let i = values.length - 1; i >= 0; i--) builder.addInt32(values[i]!);
  return builder.endVector();
}
