import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { buildGguf, type GgufModel, type GgufTensor, SMALL, TYPE, VALUE } from './build-gguf.test.js';
import { readGguf } from './gguf.js';
import { type DType, tensorCount } from './model.js';
import { assertRefused, CountingSource, countRefusedMutations, countRefusedPrefixes } from './reader-harness.test.js';

const read = (bytes: Uint8Array) => readGguf(new CountingSource(bytes));
const refuses = (bytes: Uint8Array, message: RegExp) => assertRefused(readGguf, new CountingSource(bytes), message);

for (const version of [1, 2, 3]) {
  test(`version ${version}: names, types, shapes and ranges come out in file order, metadata of any kind is stepped over`, () => {
    const { bytes, dataStart } = buildGguf({ ...SMALL, version });
    const layout = read(bytes);
    assert.deepEqual([layout.format, layout.warning, dataStart % 64], ['GGUF', null, 0]);
    const expected = [
      ['token_embd', ['output'], 'f32', [5, 4], 0, 80],
      ['blk.0.ffn', [], 'q8_0', [64, 3], 128, 204],
      ['scale', [], 'f16', [], 384, 2],
      ['blk.0.né', [], 'q4_k', [256, 2, 1], 448, 288],
    ];
    assert.deepEqual(
      layout.tensors.map((tensor) => {
        assert.deepEqual([tensor.scales, tensor.scaleAxis], [[], 0]);
        return [tensor.name, tensor.aliases, tensor.dtype, tensor.shape, tensor.offset - dataStart, tensor.length];
      }),
      expected,
    );
    assert.equal(tensorCount(layout), 5);
  });
}

test('a file without tensors is read: a vocabulary', () => {
  assert.deepEqual(read(buildGguf({ pairs: SMALL.pairs! }).bytes).tensors, []);
  assert.deepEqual(read(buildGguf({}).bytes).tensors, []);
});

/** [ggml_type, name, elements and bytes of a block], by hand from ggml-common.h. */
const BLOCKS: readonly (readonly [number, DType, number, number])[] = [
  [0, 'f32', 1, 4],
  [1, 'f16', 1, 2],
  [2, 'q4_0', 32, 2 + 16],
  [3, 'q4_1', 32, 4 + 16],
  [6, 'q5_0', 32, 2 + 4 + 16],
  [7, 'q5_1', 32, 4 + 4 + 16],
  [8, 'q8_0', 32, 2 + 32],
  [9, 'q8_1', 32, 4 + 32],
  [10, 'q2_k', 256, 16 + 64 + 4],
  [11, 'q3_k', 256, 32 + 64 + 12 + 2],
  [12, 'q4_k', 256, 4 + 12 + 128],
  [13, 'q5_k', 256, 4 + 12 + 32 + 128],
  [14, 'q6_k', 256, 128 + 64 + 16 + 2],
  [15, 'q8_k', 256, 4 + 256 + 32],
  [16, 'iq2_xxs', 256, 2 + 64],
  [17, 'iq2_xs', 256, 2 + 64 + 8],
  [18, 'iq3_xxs', 256, 2 + 96],
  [19, 'iq1_s', 256, 2 + 32 + 16],
  [20, 'iq4_nl', 32, 2 + 16],
  [21, 'iq3_s', 256, 2 + 64 + 8 + 32 + 4],
  [22, 'iq2_s', 256, 2 + 64 + 8 + 8],
  [23, 'iq4_xs', 256, 2 + 2 + 4 + 128],
  [24, 'i8', 1, 1],
  [25, 'i16', 1, 2],
  [26, 'i32', 1, 4],
  [27, 'i64', 1, 8],
  [28, 'f64', 1, 8],
  [29, 'iq1_m', 256, 32 + 16 + 8],
  [30, 'bf16', 1, 2],
  [34, 'tq1_0', 256, 48 + 4 + 2],
  [35, 'tq2_0', 256, 64 + 2],
  [39, 'mxfp4', 32, 1 + 16],
  [40, 'nvfp4', 64, 4 + 32],
  [41, 'q1_0', 128, 2 + 16],
];

test('every type ggml has takes its own number of bytes', () => {
  const tensors = BLOCKS.map(([type, name, elements, bytes]) => ({
    name,
    type,
    shape: [elements * 3, 2],
    bytes: bytes * 6,
  }));
  assert.deepEqual(
    read(buildGguf({ tensors }).bytes).tensors.map(({ name, dtype, length }) => [name, dtype, length]),
    BLOCKS.map(([, name, , bytes]) => [name, name, bytes * 6]),
  );
});

