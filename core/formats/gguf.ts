/**
 * Where a GGUF model keeps its weights (ggml, docs/gguf.md): versions 1 to 3, little-endian. Metadata is stepped over,
 * tokenizers included; held are the list of tensors and, through WindowedSource, a quarter of a megabyte of the file.
 *
 * Big-endian files are refused: everything after the reader (scales, deltas) takes weights as little-endian, and such
 * files are made for a few mainframes.
 */

import { ModelFormatError } from '../errors.js';
import { MODEL_LIMITS } from '../limits.js';
import type { ByteSource } from '../ports.js';
import { blockSize, packedBytes } from './dtype.js';
import { inFileOrder } from './file-order.js';
import { GgufCursor } from './gguf-cursor.js';
import { TENSOR_TYPES, VALUE_ARRAY, VALUE_BYTES, VALUE_STRING, VALUE_U32 } from './gguf-types.js';
import type { DType, ModelLayout, Tensor } from './model.js';

const MAGIC = 'GGUF';
const MAX_VERSION = 3;
const ALIGNMENT_KEY = 'general.alignment';
const DEFAULT_ALIGNMENT = 32;

const {
  tensors: MAX_TENSORS,
  ggufRank: MAX_RANK,
  nameBytes: MAX_NAME_BYTES,
  ggufArrayDepth: MAX_ARRAY_DEPTH,
  ggufMetadataBytes: MAX_METADATA_BYTES,
} = MODEL_LIMITS;

/** A tensor as the directory describes it. */
interface TensorInfo {
  /** Byte of its entry. */
  readonly at: number;
  readonly name: string;
  readonly type: number;
  readonly shape: readonly number[];
  /** Bytes from the start of the data section. */
  readonly dataOffset: number;
}

/**
 * Tensors that hold data, in file order; shapes as the file gives them: [ne0, ne1, ..], ne0 varying fastest (a row), the
 * reverse of numpy's order. A tensor of a type nobody knows any more is 'other', up to where the next one or the file
 * ends, padding included.
 *
 * Throws ModelFormatError for a file that is truncated, big-endian or of another version, with offsets that leave the
 * file, ranges that overlap, or more metadata than MAX_METADATA_BYTES. Throws IoError when `source` cannot be read.
 */
export function readGguf(source: ByteSource): ModelLayout {
  const cursor = new GgufCursor(source, MAX_METADATA_BYTES);
  cursor.countBytes = readVersion(cursor) === 1 ? 4 : 8;
  // Least bytes of an entry: an empty name, no dimensions, type and offset; an empty key, type and one byte.
  const tensorCount = cursor.countOf('tensors', cursor.countBytes + 16, MAX_TENSORS);
  const pairCount = cursor.countOf('key-value pairs', cursor.countBytes + 5);
  const alignment = skipMetadata(cursor, pairCount);
  const infos = Array.from({ length: tensorCount }, () => readInfo(cursor));
  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  return { format: 'GGUF', tensors: inFileOrder(locate(cursor, infos, dataStart)), warning: null };
}

function readVersion(cursor: GgufCursor): number {
  for (let i = 0; i < MAGIC.length; i++) {
    if (cursor.file.u8(i, 'the magic') !== MAGIC.charCodeAt(i)) throw new ModelFormatError(`expected '${MAGIC}'`, i);
  }
  cursor.position = MAGIC.length;
  const version = cursor.u32('the version');
  if (version >= 1 && version <= MAX_VERSION) return version;
  const got = version !== 0 && version % 65536 === 0 ? 'a big-endian file' : `version ${version}`;
  throw new ModelFormatError(`expected little-endian GGUF of version 1 to ${MAX_VERSION}, got ${got}`, MAGIC.length);
}

/** The alignment of the data section, in bytes. */
function skipMetadata(cursor: GgufCursor, pairCount: number): number {
  let alignment = DEFAULT_ALIGNMENT;
  for (let i = 0; i < pairCount; i++) {
    const isAlignment = isAlignmentKey(cursor);
    const type = cursor.u32("a value's type");
    if (isAlignment) alignment = readAlignment(cursor, type);
    else skipValue(cursor, type, 0);
  }
  return alignment;
}

function isAlignmentKey(cursor: GgufCursor): boolean {
  const length = cursor.count("a key's length");
  if (length !== ALIGNMENT_KEY.length) {
    cursor.skip(length, 'a key');
    return false;
  }
  const key = cursor.file.bytes(cursor.position, length, 'a key');
  cursor.position += length;
  return key.every((byte, i) => byte === ALIGNMENT_KEY.charCodeAt(i));
}

