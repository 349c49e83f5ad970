/**
 * Where a TFLite model keeps its weights. Field ids are those of tensorflow/lite/schema/schema.fbs, version 3 ('TFL3').
 * Holds the list of tensors and, through WindowedSource, a quarter of a megabyte of the file; never the weights.
 */

import { ModelFormatError } from '../errors.js';
import { MODEL_LIMITS } from '../limits.js';
import type { ByteSource } from '../ports.js';
import { elementBytes, packedBytes, sharedZeroPoint } from './dtype.js';
import { Flatbuffer, type FlatTable, type FlatTables, type FlatVector } from './flatbuffer.js';
import type { DType, ModelLayout, Tensor } from './model.js';
import { WindowedSource } from './windowed-source.js';

const MODEL = { subgraphs: 2, buffers: 4 } as const;
const SUBGRAPH = { tensors: 0 } as const;
const TENSOR = { shape: 0, type: 1, buffer: 2, name: 3, quantization: 4 } as const;
const BUFFER = { data: 0, offset: 1, size: 2 } as const;
const QUANTIZATION = { scale: 2, zeroPoint: 3, quantizedDimension: 6 } as const;

/** TensorType, in the schema's order; types that have no typed delta (string, complex, resource, ...) are 'other'. */
const TENSOR_TYPES: readonly DType[] = [
  'f32',
  'f16',
  'i32',
  'u8',
  'i64',
  'other',
  'bool',
  'i16',
  'other',
  'i8',
  'f64',
  'other',
  'u64',
  'other',
  'other',
  'u32',
  'u16',
  'i4',
  'bf16',
];

const {
  tfliteSubgraphs: MAX_SUBGRAPHS,
  tensors: MAX_TENSORS,
  tfliteBuffers: MAX_BUFFERS,
  rank: MAX_RANK,
  nameBytes: MAX_NAME_BYTES,
  scales: MAX_SCALES,
  metadataBytes: MAX_METADATA_BYTES,
} = MODEL_LIMITS;
/** Fewer scales than this are not worth an op. */
const MIN_VECTOR_SCALES = 4;

interface Range {
  readonly offset: number;
  readonly length: number;
}

/**
 * Tensors of all sub-graphs that hold data, in file order. Throws ModelFormatError for a file the runtime would not load
 * either: truncated, offsets that leave the file, buffers that overlap. Throws IoError when `source` cannot be read.
 */
export function readTflite(source: ByteSource): ModelLayout {
  const file = new WindowedSource(source);
  // A model refers to each of its parts about once; four times the file is slack, and it keeps small files cheap.
  const model = new Flatbuffer(file, Math.min(4 * file.size, MAX_METADATA_BYTES)).root('TFL3');
  const buffers = model.tables(MODEL.buffers, MAX_BUFFERS, 'buffers');
  const subgraphs = model.tables(MODEL.subgraphs, MAX_SUBGRAPHS, 'sub-graphs');
  if (subgraphs.count === 0) throw new ModelFormatError('expected at least one sub-graph, got none', model.position);

  const collected = new TensorsByRange();
  let seen = 0;
  for (let g = 0; g < subgraphs.count; g++) {
    const tensors = subgraphs.at(g).tables(SUBGRAPH.tensors, MAX_TENSORS - seen, 'tensors');
    seen += tensors.count;
    for (let t = 0; t < tensors.count; t++) {
      const table = tensors.at(t);
      const range = dataRange(file, buffers, table);
      if (range !== null) collected.add(table, range);
    }
  }
  return { format: 'TFLite', tensors: collected.inFileOrder(), scaleVectors: collected.scaleVectors(), warning: null };
}

/** Where a tensor's data lies, or null when it has none (activations, variables). */
function dataRange(file: WindowedSource, buffers: FlatTables, tensor: FlatTable): Range | null {
  const index = tensor.u32(TENSOR.buffer, 0, "a tensor's buffer index");
  if (index >= buffers.count) {
    throw new ModelFormatError(`expected a buffer index below ${buffers.count}, got ${index}`, tensor.position);
  }
  const buffer = buffers.at(index);
  // Models above 2 GiB keep weights behind the flatbuffer; the schema calls the offset valid only above 1.
  const offset = buffer.u64(BUFFER.offset, 0, "a buffer's offset");
  if (offset > 1) {
    const length = buffer.u64(BUFFER.size, 0, "a buffer's size");
    file.require(offset, length, "a buffer's data");
    return length === 0 ? null : { offset, length };
  }
  const data = buffer.vector(BUFFER.data, 1, 'bytes of a buffer');
  return data === null || data.count === 0 ? null : { offset: data.position, length: data.count };
}

