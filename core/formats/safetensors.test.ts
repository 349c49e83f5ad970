import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tensorCount } from './model.js';
import { assertRefused, CountingSource, countRefusedMutations, countRefusedPrefixes } from './reader-harness.test.js';
import { readSafeTensors } from './safetensors.js';

/** A header as given, `dataBytes` of data. */
function file(header: string, dataBytes: number): Uint8Array {
  const json = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + json.length + dataBytes).fill(0x77);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const read = (bytes: Uint8Array) => readSafeTensors(new CountingSource(bytes));
const refuses = (bytes: Uint8Array, message: RegExp) =>
  assertRefused(readSafeTensors, new CountingSource(bytes), message);
const entry = (dtype: string, shape: readonly number[], begin: number, end: number) =>
  JSON.stringify({ dtype, shape, data_offsets: [begin, end] });
const one = (fields: string, dataBytes = 8) => file(`{"w":${fields}}`, dataBytes);

const SMALL_HEADER = `{"__metadata__":{"format":"pt","note":"\\u00e9 \\"}{[","n":[{"x":[1,-2.5e3,true,null]}]},
  "layer.weight": ${entry('F16', [2, 3], 16, 28)},
  "l\\u00e9\\ud83c\\udf32\\n": {"data_offsets":[0,16],"extra":{"a":["b"]},"shape":[4],"dtype":"F32"},
  "empty":${entry('F32', [0, 4], 16, 16)},
  "scalar":${entry('I64', [], 28, 36)},
  "tied":${entry('F16', [6], 16, 28)},
  "odd":${entry('F4', [6], 40, 43)}}   `;
const SMALL = file(SMALL_HEADER, 43);

test('names, types, shapes and ranges come out in file order; metadata, order of keys and unknown keys do not matter', () => {
  const layout = read(SMALL);
  assert.deepEqual([layout.format, layout.warning], ['SafeTensors', null]);
  const dataStart = SMALL.length - 43;
  assert.deepEqual(
    layout.tensors.map((tensor) => {
      assert.deepEqual([tensor.scales, tensor.scaleAxis], [[], 0]);
      return [tensor.name, tensor.aliases, tensor.dtype, tensor.shape, tensor.offset - dataStart, tensor.length];
    }),
    [
      ['lé🌲\n', [], 'f32', [4], 0, 16],
      ['layer.weight', ['tied'], 'f16', [2, 3], 16, 12],
      ['scalar', [], 'i64', [], 28, 8],
      ['odd', [], 'other', [6], 40, 3],
    ],
  );
  assert.equal(tensorCount(layout), 5);
});

test('every type of the format is known or opaque', () => {
  const types = {
    F64: ['f64', 8],
    F32: ['f32', 4],
    F16: ['f16', 2],
    BF16: ['bf16', 2],
    I64: ['i64', 8],
    I32: ['i32', 4],
    I16: ['i16', 2],
    I8: ['i8', 1],
    U64: ['u64', 8],
    U32: ['u32', 4],
    U16: ['u16', 2],
    U8: ['u8', 1],
    BOOL: ['bool', 1],
    F8_E4M3: ['f8_e4m3', 1],
    F8_E5M2: ['f8_e5m2', 1],
    F8_E8M0: ['other', 1],
    C64: ['other', 8],
    constructor: ['other', 3],
  } as const;
  for (const [type, [dtype, bytes]] of Object.entries(types)) {
    assert.deepEqual(
      read(one(entry(type, [3], 0, 3 * bytes), 3 * bytes)).tensors.map((t) => [t.dtype, t.length]),
      [[dtype, 3 * bytes]],
    );
    if (dtype !== 'other') refuses(one(entry(type, [3], 0, 3 * bytes - 1), 24), /expected \d+ bytes of 'w', got/);
  }
});

test('headers without tensors are read', () => {
  for (const header of ['{}', '{ }  ', '{"__metadata__":{}}']) assert.deepEqual(read(file(header, 3)).tensors, []);
});