test('rows that are no whole number of blocks are refused', () => {
  for (const shape of [[33, 32], [16, 2], []]) {
    refuses(
      buildGguf({ tensors: [{ name: 'w', type: TYPE.q4_0, shape, bytes: 1024 }] }).bytes,
      /multiple of 32 q4_0 elements/,
    );
  }
});

/** A tensor of a type that ggml removed, and what lies around it. */
function withRemoved(others: readonly Partial<GgufTensor>[]): Uint8Array {
  const plain = { name: 'f', type: TYPE.f32, shape: [8], bytes: 32 };
  const removed = { name: 'r', type: TYPE.removed, shape: [32], bytes: 18, offset: 32 };
  return buildGguf({ tensors: [removed, ...others.map((other) => ({ ...plain, ...other }))] }).bytes;
}

test('a tensor of a removed or unknown type is opaque up to the next one or the end of the file', () => {
  const lengths = (bytes: Uint8Array) => read(bytes).tensors.map(({ name, dtype, length }) => [name, dtype, length]);
  const before = { name: 'a', offset: 0 };
  assert.deepEqual(lengths(withRemoved([{ offset: 96 }])), [
    ['r', 'other', 64],
    ['f', 'f32', 32],
  ]);
  assert.deepEqual(lengths(withRemoved([before])), [
    ['a', 'f32', 32],
    ['r', 'other', 18],
  ]);
});

test('refused: an unknown type whose size nothing tells', () => {
  refuses(withRemoved([{ offset: 32 }]), /known tensor type, got 31/);
  refuses(withRemoved([]).subarray(0, -18), /known tensor type, got 31/);
  const both = [TYPE.f32, TYPE.removed].map((type) => ({ name: `${type}`, type, shape: [8], bytes: 32, offset: 0 }));
  refuses(buildGguf({ tensors: both }).bytes, /known tensor type, got 31/);
});

// Large files, served without being there.

/** Two tensors of `bytes` each. */
function large(bytes: number, pairs: GgufModel['pairs'] = []) {
  const tensors = ['a', 'b'].map((name) => ({ name, type: TYPE.i8, shape: [bytes / 1024, 1024], bytes }));
  return buildGguf({ pairs, tensors, withoutData: true });
}

test('tensors past 4 GiB and past 2^40 are found, reading one page', () => {
  for (const bytes of [3 * 2 ** 31, 2 ** 40]) {
    const { bytes: head, dataStart, size } = large(bytes);
    const source = new CountingSource(head, size);
    assert.deepEqual(
      readGguf(source).tensors.map(({ offset, length }) => [offset, length]),
      [
        [dataStart, bytes],
        [dataStart + bytes, bytes],
      ],
    );
    assert.ok(source.bytesRead <= 4104, `${source.bytesRead} bytes read`);
  }
});

test('arrays of numbers are stepped over, a tokenizer is walked once', () => {
  const scores = { key: 's', type: VALUE.array, value: numbers(1 << 20) };
  const far = new CountingSource(large(1 << 20, [scores]).bytes, 1 << 24);
  assert.equal(readGguf(far).tensors.length, 2);
  assert.ok(far.bytesRead <= 3 * 4104, `${far.bytesRead} bytes read`);
  const tokens = { key: 't', type: VALUE.array, value: strings(250_000) };
  const { bytes, size } = large(1 << 20, [tokens, tokens]);
  const source = new CountingSource(bytes, size);
  assert.equal(readGguf(source).tensors.length, 2);
  assert.ok(source.bytesRead < bytes.length * 1.01, `${source.bytesRead} bytes read of ${bytes.length}`);
});

function numbers(count: number) {
  return (out: Parameters<NonNullable<GgufModel['pairs']>[number]['value']>[0]) =>
    out.array(VALUE.f32, count, (list) => list.raw(new Uint8Array(4 * count)));
}

function strings(count: number) {
  const token = Uint8Array.from([5, 0, 0, 0, 0, 0, 0, 0, 104, 101, 108, 108, 111]);
  return (out: Parameters<NonNullable<GgufModel['pairs']>[number]['value']>[0]) =>
    out.array(VALUE.string, count, (list) => {
      for (let i = 0; i < count; i++) list.raw(token);
    });
}

test('refused: metadata without end, after a bounded amount of reading', () => {
  // A pair of 2^40 strings, each a page from the next.
  const head = buildGguf({
    pairs: [{ key: 'k', type: VALUE.array, value: (out) => out.u32(VALUE.string).u64(2 ** 40) }],
  }).bytes;
  const lengths = BigUint64Array.from({ length: 1024 }, () => 4088n);
  let bytesRead = 0;
  const source = {
    size: 2 ** 50,
    read(offset: number, into: Uint8Array) {
      bytesRead += into.length;
      const phase = (((offset - head.length) % 8) + 8) % 8;
      into.set(new Uint8Array(lengths.buffer).subarray(phase, phase + into.length));
      if (offset < head.length) into.set(head.subarray(offset));
    },
  };
  assertRefused(readGguf, source, /less than the read budget/);
  assert.ok(bytesRead <= 128 << 20, `${bytesRead} bytes read`);
});