/** Tensors by where their data begins: those that share a buffer become one entry, named by the first. */
class TensorsByRange {
  private readonly byOffset = new Map<number, { tensor: Tensor; aliases: string[] }>();
  private readonly scales = new Map<number, Tensor>();

  add(table: FlatTable, range: Range): void {
    const known = this.byOffset.get(range.offset);
    if (known !== undefined) {
      if (known.tensor.length !== range.length) throw overlap(known.tensor, range);
      known.aliases.push(nameOf(table));
      return;
    }
    const aliases: string[] = [];
    const tensor = readTensor(table, range, aliases);
    this.byOffset.set(range.offset, { tensor, aliases });
    const vector = tensor.scales.length < MIN_VECTOR_SCALES ? null : scaleVector(table);
    if (vector === null) return;
    const { position: offset, count } = vector;
    const numbers = { dtype: 'f32' as const, shape: [count], length: 4 * count, scales: [], scaleAxis: 0 };
    // Flatbuffers may share vectors, which count once.
    this.scales.set(offset, { name: tensor.name, aliases: [], offset, ...numbers });
  }

  /** Those that lie apart from each other and from the tensors: nothing checks that they do. */
  scaleVectors(): Tensor[] {
    const vectors = new Set(this.scales.values());
    const all = [...this.inFileOrder(), ...vectors].sort((a, b) => a.offset - b.offset);
    let end = 0;
    return all.filter((tensor, i) => {
      const apart = tensor.offset >= end && tensor.offset + tensor.length <= (all[i + 1]?.offset ?? Infinity);
      end = Math.max(end, tensor.offset + tensor.length);
      return apart && vectors.has(tensor);
    });
  }

  inFileOrder(): Tensor[] {
    const tensors = Array.from(this.byOffset.values(), (entry) => entry.tensor);
    tensors.sort((a, b) => a.offset - b.offset);
    tensors.forEach((tensor, i) => {
      const before = tensors[i - 1];
      if (before !== undefined && before.offset + before.length > tensor.offset) throw overlap(before, tensor);
    });
    return tensors;
  }
}

function scaleVector(table: FlatTable): FlatVector | null {
  return table.table(TENSOR.quantization, "a tensor's quantisation")?.vector(QUANTIZATION.scale, 4, 'scales') ?? null;
}

function overlap(a: Range, b: Range): ModelFormatError {
  return new ModelFormatError(
    `expected buffers to be apart or the same, got ${a.length} bytes at ${a.offset} and ${b.length} at ${b.offset}`,
    b.offset,
  );
}

function readTensor(table: FlatTable, range: Range, aliases: readonly string[]): Tensor {
  const shape = table.i32s(TENSOR.shape, MAX_RANK, "of a tensor's dimensions");
  const declared = TENSOR_TYPES[table.u8(TENSOR.type, 0, "a tensor's type")] ?? 'other';
  const dtype = range.length % elementBytes(declared) === 0 ? declared : 'other';
  const tensor = { name: nameOf(table), aliases, dtype, shape, offset: range.offset, length: range.length };
  return { ...tensor, ...readScales(table, tensor) };
}

function nameOf(table: FlatTable): string {
  return table.text(TENSOR.name, MAX_NAME_BYTES, "bytes of a tensor's name");
}

/**
 * Scales the diff can use. Sparse tensors hold fewer bytes than their shape says, and a count of scales may fit nothing;
 * both load nowhere or need no prediction, and a prediction is only a hint, so they count as tensors without scales.
 */
function readScales(
  table: FlatTable,
  tensor: Pick<Tensor, 'dtype' | 'shape' | 'length'>,
): Pick<Tensor, 'scales' | 'scaleAxis' | 'zeroPoint'> {
  const quantization = table.table(TENSOR.quantization, "a tensor's quantisation");
  if (quantization === null) return { scales: [], scaleAxis: 0 };
  const scaleAxis = quantization.i32(QUANTIZATION.quantizedDimension, 0, 'a quantised dimension');
  const scales = quantization.f32s(QUANTIZATION.scale, MAX_SCALES, 'scales');
  const elements = tensor.shape.reduce((product, size) => product * size, 1);
  const whole = packedBytes(tensor.dtype, elements) === tensor.length;
  const fits = scales.length === 1 || scales.length === tensor.shape[scaleAxis];
  if (!whole || !fits || scales.length === 0) return { scales: [], scaleAxis: 0 };
  const zeros = quantization.i64s(QUANTIZATION.zeroPoint, MAX_SCALES, 'zero points');
  return { scales, scaleAxis, ...sharedZeroPoint(tensor.dtype, zeros) };
}
