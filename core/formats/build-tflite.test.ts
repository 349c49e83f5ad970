/**
 * Builds small TFLite files for the tests, with the flatbuffers package rather than our own idea of the format. No tests
 * of its own: the suffix keeps it, and its npm import, out of core.
 */

import { Builder, type Offset } from 'flatbuffers';

export interface SmallTensor {
  readonly name: string;
  /** TensorType of the schema. */
  readonly type: number;
  readonly shape: readonly number[];
  /** Index into `buffers`. */
  readonly buffer: number;
  readonly scales?: readonly number[];
  readonly axis?: number;
  readonly zeros?: readonly number[];
}

export interface SmallModel {
  /** By convention the first is empty, for tensors without data. */
  readonly buffers: readonly Uint8Array[];
  readonly subgraphs: readonly (readonly SmallTensor[])[];
}

export const TYPE = { f32: 0, f16: 1, i32: 2, u8: 3, string: 5, i8: 9, i4: 17 } as const;

/** Two sub-graphs, a per-channel and a per-tensor tensor, a shared buffer, an activation. */
export const SMALL: SmallModel = {
  buffers: [new Uint8Array(0), ramp(24, 1), ramp(16, 7), ramp(8, 100), new Uint8Array(0)],
  subgraphs: [
    [
      { name: 'input', type: TYPE.f32, shape: [1, 3], buffer: 0 },
      { name: 'conv/kernel', type: TYPE.i8, shape: [4, 2, 3], buffer: 1, scales: [0.5, 0.25, 0.125, 2], axis: 0 },
      { name: 'conv/bias', type: TYPE.i32, shape: [4], buffer: 2, scales: [0.75] },
      { name: 'état', type: TYPE.i8, shape: [1, 4], buffer: 4 },
    ],
    [
      { name: 'init/zero', type: TYPE.f16, shape: [4], buffer: 3 },
      { name: 'init/bias', type: TYPE.i32, shape: [4], buffer: 2 },
    ],
  ],
};

export function ramp(length: number, first: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (first + 3 * i) & 255);
}

export function buildTflite(model: SmallModel): Uint8Array {
  return build(model, (builder, bytes) => {
    const data = bytes.length === 0 ? 0 : vector(builder, bytes, 1, 16, (byte) => builder.addInt8(byte));
    return table(builder, 3, () => data !== 0 && builder.addFieldOffset(0, data, 0));
  });
}

/** The form for models above 2 GiB: data behind the flatbuffer, offsets from the start of the file. */
export function buildLargeTflite(model: SmallModel, offsets: readonly number[]): Uint8Array {
  return build(model, (builder, bytes, index) =>
    table(builder, 3, () => {
      builder.addFieldInt64(1, BigInt(offsets[index] ?? 0), 0n);
      builder.addFieldInt64(2, BigInt(bytes.length), 0n);
    }),
  );
}

/** One sub-graph whose `count` tensors are all the same table. */
export function buildRepeatedTensor(count: number): Uint8Array {
  const model = {
    buffers: [new Uint8Array(0), ramp(4, 0)],
    subgraphs: [[{ name: 'again', type: 0, shape: [1], buffer: 1 }]],
  };
  return build(
    model,
    (builder, bytes) => {
      const data = vector(builder, bytes, 1, 16, (byte) => builder.addInt8(byte));
      return table(builder, 3, () => builder.addFieldOffset(0, data, 0));
    },
    count,
  );
}

type WriteBuffer = (builder: Builder, bytes: Uint8Array, index: number) => Offset;

function build(model: SmallModel, writeBuffer: WriteBuffer, repeat = 1): Uint8Array {
  const builder = new Builder(1024);
  const buffers = offsets(
    builder,
    model.buffers.map((bytes, index) => writeBuffer(builder, bytes, index)),
  );
  const subgraphs = offsets(
    builder,
    model.subgraphs.map((tensors) => {
      const written = tensors.map((tensor) => writeTensor(builder, tensor));
      const list = offsets(
        builder,
        written.flatMap((offset) => Array<Offset>(repeat).fill(offset)),
      );
      return table(builder, 5, () => builder.addFieldOffset(0, list, 0));
    }),
  );
  const root = table(builder, 8, () => {
    builder.addFieldInt32(0, 3, 0);
    builder.addFieldOffset(2, subgraphs, 0);
    builder.addFieldOffset(4, buffers, 0);
  });
  builder.finish(root, 'TFL3');
  return builder.asUint8Array().slice();
}

function writeTensor(builder: Builder, tensor: SmallTensor): Offset {
  const name = builder.createString(tensor.name);
  const shape = vector(builder, tensor.shape, 4, 4, (size) => builder.addInt32(size));
  const { scales } = tensor;
  const scale = scales === undefined ? 0 : vector(builder, scales, 4, 4, (value) => builder.addFloat32(value));
  const { zeros } = tensor;
  const zero = zeros === undefined ? 0 : vector(builder, zeros, 8, 8, (value) => builder.addInt64(BigInt(value)));
  const quantization =
    scales === undefined
      ? 0
      : table(builder, 7, () => {
          builder.addFieldOffset(2, scale, 0);
          if (zero !== 0) builder.addFieldOffset(3, zero, 0);
          builder.addFieldInt32(6, tensor.axis ?? 0, 0);
        });
  return table(builder, 5, () => {
    builder.addFieldOffset(0, shape, 0);
    builder.addFieldInt8(1, tensor.type, 0);
    builder.addFieldInt32(2, tensor.buffer, 0);
    builder.addFieldOffset(3, name, 0);
    if (quantization !== 0) builder.addFieldOffset(4, quantization, 0);
  });
}

function table(builder: Builder, slots: number, fill: () => void): Offset {
  builder.startObject(slots);
  fill();
  return builder.endObject();
}

function offsets(builder: Builder, elements: readonly Offset[]): Offset {
  return vector(builder, elements, 4, 4, (offset) => builder.addOffset(offset));
}

/** The builder writes back to front, so elements are added last first. */
function vector<T>(
  builder: Builder,
  elements: Iterable<T>,
  bytes: number,
  align: number,
  add: (element: T) => void,
): Offset {
  const list = Array.from(elements);
  builder.startVector(bytes, list.length, align);
  for (const element of list.reverse()) add(element);
  return builder.endVector();
}