// Hostile input.

/** The small model with one change, made where the builder says the field lies. */
function broken(change: (at: DataView, marks: Readonly<Record<string, number>>) => void): Uint8Array {
  const { bytes, marks } = buildGguf(SMALL);
  change(new DataView(bytes.buffer), marks);
  return bytes;
}

test('truncated anywhere it is refused, never read past its end', () => {
  for (const version of [1, 3]) {
    const { bytes } = buildGguf({ ...SMALL, version });
    assert.equal(countRefusedPrefixes(readGguf, bytes), bytes.length);
  }
  for (let last = 1; last <= SMALL.pairs!.length; last++) {
    const { bytes } = buildGguf({ pairs: SMALL.pairs!.slice(0, last) });
    assert.equal(countRefusedPrefixes(readGguf, bytes), bytes.length, `a vocabulary of ${last} pairs`);
  }
});

test('refused: another magic, other versions, big-endian files', () => {
  refuses(
    broken((at) => at.setUint8(3, 0x54)),
    /expected 'GGUF' \(at byte 3\)/,
  );
  for (const version of [0, 4, 0xffffffff]) {
    refuses(
      broken((at) => at.setUint32(4, version, true)),
      new RegExp(`version 1 to 3, got version ${version} \\(at byte 4\\)`),
    );
  }
  refuses(
    broken((at) => at.setUint32(4, 3, false)),
    /got a big-endian file/,
  );
});

test('refused: counts and lengths of 2^31, 2^32, 2^53 and 2^64 - 1, before anything is allocated for them', () => {
  // Past key and type: an array's count lies 4 bytes behind its element type.
  const fields: readonly (readonly [string, number])[] = [
    ['tensor count', 0],
    ['pair count', 0],
    ['a.bool', 0],
    ['general.architecture value', 0],
    ['tokens value', 4],
    ['tokens value', 12],
    ['scores value', 4],
    ['nested value', 4],
    ['nested value', 16],
    ['scale name', 0],
    ['blk.0.ffn shape', 0],
    ['blk.0.ffn shape', 8],
    ['blk.0.ffn offset', 0],
  ];
  for (const [field, past] of fields) {
    for (const count of [2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 64n - 1n]) {
      refuses(
        broken((at, marks) => at.setBigUint64(marks[field]! + past, count, true)),
        /\(at byte \d+\)/,
      );
    }
  }
});

test('refused: an empty file and a directory that promises more than the file can hold', () => {
  refuses(new Uint8Array(0), /4|magic/);
  refuses(
    broken((at, marks) => at.setBigUint64(marks['tensor count']!, 1000n, true)),
    /at most \d+ tensors, got 1000/,
  );
  refuses(
    broken((at, marks) => at.setBigUint64(marks['pair count']!, 1000n, true)),
    /at most \d+ key-value pairs, got 1000/,
  );
});

test('refused: more tensors than the declared limit, though the file could hold them', () => {
  const { bytes, marks } = buildGguf({});
  new DataView(bytes.buffer).setBigUint64(marks['tensor count']!, 2n ** 18n + 1n, true);
  assertRefused(readGguf, new CountingSource(bytes, 2 ** 30), /at most 262144 tensors, got 262145/);
});

test('refused: an alignment of 0, of no power of two, or of another type', () => {
  for (const alignment of [0, 3, 48, 0xffffffff]) {
    refuses(
      broken((at, marks) => at.setUint32(marks['general.alignment value']!, alignment, true)),
      new RegExp(`power of two, got ${alignment}`),
    );
  }
  refuses(
    broken((at, marks) => at.setUint32(marks['general.alignment value']! - 4, VALUE.f32, true)),
    /as a u32, got value type 6/,
  );
});

test('refused: an alignment that puts the data behind the end of the file', () => {
  refuses(
    broken((at, marks) => at.setUint32(marks['general.alignment value']!, 0x80000000, true)),
    /bytes of the tensor 'token_embd' at 2147483648/,
  );
});

test('refused: value types nobody defined', () => {
  for (const type of [13, 0xffffffff]) {
    refuses(
      broken((at, marks) => at.setUint32(marks['a.u8 value']! - 4, type, true)),
      new RegExp(`value type from 0 to 12, got ${type}`),
    );
    refuses(
      broken((at, marks) => at.setUint32(marks['scores value']!, type, true)),
      new RegExp(`value type from 0 to 12, got ${type}`),
    );
  }
});

