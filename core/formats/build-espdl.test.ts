/**
 * Builds small ESP-DL files for the tests, with the flatbuffers package rather than our own idea of the format. No tests
 * of its own: the suffix keeps it, and its npm import, out of core.
 */

import { Builder, type Offset } from 'flatbuffers';

export const TYPE = { f32: 1, i8: 3, i16: 5, i32: 6, i64: 7 } as const;

export interface EspdlTensor {
  readonly name: string;
  /** TensorDataType of the schema. */
  readonly type: number;
  readonly dims?: readonly number[];
  /** raw_data, padded to units of 16. */
  readonly raw?: Uint8Array;
  /** raw_data as early exporters wrote it: a vector of bytes. */
  readonly rawBytes?: Uint8Array;
  readonly floats?: readonly number[];
  readonly i32s?: readonly number[];
  readonly i64s?: readonly number[];
  readonly exponents?: readonly number[];
  /** The note that says how a filter lies. */
  readonly doc?: string;
}

export interface EspdlModel {
  readonly initializers: readonly EspdlTensor[];
  readonly testInputs?: readonly EspdlTensor[];
  /** One node with an attribute for each. */
  readonly attributes?: readonly EspdlTensor[];
  /** How often the list names each initializer. */
  readonly repeat?: number;
}

export function ramp(length: number, first: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (first + 3 * i) & 255);
}

/** One of everything the reader tells apart. */
export const SMALL: EspdlModel = {
  initializers: [
    { name: 'filter', type: TYPE.i8, dims: [1, 1, 3, 7], raw: ramp(21, 1), exponents: [-7] },
    { name: 'bias', type: TYPE.i32, dims: [3], raw: ramp(12, 7), exponents: [-12, -13, -12] },
    { name: 'lut', type: TYPE.i16, dims: [5], rawBytes: ramp(10, 3), exponents: [3, 3, 3, 3, 3] },
    { name: 'roi', type: TYPE.f32, dims: [2], floats: [0.5, 2], exponents: [0] },
    { name: 'sizes', type: TYPE.i8, dims: [2], i32s: [1, 2], exponents: [0] },
    { name: 'axes', type: TYPE.i64, dims: [1], i64s: [9] },
    { name: 'none', type: TYPE.f32, dims: [0] },
  ],
  testInputs: [{ name: 'image', type: TYPE.i8, dims: [4], raw: ramp(4, 50) }],
  attributes: [{ name: 'attribute', type: TYPE.f32, dims: [], raw: ramp(4, 90) }],
};

/** `generation` 1 has a header of 12 bytes, 2 one of 16. */
export function buildEspdl(model: EspdlModel, generation: 1 | 2 = 2): Uint8Array {
  const builder = new Builder(1024);
  const written = model.initializers.map((tensor) => writeTensor(builder, tensor));
  const initializers = offsets(
    builder,
    written.flatMap((offset) => Array<Offset>(model.repeat ?? 1).fill(offset)),
  );
  const inputs = offsets(
    builder,
    (model.testInputs ?? []).map((tensor) => writeTensor(builder, tensor)),
  );
  const nodes = offsets(builder, [writeNode(builder, model.attributes ?? [])]);
  const graph = table(builder, 10, () => {
    builder.addFieldOffset(0, nodes, 0);
    builder.addFieldOffset(2, initializers, 0);
    builder.addFieldOffset(8, inputs, 0);
  });
  builder.finish(table(builder, 10, () => builder.addFieldOffset(7, graph, 0)));
  return withHeader(builder.asUint8Array(), generation);
}

function withHeader(flatbuffer: Uint8Array, generation: 1 | 2): Uint8Array {
  const headerBytes = generation === 1 ? 12 : 16;
  const bytes = new Uint8Array(headerBytes + flatbuffer.length);
  bytes.set(new TextEncoder().encode(`EDL${generation}`));
  new DataView(bytes.buffer).setUint32(8, flatbuffer.length, true);
  bytes.set(flatbuffer, headerBytes);
  return bytes;
}

/** The first attribute holds its tensor by itself, the others in a list. */
function writeNode(builder: Builder, tensors: readonly EspdlTensor[]): Offset {
  const attributes = tensors.map((tensor, i) => {
    const offset = writeTensor(builder, tensor);
    const list = i === 0 ? 0 : offsets(builder, [offset]);
    return table(builder, 16, () =>
      i === 0 ? builder.addFieldOffset(7, offset, 0) : builder.addFieldOffset(13, list, 0),
    );
  });
  const list = offsets(builder, attributes);
  return table(builder, 7, () => builder.addFieldOffset(5, list, 0));
}

function writeTensor(builder: Builder, tensor: EspdlTensor): Offset {
  const { raw, rawBytes, floats, i32s, i64s, dims = [], exponents } = tensor;
  const vectors = new Map<number, Offset>([[0, longs(builder, dims)]]);
  if (raw !== undefined) vectors.set(8, bytesOf(builder, raw, Math.ceil(raw.length / 16)));
  if (rawBytes !== undefined) vectors.set(8, bytesOf(builder, rawBytes, rawBytes.length));
  if (floats !== undefined)
    vectors.set(
      2,
      vector(builder, floats, 4, 4, (value) => builder.addFloat32(value)),
    );
  if (i32s !== undefined)
    vectors.set(
      3,
      vector(builder, i32s, 4, 4, (value) => builder.addInt32(value)),
    );
  if (i64s !== undefined) vectors.set(5, longs(builder, i64s));
  if (exponents !== undefined) vectors.set(13, longs(builder, exponents));
  vectors.set(6, builder.createString(tensor.name));
  if (tensor.doc !== undefined) vectors.set(7, builder.createString(tensor.doc));
  return table(builder, 14, () => {
    for (const [slot, offset] of vectors) builder.addFieldOffset(slot, offset, 0);
    builder.addFieldInt32(1, tensor.type, 0);
  });
}

/** Whole units of 16 bytes where `count` says units, the bytes alone otherwise. */
function bytesOf(builder: Builder, bytes: Uint8Array, count: number): Offset {
  const inUnits = count !== bytes.length;
  const padded = new Uint8Array(inUnits ? 16 * count : bytes.length);
  padded.set(bytes);
  builder.startVector(inUnits ? 16 : 1, count, 16);
  for (const byte of padded.reverse()) builder.addInt8(byte);
  return builder.endVector();
}

function longs(builder: Builder, values: readonly number[]): Offset {
  return vector(builder, values, 8, 8, (value) => builder.addInt64(BigInt(value)));
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
  elements: readonly T[],
  bytes: number,
  align: number,
  add: (element: T) => void,
): Offset {
  builder.startVector(bytes, elements.length, align);
  for (const element of [...elements].reverse()) add(element);
  return builder.endVector();
}
