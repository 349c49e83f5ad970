/**
 * Where an ESP-DL model keeps its weights. Field ids are those of espressif/esp-dl, esp-dl/fbs_loader/espdl.fbs; the header
 * before the flatbuffer is read as fbs_loader.cpp does. The schema follows ONNX's, but its numbers have fixed widths.
 *
 * Encrypted models (AES) are refused: they have no readable parts.
 */

import { ModelFormatError } from '../errors.js';
import { MODEL_LIMITS } from '../limits.js';
import type { ByteSource } from '../ports.js';
import { elementBytes, packedBytes } from './dtype.js';
import { inFileOrder } from './file-order.js';
import { Flatbuffer, FlatTable, type FlatTables, type FlatVector } from './flatbuffer.js';
import type { DType, ModelLayout, Tensor } from './model.js';
import { WindowedSource } from './windowed-source.js';

const MODEL = { graph: 7 } as const;
const GRAPH = { node: 0, initializer: 2, testInputs: 8, testOutputs: 9 } as const;
const NODE = { attribute: 5 } as const;
const ATTRIBUTE = { t: 7, tensors: 13 } as const;
const TENSOR = { dims: 0, dataType: 1, name: 6, doc: 7, rawData: 8, exponents: 13 } as const;

/** Typed data of a Tensor by slot. The element is what the field stores, whatever `data_type` says it means. */
const TYPED_DATA: readonly { readonly slot: number; readonly dtype: DType }[] = [
  { slot: 2, dtype: 'f32' },
  { slot: 3, dtype: 'i32' },
  { slot: 5, dtype: 'i64' },
  { slot: 11, dtype: 'f64' },
  { slot: 12, dtype: 'u64' },
];

/** TensorDataType, in the schema's order. */
const DATA_TYPES: readonly DType[] = [
  'other',
  'f32',
  'u8',
  'i8',
  'u16',
  'i16',
  'i32',
  'i64',
  'other',
  'bool',
  'f16',
  'f64',
  'u32',
  'u64',
];

/** Others carry an exponent of 0, which says nothing. */
const QUANTISED: ReadonlySet<DType> = new Set(['i8', 'u8', 'i16', 'u16', 'i32', 'u32']);

/** Magic, encryption mode, size of the flatbuffer; the second generation pads to 16. */
const MODE_OFFSET = 4;
const SIZE_OFFSET = 8;
const HEADER_BYTES: Readonly<Record<string, number>> = { EDL1: 12, EDL2: 16 };
/** raw_data is a vector of these; early exporters wrote it as one of bytes, under the same magic. */
const RAW_UNIT_BYTES = 16;

const {
  tensors: MAX_TENSORS,
  espdlNodes: MAX_NODES,
  espdlAttributes: MAX_ATTRIBUTES,
  rank: MAX_RANK,
  nameBytes: MAX_NAME_BYTES,
  scales: MAX_EXPONENTS,
  metadataBytes: MAX_METADATA_BYTES,
} = MODEL_LIMITS;
/** Longer notes say something else. */
const MAX_NOTE_BYTES = 64;
/** Powers of two that are normal numbers in f32, the type the runtime computes scales in. */
const MAX_EXPONENT = 126;

/**
 * Tensors that hold data, in file order: initializers, attributes of nodes, and the test values an exporter may add.
 * Throws ModelFormatError for a file the runtime would not load either: truncated, encrypted, offsets that leave the file,
 * data that overlaps. Throws IoError when `source` cannot be read.
 */
export function readEspdl(source: ByteSource): ModelLayout {
  const file = new WindowedSource(source);
  // A model refers to each of its parts about once; four times the file is slack, and it keeps small files cheap.
  const buffer = new Flatbuffer(file, Math.min(4 * file.size, MAX_METADATA_BYTES));
  const model = new FlatTable(buffer, buffer.follow(readHeader(file), 'the root table'));
  const graph = model.table(MODEL.graph, 'the graph');
  if (graph === null) throw new ModelFormatError('expected a graph, got none', model.position);
  const collected = new Collector(buffer);
  collected.addAll(graph.tables(GRAPH.initializer, MAX_TENSORS, 'initializers'));
  collected.addAll(graph.tables(GRAPH.testInputs, MAX_TENSORS, 'test inputs'));
  collected.addAll(graph.tables(GRAPH.testOutputs, MAX_TENSORS, 'test outputs'));
  const nodes = graph.tables(GRAPH.node, MAX_NODES, 'nodes');
  for (let n = 0; n < nodes.count; n++) {
    const attributes = nodes.at(n).tables(NODE.attribute, MAX_ATTRIBUTES, 'attributes');
    for (let a = 0; a < attributes.count; a++) {
      const attribute = attributes.at(a);
      const tensor = attribute.table(ATTRIBUTE.t, 'a tensor');
      if (tensor !== null) collected.add(tensor);
      collected.addAll(attribute.tables(ATTRIBUTE.tensors, MAX_TENSORS, 'tensors'));
    }
  }
  return { format: 'ESPDL', tensors: collected.inFileOrder(), warning: null };
}

/** Offset of the flatbuffer. */
function readHeader(file: WindowedSource): number {
  const magic = String.fromCharCode(...file.bytes(0, 4, 'the magic'));
  const headerBytes = HEADER_BYTES[magic];
  if (headerBytes === undefined) throw new ModelFormatError("expected the magic 'EDL1' or 'EDL2'", 0);
  const mode = file.u32(MODE_OFFSET, 'the encryption mode');
  if (mode !== 0) throw new ModelFormatError(`expected a model that is not encrypted, got mode ${mode}`, MODE_OFFSET);
  file.require(headerBytes, file.u32(SIZE_OFFSET, 'the size of the flatbuffer'), 'a flatbuffer');
  return headerBytes;
}