/** An array in an array, `depth` times. */
function nested(depth: number, innermost = 1): Uint8Array {
  const value: NonNullable<GgufModel['pairs']>[number]['value'] = (out) => {
    for (let i = 1; i < depth; i++) out.u32(VALUE.array).count(1);
    out.array(VALUE.u8, innermost, (list) => list.raw(new Uint8Array(innermost)));
  };
  return buildGguf({ pairs: [{ key: 'k', type: VALUE.array, value }] }).bytes;
}

test('refused: arrays nested deeper than eight, without deep recursion', () => {
  assert.deepEqual(read(nested(8)).tensors, []);
  refuses(nested(9), /at most 8 arrays in one another/);
  refuses(nested(100_000), /at most 8 arrays in one another/);
});

test('refused: a string, key or name that is longer than the file', () => {
  for (const field of ['general.architecture value', 'a.u8', 'tokens value']) {
    refuses(
      broken((at, marks) => {
        const past = field === 'tokens value' ? 12 : 0;
        at.setBigUint64(marks[field]! + past, BigInt(at.byteLength), true);
      }),
      /but the file has/,
    );
  }
  const name = 'n'.repeat(20_000);
  refuses(
    buildGguf({ tensors: [{ name, type: TYPE.i8, shape: [1], bytes: 1 }] }).bytes,
    /at most 16384 bytes of a tensor's name, got 20000/,
  );
});

test('refused: more dimensions than eight', () => {
  for (const rank of [9, 0xffffffff]) {
    refuses(
      broken((at, marks) => at.setUint32(marks['scale rank']!, rank, true)),
      new RegExp(`at most 8 dimensions of a tensor, got ${rank}`),
    );
  }
});

test('refused: tensors that overlap in part, or of which one begins where a longer one does', () => {
  const pair = (offset: number, elements: number) =>
    buildGguf({
      tensors: [
        { name: 'a', type: TYPE.f32, shape: [24], bytes: 96, offset: 0 },
        { name: 'b', type: TYPE.f32, shape: [elements], bytes: 4 * elements, offset },
      ],
    }).bytes;
  refuses(pair(32, 24), /apart or the same, got 96 bytes at \d+ and 96 at/);
  refuses(pair(32, 2), /apart or the same/);
  refuses(pair(0, 8), /apart or the same/);
  assert.equal(read(pair(96, 8)).tensors.length, 2);
  assert.deepEqual(read(pair(0, 24)).tensors[0]?.aliases, ['b']);
});

test('refused: data that ends one byte behind the file', () => {
  const { bytes } = buildGguf(SMALL);
  refuses(bytes.subarray(0, -1), /expected 288 bytes of the tensor 'blk\.0\.né'/);
});

test('20,000 mutations of small models: each reads to a sound layout or is refused, with bounded reading', () => {
  const originals = [1, 3].map((version) => buildGguf({ ...SMALL, version }).bytes);
  originals.push(buildGguf({ ...SMALL, tensors: [{ name: 'u', type: 77, shape: [9], bytes: 9 }] }).bytes);
  originals.push(buildGguf({ ...SMALL, pairs: [{ key: 's', type: VALUE.array, value: numbers(3000) }] }).bytes);
  const refused = countRefusedMutations(readGguf, originals, 20_000);
  assert.ok(refused > 4000 && refused < 19_000, `${refused} refused: the mutations miss their mark`);
});

// Real models, where they lie beside the checkout.

const MODELS = new URL('../../../shared/models/', import.meta.url);
const REAL_PAIRS = 9;

interface ManifestEntry {
  readonly name: string;
  readonly format: string;
  readonly tensor_stats: { readonly tensors_old: number; readonly tensors_new: number };
}

test('real models: as many tensors as the manifest counts in every GGUF pair', (t) => {
  if (!existsSync(MODELS)) return t.skip(`${REAL_PAIRS} GGUF pairs skipped: no ../shared/models beside the repository`);
  const manifest = JSON.parse(readFileSync(new URL('manifest.json', MODELS), 'utf8')) as ManifestEntry[];
  const pairs = manifest.filter((entry) => entry.format === 'gguf');
  assert.equal(pairs.length, REAL_PAIRS);
  for (const { name, tensor_stats: expected } of pairs) {
    const counts = ['old', 'new'].map((side) =>
      tensorCount(read(readFileSync(new URL(`${name}/${side}.gguf`, MODELS)))),
    );
    assert.deepEqual(counts, [expected.tensors_old, expected.tensors_new], name);
  }
});