function readAlignment(cursor: GgufCursor, type: number): number {
  const at = cursor.position;
  if (type !== VALUE_U32) throw new ModelFormatError(`expected ${ALIGNMENT_KEY} as a u32, got value type ${type}`, at);
  const alignment = cursor.u32(ALIGNMENT_KEY);
  if (alignment !== 0 && (alignment & (alignment - 1)) === 0) return alignment;
  throw new ModelFormatError(`expected ${ALIGNMENT_KEY} to be a power of two, got ${alignment}`, at);
}

/** `depth`: how many arrays the value lies in. */
function skipValue(cursor: GgufCursor, type: number, depth: number): void {
  if (type === VALUE_STRING) cursor.skipText('a string');
  else if (type === VALUE_ARRAY) skipArray(cursor, depth + 1);
  else cursor.skip(valueBytes(cursor, type), 'a value');
}

/** Numbers are stepped over at once, however many; strings one by one, since only walking tells where they end. */
function skipArray(cursor: GgufCursor, depth: number): void {
  if (depth > MAX_ARRAY_DEPTH) {
    throw new ModelFormatError(`expected at most ${MAX_ARRAY_DEPTH} arrays in one another, got more`, cursor.position);
  }
  const type = cursor.u32("an array's element type");
  const isNested = type === VALUE_ARRAY;
  if (type === VALUE_STRING || isNested) {
    const count = cursor.countOf('elements of an array', cursor.countBytes + (isNested ? 4 : 0));
    for (let i = 0; i < count; i++) skipValue(cursor, type, depth);
  } else {
    const bytes = valueBytes(cursor, type);
    cursor.skip(cursor.countOf('elements of an array', bytes) * bytes, 'an array');
  }
}

function valueBytes(cursor: GgufCursor, type: number): number {
  const bytes = VALUE_BYTES[type];
  if (bytes !== undefined && bytes > 0) return bytes;
  throw new ModelFormatError(
    `expected a value type from 0 to ${VALUE_BYTES.length - 1}, got ${type}`,
    cursor.position - 4,
  );
}

function readInfo(cursor: GgufCursor): TensorInfo {
  const at = cursor.position;
  const name = cursor.text("a tensor's name", MAX_NAME_BYTES);
  const rank = cursor.u32("a tensor's rank");
  if (rank > MAX_RANK) {
    throw new ModelFormatError(`expected at most ${MAX_RANK} dimensions of a tensor, got ${rank}`, cursor.position - 4);
  }
  const shape = Array.from({ length: rank }, () => cursor.count("a tensor's dimension"));
  return { at, name, shape, type: cursor.u32("a tensor's type"), dataOffset: cursor.u64("a tensor's offset") };
}

/** Turns entries into ranges of the file; those without elements hold no data and are left out. */
function locate(cursor: GgufCursor, infos: readonly TensorInfo[], dataStart: number): Tensor[] {
  const holding = infos.filter((info) => !info.shape.includes(0)).sort((a, b) => a.dataOffset - b.dataOffset);
  return holding.map((info, i) => {
    const dtype = TENSOR_TYPES[info.type] ?? 'other';
    const offset = dataStart + info.dataOffset;
    const length =
      dtype === 'other'
        ? unknownLength(info, holding[i - 1], holding[i + 1], cursor.file.size - dataStart)
        : knownLength(info, dtype);
    cursor.file.require(offset, length, `the tensor '${info.name}'`);
    return { name: info.name, aliases: [], dtype, shape: info.shape, offset, length, scales: [], scaleAxis: 0 };
  });
}

/** In bytes. Sizes past 2^53 come out rounded, and are larger than any file. */
function knownLength(info: TensorInfo, dtype: DType): number {
  const row = info.shape[0] ?? 1;
  const block = blockSize(dtype)?.elements ?? 1;
  if (row % block !== 0) {
    throw new ModelFormatError(`expected rows of a multiple of ${block} ${dtype} elements, got ${row}`, info.at);
  }
  return packedBytes(dtype, elementsOf(info))!;
}

function elementsOf(info: TensorInfo): number {
  return info.shape.reduce((product, size) => product * size, 1);
}

/** In bytes: up to the next tensor, or to the end of the data section. */
function unknownLength(
  info: TensorInfo,
  before: TensorInfo | undefined,
  after: TensorInfo | undefined,
  dataBytes: number,
): number {
  const length = (after?.dataOffset ?? dataBytes) - info.dataOffset;
  if (length > 0 && before?.dataOffset !== info.dataOffset) return length;
  throw new ModelFormatError(`expected a known tensor type, got ${info.type}, whose size nothing tells`, info.at);
}