test('a key that comes twice breaks nothing: in an entry the last counts, of two entries both', () => {
  const twice = one('{"dtype":"F64","shape":[1],"shape":[2],"dtype":"F32","data_offsets":[0,8],"data_offsets":[0,8]}');
  assert.deepEqual(read(twice).tensors[0]?.shape, [2]);
  const apart = read(file(`{"w":${entry('U8', [4], 0, 4)},"w":${entry('U8', [4], 4, 8)}}`, 8));
  assert.deepEqual(
    apart.tensors.map(({ name, length }) => [name, length]),
    [
      ['w', 4],
      ['w', 4],
    ],
  );
  refuses(file(`{"w":${entry('U8', [4], 0, 4)},"w":${entry('U8', [5], 3, 8)}}`, 8), /apart or the same/);
  refuses(file('{"__proto__":1}', 0), /expected '\{', got the byte 49/);
});

test('tensors past 4 GiB are found, reading one page', () => {
  const bytes = 3 * 2 ** 31;
  const head = file(
    `{"a":${entry('U8', [bytes], 0, bytes)},"b":${entry('BF16', [bytes / 4, 2], bytes, 2 * bytes)}}`,
    0,
  );
  const source = new CountingSource(head, head.length + 2 * bytes);
  assert.deepEqual(
    readSafeTensors(source).tensors.map(({ offset, length }) => [offset - head.length, length]),
    [
      [0, bytes],
      [bytes, bytes],
    ],
  );
  assert.ok(source.bytesRead <= 4104, `${source.bytesRead} bytes read`);
});

test('metadata of megabytes is stepped over, read once', () => {
  const bytes = file(`{"__metadata__":{"tags":"${'\\"é\\\\'.repeat(300_000)}"},"w":${entry('U8', [8], 0, 8)}}`, 8);
  const source = new CountingSource(bytes);
  assert.equal(readSafeTensors(source).tensors[0]?.offset, bytes.length - 8);
  assert.ok(source.bytesRead < bytes.length * 1.01, `${source.bytesRead} bytes read of ${bytes.length}`);
});

// Hostile input.

test('truncated anywhere it is refused, never read past its end', () => {
  assert.equal(countRefusedPrefixes(readSafeTensors, SMALL), SMALL.length);
});

test('refused: a header longer than the file, than the declared limit, or than any file', () => {
  for (const length of [44n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 64n - 1n]) {
    const bytes = file('{}', 40);
    new DataView(bytes.buffer).setBigUint64(0, length, true);
    refuses(bytes, length === 44n ? /expected 44 bytes of the header/ : /at most (100000000 bytes|2\^53 - 1)/);
  }
  assertRefused(readSafeTensors, new CountingSource(new Uint8Array(8), 8), /expected '\{'/);
});

test('refused: JSON that is broken off, followed by more, or not of this form', () => {
  for (const [header, message] of [
    ['', /expected '\{', got the end of the header \(at byte 8\)/],
    ['[]', /expected '\{', got the byte 91/],
    ['{', /expected a string, got the end/],
    ['{"', /expected the end of a string, got the end/],
    ['{"a\\', /expected the end of a string/],
    ['{"a\n":1}', /expected the end of a string, got the byte 10/],
    ['{"w"', /expected ':'/],
    ['{"__metadata__":{}', /expected ',' or '}', got the end/],
    ['{"__metadata__":{},}', /expected a string, got the byte 125/],
    ['{"__metadata__":}', /expected a value/],
    ['{"__metadata__":[1 2]}', /expected ',' or '\]'/],
    ['{} {}', /nothing but white space, got the byte 123/],
    ['{}\0', /nothing but white space/],
    ['{"\\x":1}', /JSON escape, got '\\x'/],
    ['{"\\u12":1}', /JSON escape, got '\\u'/],
    ['{"w":null}', /expected '\{'/],
  ] as const) {
    refuses(file(header, 0), message);
  }
});

test('the end of the header ends the JSON, whatever the data holds', () => {
  const bytes = file('{"__metadata__":{}}', 0);
  new DataView(bytes.buffer).setUint32(0, bytes.length - 9, true);
  refuses(bytes, /got the end of the header/);
});