interface DataRange {
  readonly dtype: DType;
  readonly offset: number;
  readonly length: number;
}

class Collector {
  private readonly buffer: Flatbuffer;
  private readonly found: Tensor[] = [];

  constructor(buffer: Flatbuffer) {
    this.buffer = buffer;
  }

  addAll(tables: FlatTables): void {
    for (let i = 0; i < tables.count; i++) this.add(tables.at(i));
  }

  add(table: FlatTable): void {
    const shape = readDims(this.buffer, table);
    const range = dataRange(this.buffer, table, shape);
    if (range === null) return;
    const name = table.text(TENSOR.name, MAX_NAME_BYTES, "bytes of a tensor's name");
    const lanes = lanesOf(table);
    const tensor = { name, aliases: [], shape, ...range, ...(lanes > 0 ? { interleaved: lanes } : {}) };
    this.found.push({ ...tensor, ...readScales(this.buffer, table, tensor) });
  }

  inFileOrder(): Tensor[] {
    return inFileOrder(this.found);
  }
}

/** Where a tensor's data lies, or null when it has none. */
function dataRange(buffer: Flatbuffer, table: FlatTable, shape: readonly number[]): DataRange | null {
  const raw = table.vector(TENSOR.rawData, 1, 'bytes of a tensor');
  if (raw !== null && raw.count > 0) return rawRange(buffer, table, raw, shape);
  for (const { slot, dtype } of TYPED_DATA) {
    const width = elementBytes(dtype);
    const vector = table.vector(slot, width, 'elements of a tensor');
    if (vector !== null && vector.count > 0) return { dtype, offset: vector.position, length: vector.count * width };
  }
  return null;
}

/**
 * Whether `raw` counts bytes or units of 16 shows in what the shape asks for; the padding of the last unit is left out. A
 * count that fits neither is taken as bytes without a type.
 */
function rawRange(buffer: Flatbuffer, table: FlatTable, raw: FlatVector, shape: readonly number[]): DataRange {
  const dtype = DATA_TYPES[table.i32(TENSOR.dataType, 0, "a tensor's type")] ?? 'other';
  const elements = shape.reduce((product, size) => product * size, 1);
  const length = packedBytes(dtype, elements);
  const offset = raw.position;
  if (length === raw.count) return { dtype, offset, length };
  if (length !== null && length > 0 && Math.ceil(length / RAW_UNIT_BYTES) === raw.count) {
    buffer.file.require(offset, raw.count * RAW_UNIT_BYTES, "a tensor's data");
    return { dtype, offset, length };
  }
  return { dtype: 'other', offset, length: raw.count };
}

/** The exporter's note of how a filter lies: 'layout ==> (N/16)HWC16', early ones 'N16HWC16'. 0 where the shape says it. */
function lanesOf(table: FlatTable): number {
  const note = table.vector(TENSOR.doc, 1, "bytes of a tensor's note");
  if (note === null || note.count > MAX_NOTE_BYTES) return 0;
  const layout = /(?:N\/|N)(\d+)\)?HWC\1/.exec(table.text(TENSOR.doc, MAX_NOTE_BYTES, "bytes of a tensor's note"));
  return layout === null ? 0 : Number(layout[1]);
}

function readDims(buffer: Flatbuffer, table: FlatTable): number[] {
  const dims = readI64s(buffer, table, TENSOR.dims, MAX_RANK, "of a tensor's dimensions");
  const bad = dims.find((size) => size < 0 || !Number.isSafeInteger(size));
  if (bad === undefined) return dims;
  throw new ModelFormatError(`expected dimensions from 0 to 2^53 - 1, got ${bad}`, table.position);
}

/**
 * Scales are powers of two. Filters for vector units lie in blocks of 16 output channels ('(N/16)HWC16' and the like), an
 * order no axis of their shape has, so scales per channel are taken for one dimension only. Where all are equal, one does.
 */
function readScales(
  buffer: Flatbuffer,
  table: FlatTable,
  tensor: Pick<Tensor, 'dtype' | 'shape' | 'length'>,
): Pick<Tensor, 'scales' | 'scaleAxis'> {
  const exponents = readI64s(buffer, table, TENSOR.exponents, MAX_EXPONENTS, 'exponents');
  const scales = isUniform(exponents) ? exponents.slice(0, 1) : exponents;
  const elements = tensor.shape.reduce((product, size) => product * size, 1);
  const whole = packedBytes(tensor.dtype, elements) === tensor.length;
  const fits = scales.length === 1 || (tensor.shape.length === 1 && scales.length === elements);
  const usable = QUANTISED.has(tensor.dtype) && scales.every((exponent) => Math.abs(exponent) <= MAX_EXPONENT);
  return { scales: whole && fits && usable ? scales.map((exponent) => 2 ** exponent) : [], scaleAxis: 0 };
}

function isUniform(values: readonly number[]): boolean {
  return values.every((value) => value === values[0]);
}

/** i64 elements, rounded to doubles; [] when the field is absent. */
function readI64s(buffer: Flatbuffer, table: FlatTable, slot: number, maxCount: number, what: string): number[] {
  const vector = table.vector(slot, 8, what);
  if (vector === null) return [];
  const { position, count } = vector;
  if (count > maxCount) throw new ModelFormatError(`expected at most ${maxCount} ${what}, got ${count}`, position - 4);
  buffer.charge(8 * count, position);
  const { file } = buffer;
  return Array.from({ length: count }, (_, i) => {
    const at = position + 8 * i;
    return file.i32(at + 4, what) * 2 ** 32 + file.u32(at, what);
  });
}
