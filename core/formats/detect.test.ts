import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { IoError } from '../errors.js';
import type { ByteSource } from '../ports.js';
import { buildGguf, SMALL as SMALL_GGUF } from './build-gguf.test.js';
import { buildTflite, SMALL } from './build-tflite.test.js';
import { DETECT_BYTES, detectFormat, detectFormatOf, readLayout } from './detect.js';

function sourceOf(bytes: Uint8Array): ByteSource {
  return { size: bytes.length, read: (offset, into) => into.set(bytes.subarray(offset, offset + into.length)) };
}

const ascii = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
const formatOf = (text: string, size = text.length) => detectFormatOf(ascii(text), size);

test('magic names TFLite, GGUF and both ESPDL generations', () => {
  assert.equal(detectFormat(sourceOf(buildTflite(SMALL))), 'TFLite');
  assert.equal(formatOf('GGUF\x03\0\0\0'), 'GGUF');
  assert.equal(formatOf('EDL1\0\0\0\0'), 'ESPDL');
  assert.equal(formatOf('EDL2\0\0\0\0'), 'ESPDL');
  assert.equal(formatOf('EDL3\0\0\0\0'), 'Binary');
});

test('SafeTensors is a header length that fits and a JSON object', () => {
  assert.equal(formatOf('\x20\0\0\0\0\0\0\0{"w":', 4000), 'SafeTensors');
  assert.equal(formatOf('\x02\0\0\0\0\0\0\0{}'), 'SafeTensors');
  assert.equal(formatOf('\x20\0\0\0\0\0\0\0{"w":', 39), 'Binary');
  assert.equal(formatOf('\x20\0\0\0\0\0\0\x01{"w":', 2 ** 50), 'Binary');
  assert.equal(formatOf('\x20\0\0\0\0\0\0\0["w":', 4000), 'Binary');
});

test('ONNX is a run of ModelProto fields that fit the file, with an ir_version', () => {
  assert.equal(formatOf('\x08\x08\x12\x07pytorch\x1a\x05', 100), 'ONNX');
  assert.equal(formatOf('\x08\x08\x12\x00\x3a\x90\x4e\x0a\x10', 12_000), 'ONNX');
  assert.equal(formatOf('\x08\x08\x12\x00\x3a\x90\x4e\x0a\x10', 9_000), 'Binary', 'the graph leaves the file');
  assert.equal(formatOf('\x08\x00\x12\x00'), 'Binary', 'ir_version 0');
  assert.equal(formatOf('\x08\x08\x10\x00'), 'Binary', 'producer_name as a varint');
  assert.equal(formatOf('\x08\x08'), 'Binary', 'nothing but a version');
  assert.equal(formatOf('\x08\x08\x12\x00\x7a\x00'), 'Binary', 'a field ModelProto does not have');
});

test('short files and other files are plain bytes', () => {
  assert.equal(formatOf(''), 'Binary');
  for (let length = 1; length <= 16; length++) assert.equal(detectFormatOf(new Uint8Array(length), length), 'Binary');
  assert.equal(formatOf('PK\x03\x04 hello hello hello'), 'Binary');
});

test('what a head holds past the bytes detection looks at changes nothing', () => {
  const model = new Uint8Array(3 * DETECT_BYTES).fill(0x55);
  // A doc_string of 4 KiB; what follows it is no field of ModelProto.
  model.set(ascii('\x08\x08\x32\x80\x20'));
  assert.equal(detectFormat(sourceOf(model)), 'ONNX');
  assert.equal(detectFormatOf(model, model.length), 'ONNX');
});

test('a TFLite model is read, a malformed one is plain bytes with a warning that has the offset', () => {
  const bytes = buildTflite(SMALL);
  assert.equal(readLayout(sourceOf(bytes)).tensors.length, 3);
  const cut = readLayout(sourceOf(bytes.subarray(0, bytes.length - 20)));
  assert.equal(cut.format, 'Binary');
  assert.deepEqual(cut.tensors, []);
  assert.match(cut.warning ?? '', /^not a readable TFLite model: .* \(at byte \d+\)$/);
});

test('GGUF and SafeTensors are read, malformed ones are plain bytes with a warning that has the offset', () => {
  const header = '\x38\0\0\0\0\0\0\0{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}   ';
  const files = { GGUF: buildGguf(SMALL_GGUF).bytes, SafeTensors: ascii(`${header}data`) };
  for (const [format, bytes] of Object.entries(files)) {
    const whole = readLayout(sourceOf(bytes));
    assert.deepEqual([whole.format, whole.warning, whole.tensors.length > 0], [format, null, true]);
    const cut = readLayout(sourceOf(bytes.subarray(0, -1)));
    assert.deepEqual([cut.format, cut.tensors], ['Binary', []]);
    assert.match(cut.warning ?? '', new RegExp(`^not a readable ${format} model: .* \\(at byte \\d+\\)$`));
  }
});

test('files of no known format are plain bytes without a warning', () => {
  for (const text of ['hello', '']) {
    assert.deepEqual(readLayout(sourceOf(ascii(text))), { format: 'Binary', tensors: [], warning: null });
  }
});

test('a medium that fails is an IoError, not a malformed model', () => {
  const broken = {
    size: 100,
    read: () => {
      throw new IoError('medium');
    },
  };
  assert.throws(() => readLayout(broken), IoError);
});

const MODELS = new URL('../../../shared/models/', import.meta.url);
const REAL_FILES = 92;
const FORMATS: Readonly<Record<string, string>> = { tflite: 'TFLite', gguf: 'GGUF', onnx: 'ONNX', espdl: 'ESPDL' };

test('real models: every file is what its extension says, read by its own reader without a warning', (t) => {
  if (!existsSync(MODELS))
    return t.skip(`${REAL_FILES} model files skipped: no ../shared/models beside the repository`);
  const files = readdirSync(MODELS, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /(old|new)\.\w+$/.test(name),
  );
  assert.equal(files.length, REAL_FILES);
  for (const name of files) {
    const source = sourceOf(readFileSync(new URL(name, MODELS)));
    const expected = FORMATS[name.split('.').pop()!]!;
    assert.equal(detectFormat(source), expected, name);
    const { format, warning } = readLayout(source);
    assert.deepEqual({ format, warning }, { format: expected, warning: null }, name);
  }
});
