/**
 * Where a SafeTensors file keeps its weights (huggingface/safetensors, README "Format"): a u64 length, a JSON header of
 * that many bytes, then the data. Holds the list of tensors and, through WindowedSource, a quarter of a megabyte of the
 * file; of the header no more than the entry being read.
 */

import { ModelFormatError } from '../errors.js';
import { MODEL_LIMITS } from '../limits.js';
import type { ByteSource } from '../ports.js';
import { packedBytes } from './dtype.js';
import { inFileOrder } from './file-order.js';
import type { DType, ModelLayout, Tensor } from './model.js';
import { JsonCursor } from './safetensors-json.js';
import { WindowedSource } from './windowed-source.js';

const { safeTensorsHeaderBytes: MAX_HEADER_BYTES, tensors: MAX_TENSORS, rank: MAX_RANK } = MODEL_LIMITS;

const LENGTH_BYTES = 8;
const METADATA_KEY = '__metadata__';

/** Whatever is not here (eight-bit exponents, four and six bits, complex) counts as opaque bytes. */
const TENSOR_TYPES: ReadonlyMap<string, DType> = new Map([
  ['F64', 'f64'],
  ['F32', 'f32'],
  ['F16', 'f16'],
  ['BF16', 'bf16'],
  ['F8_E4M3', 'f8_e4m3'],
  ['F8_E5M2', 'f8_e5m2'],
  ['I64', 'i64'],
  ['I32', 'i32'],
  ['I16', 'i16'],
  ['I8', 'i8'],
  ['U64', 'u64'],
  ['U32', 'u32'],
  ['U16', 'u16'],
  ['U8', 'u8'],
  ['BOOL', 'bool'],
]);

/**
 * Tensors that hold data, in file order; shapes as the file gives them, the last dimension varying fastest. Unlike the
 * reference it takes files with holes between tensors, and two names for the same range.
 *
 * Throws ModelFormatError for a header that is too long or not JSON of this form, ranges that leave the file or overlap,
 * and shapes that do not fit their range. Throws IoError when `source` cannot be read.
 */
export function readSafeTensors(source: ByteSource): ModelLayout {
  const file = new WindowedSource(source);
  const headerBytes = file.u64(0, "the header's length");
  if (headerBytes > MAX_HEADER_BYTES) {
    throw new ModelFormatError(`expected a header of at most ${MAX_HEADER_BYTES} bytes, got ${headerBytes}`, 0);
  }
  file.require(LENGTH_BYTES, headerBytes, 'the header');
  const dataStart = LENGTH_BYTES + headerBytes;
  const json = new JsonCursor(file, LENGTH_BYTES, dataStart);
  const tensors = readEntries(json, file, dataStart);
  json.finish();
  return { format: 'SafeTensors', tensors: inFileOrder(tensors), warning: null };
}

/** Entries that hold data. Where a name comes twice both count: a layout is a hint, and both ranges are sound. */
function readEntries(json: JsonCursor, file: WindowedSource, dataStart: number): Tensor[] {
  const tensors: Tensor[] = [];
  json.object((name, at) => {
    if (name === METADATA_KEY) return json.skip();
    if (tensors.length === MAX_TENSORS) throw new ModelFormatError(`expected at most ${MAX_TENSORS} tensors`, at);
    const tensor = readEntry(json, name, at);
    const begin = dataStart + tensor.offset;
    file.require(begin, tensor.length, `the tensor '${name}'`);
    if (tensor.length > 0) tensors.push({ ...tensor, offset: begin });
  });
  return tensors;
}

/** `at`: byte of the entry. The tensor's offset still counts from the start of the data. */
function readEntry(json: JsonCursor, name: string, at: number): Tensor {
  const found: { type?: string; shape?: number[]; range?: number[] } = {};
  json.object((key) => {
    if (key === 'dtype') found.type = json.text();
    else if (key === 'shape') found.shape = json.integers(MAX_RANK, 'dimensions of a tensor');
    else if (key === 'data_offsets') found.range = json.integers(2, 'offsets of a tensor');
    else json.skip();
  });
  const { type, shape, range = [] } = found;
  const [begin, end] = range;
  if (type === undefined || shape === undefined || begin === undefined || end === undefined) {
    throw new ModelFormatError(`expected dtype, shape and two data_offsets of '${name}'`, at);
  }
  if (end < begin) throw new ModelFormatError(`expected data_offsets of '${name}' in order, got ${begin}, ${end}`, at);
  const dtype = TENSOR_TYPES.get(type) ?? 'other';
  requireFit(dtype, shape, { at, name, length: end - begin });
  return { name, aliases: [], dtype, shape, offset: begin, length: end - begin, scales: [], scaleAxis: 0 };
}

function requireFit(
  dtype: DType,
  shape: readonly number[],
  entry: { readonly at: number; readonly name: string; readonly length: number },
): void {
  const bytes = packedBytes(
    dtype,
    shape.reduce((product, size) => product * size, 1),
  );
  if (bytes === null || bytes === entry.length) return;
  throw new ModelFormatError(`expected ${bytes} bytes of '${entry.name}', got ${entry.length}`, entry.at);
}
