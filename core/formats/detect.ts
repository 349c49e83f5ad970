/**
 * What a model file is, from its first bytes, and its tensors where a reader exists. Nothing here is trusted: a wrong
 * guess costs patch size, never correctness.
 */

import { readU64, VarintReader } from '../bytes.js';
import { ModelFormatError } from '../errors.js';
import { MODEL_LIMITS } from '../limits.js';
import type { ByteSource } from '../ports.js';
import { readEspdl } from './espdl.js';
import { readGguf } from './gguf.js';
import type { ModelFormat, ModelLayout } from './model.js';
import { readOnnx } from './onnx.js';
import { readSafeTensors } from './safetensors.js';
import { readTflite } from './tflite.js';

/** Detection looks at this many bytes and at the file's size, nothing else. */
export const DETECT_BYTES = 4096;

const READERS: { readonly [format in ModelFormat]?: (source: ByteSource) => ModelLayout } = {
  TFLite: readTflite,
  GGUF: readGguf,
  ONNX: readOnnx,
  SafeTensors: readSafeTensors,
  ESPDL: readEspdl,
};

/** Reads at most DETECT_BYTES. Throws IoError when `source` cannot be read. */
export function detectFormat(source: ByteSource): ModelFormat {
  const head = new Uint8Array(Math.min(DETECT_BYTES, source.size));
  source.read(0, head);
  return detectFormatOf(head, source.size);
}

/** `head`: the first bytes of a file of `size` bytes; what it holds past DETECT_BYTES is ignored. */
export function detectFormatOf(head: Uint8Array, size: number): ModelFormat {
  const start = head.subarray(0, DETECT_BYTES);
  if (hasAscii(start, 4, 'TFL3')) return 'TFLite';
  if (hasAscii(start, 0, 'GGUF')) return 'GGUF';
  if (hasAscii(start, 0, 'EDL1') || hasAscii(start, 0, 'EDL2')) return 'ESPDL';
  if (looksLikeSafeTensors(start, size)) return 'SafeTensors';
  if (looksLikeOnnx(start, size)) return 'ONNX';
  return 'Binary';
}

/**
 * The tensors of a model file. A file whose reader refuses it, or that has no reader yet, comes back as 'Binary' without
 * tensors, the former with a warning. Throws IoError when `source` cannot be read.
 */
export function readLayout(source: ByteSource): ModelLayout {
  const format = detectFormat(source);
  try {
    const read = READERS[format];
    if (read !== undefined) return read(source);
  } catch (error) {
    if (!(error instanceof ModelFormatError)) throw error;
    return { format: 'Binary', tensors: [], warning: `not a readable ${format} model: ${error.message}` };
  }
  return { format: 'Binary', tensors: [], warning: null };
}

function hasAscii(bytes: Uint8Array, at: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}

/** A u64 header length, then a JSON object that fills the header. */
function looksLikeSafeTensors(head: Uint8Array, size: number): boolean {
  if (head.length < 10) return false;
  const headerBytes = readU64(head, 0);
  const fits = headerBytes >= 2 && headerBytes <= Math.min(size - 8, MODEL_LIMITS.safeTensorsHeaderBytes);
  return fits && hasAscii(head, 8, '{') && (hasAscii(head, 9, '"') || hasAscii(head, 9, '}'));
}

/** ModelProto's fields (onnx/onnx.proto) by number. */
const MODEL_PROTO_FIELDS: Readonly<Record<number, 'number' | 'text' | 'graph' | 'message'>> = {
  1: 'number', // ir_version
  2: 'text', // producer_name
  3: 'text', // producer_version
  4: 'text', // domain
  5: 'number', // model_version
  6: 'text', // doc_string
  7: 'graph', // graph
  8: 'message', // opset_import
  14: 'message', // metadata_props
  20: 'message', // training_info
  25: 'message', // functions
  26: 'message', // configuration
};
const IR_VERSION_TAG = 0x08;
/** IR versions count up by one a release or less; 10 was current in 2024. */
const MAX_IR_VERSION = 64;
/** GraphProto's fields, each length-prefixed. */
const GRAPH_PROTO_FIELDS: ReadonlySet<number> = new Set([1, 2, 5, 10, 11, 12, 13, 14, 15, 16]);

/**
 * Protobuf has no magic. Walks the top-level fields as far as the head reaches: all must be ModelProto's and fit the
 * file, with a small ir_version, strings of text, and a graph that begins like one; a string longer than the head may
 * hide the graph.
 */
function looksLikeOnnx(head: Uint8Array, size: number): boolean {
  const reader = new VarintReader();
  reader.reset(head, 0, head.length);
  let hasVersion = false;
  let hasGraph = false;
  let endsInText = false;
  while (reader.position < head.length) {
    const tag = reader.unsigned();
    const value = reader.unsigned();
    // The head may end inside a field; the fields before it have to do.
    if (reader.short) break;
    const kind = MODEL_PROTO_FIELDS[Math.floor(tag / 8)];
    if (reader.failed || kind === undefined || tag % 8 !== (kind === 'number' ? 0 : 2)) return false;
    if (kind === 'number') {
      if (tag === IR_VERSION_TAG && (value < 1 || value > MAX_IR_VERSION)) return false;
      hasVersion ||= tag === IR_VERSION_TAG;
      continue;
    }
    const start = reader.position;
    if (value > size - start) return false;
    const seen = head.subarray(start, Math.min(start + value, head.length));
    if (kind === 'text' && !seen.every(isTextByte)) return false;
    if (kind === 'graph' && !startsLikeGraph(seen, value)) return false;
    hasGraph ||= kind === 'graph';
    endsInText = kind === 'text';
    reader.position = start + value;
  }
  return hasVersion && (hasGraph || (endsInText && head.length < size && reader.position >= head.length));
}

/** Anything but control characters; UTF-8 is not checked further. */
function isTextByte(byte: number): boolean {
  return byte >= 0x20 ? byte !== 0x7f : byte === 0x09 || byte === 0x0a || byte === 0x0d;
}

/** `seen`: what the head holds of a graph of `length` bytes. */
function startsLikeGraph(seen: Uint8Array, length: number): boolean {
  const reader = new VarintReader();
  reader.reset(seen, 0, seen.length);
  const tag = reader.unsigned();
  const prefix = reader.unsigned();
  if (reader.short) return seen.length < length;
  const known = tag % 8 === 2 && GRAPH_PROTO_FIELDS.has(Math.floor(tag / 8));
  return known && !reader.failed && prefix <= length - reader.position;
}