test('refused: entries without their fields, or with fields of another kind', () => {
  for (const fields of [
    '{}',
    '{"dtype":"F32","shape":[2]}',
    '{"dtype":"F32","data_offsets":[0,8]}',
    '{"shape":[2],"data_offsets":[0,8]}',
    '{"dtype":"F32","shape":[2],"data_offsets":[0]}',
  ]) {
    refuses(one(fields), /expected dtype, shape and two data_offsets of 'w' \(at byte 9\)/);
  }
  refuses(one('{"dtype":7}'), /expected a string/);
  refuses(one('{"shape":"2"}'), /expected '\['/);
  refuses(one('{"data_offsets":[0,8,9]}'), /at most 2 offsets of a tensor/);
  refuses(one(entry('F32', Array<number>(65).fill(1), 0, 4)), /at most 64 dimensions/);
});

test('refused: numbers that are no size: negative, fractions, exponents, leading zeros, past 2^53 - 1', () => {
  for (const number of ['-1', '2.0', '2e0', '02', '9007199254740992', '99999999999999999999999', '""', 'null', 'NaN']) {
    refuses(one(`{"dtype":"F32","shape":[${number}],"data_offsets":[0,8]}`), /expected (a whole number|',' or ']')/);
  }
});

test('refused: sizes of 2^31, 2^32, 2^53 - 1 and products of them', () => {
  for (const size of [2 ** 31, 2 ** 32, 2 ** 53 - 1]) {
    refuses(one(entry('F32', [size], 0, 8)), /expected \S+ bytes of 'w', got 8/);
    refuses(one(entry('F32', Array<number>(64).fill(size), 0, 8)), /bytes of 'w', got 8/);
    refuses(one(entry('U8', [size], 0, size)), /bytes of the tensor 'w'/);
    refuses(one(entry('X', [1], size - 1, size)), /expected 1 bytes of the tensor 'w'/);
    // A byte behind the file even where nothing is held.
    refuses(one(entry('X', [1], size, size)), /bytes of the tensor 'w'/);
  }
});

test('refused: ranges that leave the file by one byte, run backwards or overlap', () => {
  assert.equal(read(one(entry('U8', [8], 0, 8))).tensors.length, 1);
  refuses(one(entry('U8', [8], 1, 9)), /expected 8 bytes of the tensor 'w'/);
  refuses(one(entry('U8', [8], 8, 0)), /in order, got 8, 0/);
  refuses(file(`{"a":${entry('U8', [8], 0, 8)},"b":${entry('U8', [8], 7, 15)}}`, 16), /apart or the same/);
});

test('refused: values nested deeper than 32 and names longer than 16 KiB, without deep recursion', () => {
  const bomb = (depth: number) => file(`{"__metadata__":${'['.repeat(depth)}${']'.repeat(depth)}}`, 0);
  assert.deepEqual(read(bomb(33)).tensors, []);
  refuses(bomb(34), /at most 32 values in one another/);
  refuses(bomb(1_000_000), /at most 32 values in one another/);
  refuses(file(`{"__metadata__":${'{"a":'.repeat(100_000)}`, 0), /at most 32 values/);
  refuses(file(`{"${'n'.repeat(16385)}":${entry('U8', [0], 0, 0)}}`, 0), /at most 16384 bytes, got 16385/);
});

test('refused: more tensors than the declared limit', () => {
  const entries = Array.from({ length: 2 ** 18 + 1 }, (_, i) => `"${i}":${entry('U8', [1], i, i + 1)}`);
  refuses(file(`{${entries.join()}}`, 2 ** 18 + 1), /at most 262144 tensors/);
  assert.equal(read(file(`{${entries.slice(1, 4).join()}}`, 8)).tensors.length, 3);
});

test('20,000 mutations of small files: each reads to a sound layout or is refused, with bounded reading', () => {
  const compact = file(`{"a":${entry('U8', [8], 0, 8)},"b":${entry('F32', [2], 8, 16)}}`, 16);
  const refused = countRefusedMutations(readSafeTensors, [SMALL, compact], 20_000);
  assert.ok(refused > 4000 && refused < 19_900, `${refused} refused: the mutations miss their mark`);
});
