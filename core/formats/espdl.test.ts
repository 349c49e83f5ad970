import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { MemorySource } from '../memory-source.js';
import { buildEspdl, type EspdlTensor, ramp, SMALL, TYPE } from './build-espdl.test.js';
import { readLayout } from './detect.js';
import { readEspdl } from './espdl.js';
import { tensorCount } from './model.js';
import {
  assertRefused,
  assertSound,
  CountingSource,
  countRefusedMutations,
  countRefusedPrefixes,
} from './reader-harness.test.js';

const read = (bytes: Uint8Array) => readEspdl(new CountingSource(bytes));
const refuses = (bytes: Uint8Array, message: RegExp) => assertRefused(readEspdl, new CountingSource(bytes), message);
const readOne = (tensor: Omit<EspdlTensor, 'name'>) =>
  read(buildEspdl({ initializers: [{ name: 'w', ...tensor }] })).tensors[0]!;

for (const generation of [1, 2] as const) {
  test(`names, types, shapes, data and scales of EDL${generation}: initializers, attributes, test values`, () => {
    const bytes = buildEspdl(SMALL, generation);
    const layout = read(bytes);
    assert.equal(layout.format, 'ESPDL');
    assert.equal(layout.warning, null);
    assertSound(layout, bytes.length);
    const found = Object.fromEntries(
      layout.tensors.map(({ name, offset, length, ...rest }) => [
        name,
        { ...rest, data: bytes.slice(offset, offset + length) },
      ]),
    );
    const plain = { aliases: [], scales: [], scaleAxis: 0 };
    const f32 = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
    assert.deepEqual(found, {
      filter: { ...plain, dtype: 'i8', shape: [1, 1, 3, 7], scales: [1 / 128], data: ramp(21, 1) },
      bias: { ...plain, dtype: 'i32', shape: [3], scales: [1 / 4096, 1 / 8192, 1 / 4096], data: ramp(12, 7) },
      lut: { ...plain, dtype: 'i16', shape: [5], scales: [8], data: ramp(10, 3) },
      roi: { ...plain, dtype: 'f32', shape: [2], data: f32(0.5, 2) },
      sizes: { ...plain, dtype: 'i32', shape: [2], scales: [1], data: Uint8Array.of(1, 0, 0, 0, 2, 0, 0, 0) },
      axes: { ...plain, dtype: 'i64', shape: [1], data: Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0) },
      image: { ...plain, dtype: 'i8', shape: [4], data: ramp(4, 50) },
      attribute: { ...plain, dtype: 'f32', shape: [], data: ramp(4, 90) },
    });
  });
}

test('raw data is counted in bytes or in units of 16, whichever the shape asks for', () => {
  for (const length of [1, 15, 16, 17, 32, 100]) {
    const tensor = { type: TYPE.i8, dims: [length] };
    assert.deepEqual([readOne({ ...tensor, raw: ramp(length, 0) }).length, length], [length, length]);
    assert.deepEqual([readOne({ ...tensor, rawBytes: ramp(length, 0) }).length, length], [length, length]);
  }
});

test('raw data that fits its shape in neither way is opaque bytes', () => {
  const { dtype, length, scales } = readOne({ type: TYPE.i8, dims: [7], rawBytes: ramp(20, 0), exponents: [1] });
  assert.deepEqual([dtype, length, scales], ['other', 20, []]);
  assert.equal(readOne({ type: 99, dims: [4], raw: ramp(64, 0) }).dtype, 'other');
  assert.equal(readOne({ type: TYPE.i8, dims: [2 ** 52, 2 ** 52], rawBytes: ramp(3, 0) }).dtype, 'other');
});

test('the note of a filter says how many output channels lie interleaved', () => {
  const filter = { type: TYPE.i8, dims: [1, 1, 2, 16], raw: ramp(32, 0) };
  assert.equal(readOne({ ...filter, doc: 'layout ==> (N/16)HWC16' }).interleaved, 16);
  assert.equal(readOne({ ...filter, doc: 'layout ==> N16HWC16' }).interleaved, 16);
  assert.equal(readOne({ ...filter, doc: 'layout ==> (N/8)HWC8_UNALIGNED' }).interleaved, 8);
  for (const doc of ['layout ==> UNK', '(N/16)HWC8', '', `(N/16)HWC16${' '.repeat(64)}`])
    assert.equal(readOne({ ...filter, doc }).interleaved, undefined, doc);
});

test('scales per channel are left out where blocks of channels break the order of the shape', () => {
  const filter = { type: TYPE.i8, dims: [1, 1, 2, 3], raw: ramp(6, 0) };
  assert.deepEqual(readOne({ ...filter, exponents: [-1, -2, -1] }).scales, []);
  assert.deepEqual(readOne({ ...filter, exponents: [-2, -2, -2] }).scales, [0.25], 'all equal: one for the tensor');
  assert.deepEqual(readOne({ ...filter, exponents: [] }).scales, []);
  assert.deepEqual(readOne({ type: TYPE.i8, dims: [3], raw: ramp(3, 0), exponents: [-1, -2] }).scales, []);
});

test('exponents that make no number of the runtime are left out', () => {
  const tensor = { type: TYPE.i8, dims: [2], raw: ramp(2, 0) };
  assert.deepEqual(readOne({ ...tensor, exponents: [-126] }).scales, [2 ** -126]);
  for (const exponent of [127, -127, 2 ** 31, -(2 ** 60)]) {
    assert.deepEqual(readOne({ ...tensor, exponents: [exponent] }).scales, [], String(exponent));
  }
});

test('initializers that are the same table are one range and count as many', () => {
  const layout = read(buildEspdl({ ...SMALL, repeat: 3 }));
  assert.deepEqual(layout.tensors.find(({ name }) => name === 'filter')?.aliases, ['filter', 'filter']);
  assert.equal(tensorCount(layout), 3 * 6 + 2);
});

test('weights are not read: only the pages that hold names, shapes and scales', () => {
  const source = new CountingSource(
    buildEspdl({ initializers: [{ name: 'w', type: TYPE.i8, dims: [1 << 20], raw: ramp(1 << 20, 0) }] }),
  );
  assert.equal(readEspdl(source).tensors[0]?.length, 1 << 20);
  assert.ok(source.bytesRead < 16384, `${source.bytesRead} bytes read`);
});

// Hostile input. Positions inside the file are found the way the format defines them, apart from the reader.

const BASE = 16;
const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const follow = (bytes: Uint8Array, at: number) => at + view(bytes).getUint32(at, true);
const fieldOf = (bytes: Uint8Array, table: number, slot: number) =>
  table + view(bytes).getUint16(table - view(bytes).getInt32(table, true) + 4 + 2 * slot, true);
const childOf = (bytes: Uint8Array, table: number, slot: number) => follow(bytes, fieldOf(bytes, table, slot));

/** Tables and vectors of the small model by name. */
function partsOf(bytes: Uint8Array) {
  const root = follow(bytes, BASE);
  const graph = childOf(bytes, root, 7);
  const initializers = childOf(bytes, graph, 2);
  const nodes = childOf(bytes, graph, 0);
  const filter = follow(bytes, initializers + 4);
  const roi = follow(bytes, initializers + 4 + 3 * 4);
  const attributes = childOf(bytes, follow(bytes, nodes + 4), 5);
  const vectors = {
    initializers,
    nodes,
    attributes,
    dims: childOf(bytes, filter, 0),
    name: childOf(bytes, filter, 6),
    raw: childOf(bytes, filter, 8),
    exponents: childOf(bytes, filter, 13),
    floats: childOf(bytes, roi, 2),
  };
  return { root, graph, filter, vectors };
}

/** A small model with one change. */
function broken(change: (at: DataView, parts: ReturnType<typeof partsOf>) => void): Uint8Array {
  const bytes = buildEspdl(SMALL);
  change(view(bytes), partsOf(bytes));
  return bytes;
}

test('refused: another magic, an encrypted model, a flatbuffer larger than the file', () => {
  refuses(new Uint8Array(0), /the magic/);
  refuses(
    broken((at) => at.setUint8(3, 0x33)),
    /magic 'EDL1' or 'EDL2'/,
  );
  const encrypted = broken((at) => at.setUint32(4, 1, true));
  refuses(encrypted, /not encrypted, got mode 1 \(at byte 4\)/);
  assert.deepEqual(readLayout(new MemorySource(encrypted)), {
    format: 'Binary',
    tensors: [],
    warning: 'not a readable ESPDL model: expected a model that is not encrypted, got mode 1 (at byte 4)',
  });
  for (const size of [buildEspdl(SMALL).length - 15, 0x80000000, 0xffffffff]) {
    refuses(
      broken((at) => at.setUint32(8, size, true)),
      new RegExp(`expected ${size} bytes of a flatbuffer at 16`),
    );
  }
});

test('refused: cut at any byte', () => {
  for (const generation of [1, 2] as const) {
    const whole = buildEspdl(SMALL, generation);
    assert.equal(countRefusedPrefixes(readEspdl, whole), whole.length);
  }
});

test('refused: cyclic offsets, as an offset of 0 or one that wraps around 2^32', () => {
  refuses(
    broken((at) => at.setUint32(BASE, 0, true)),
    /root table further on, got an offset of 0/,
  );
  refuses(
    broken((at, { vectors }) => at.setUint32(vectors.initializers + 4, 0, true)),
    /one of the initializers further on, got an offset of 0/,
  );
  refuses(
    broken((at, { vectors, graph }) =>
      at.setUint32(vectors.initializers + 4, 2 ** 32 - (vectors.initializers + 4 - graph), true),
    ),
    /one of the initializers/,
  );
});

test('refused: a count of 2^31 or 2^32 - 1 in any vector', () => {
  for (const name of ['initializers', 'nodes', 'attributes', 'dims', 'name', 'raw', 'exponents', 'floats'] as const) {
    for (const count of [0x80000000, 0xffffffff]) {
      const bytes = broken((at, { vectors }) => at.setUint32(vectors[name], count, true));
      refuses(bytes, new RegExp(`got ${count} \\(at byte ${partsOf(bytes).vectors[name]}\\)`));
    }
  }
});

test('refused: negative dimensions, and those of 2^53 and more', () => {
  const dimension = (value: bigint) => broken((at, { vectors }) => at.setBigInt64(vectors.dims + 4, value, true));
  for (const value of [-1n, -(2n ** 31n), 2n ** 53n, 2n ** 62n])
    refuses(dimension(value), /dimensions from 0 to 2\^53/);
  assert.equal(read(dimension(2n ** 53n - 1n)).tensors.find(({ name }) => name === 'filter')?.dtype, 'other');
});

test('refused: units of 16 that leave the file', () => {
  // As many bytes are there, but not sixteen times as many.
  const length = 16 * 200;
  const bytes = buildEspdl({ initializers: [{ name: 'w', type: TYPE.i8, dims: [length], rawBytes: ramp(200, 0) }] });
  refuses(bytes, /expected 3200 bytes of a tensor's data/);
});

test('refused: data that overlaps in part', () => {
  // The second tensor's data becomes a vector of four bytes that lies inside the first one's.
  const bytes = buildEspdl({
    initializers: [
      { name: 'outer', type: TYPE.i8, dims: [12], rawBytes: Uint8Array.of(0, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4) },
      { name: 'inner', type: TYPE.i8, dims: [4], rawBytes: ramp(4, 0) },
    ],
  });
  assert.equal(read(bytes).tensors.length, 2);
  const initializers = childOf(bytes, childOf(bytes, follow(bytes, BASE), 7), 2);
  const outerData = childOf(bytes, follow(bytes, initializers + 4), 8) + 4;
  const innerField = fieldOf(bytes, follow(bytes, initializers + 8), 8);
  view(bytes).setUint32(innerField, outerData + 4 - innerField, true);
  refuses(bytes, new RegExp(`apart or the same, got 12 bytes at ${outerData} and 4 at ${outerData + 8}`));
});

test('refused: more than the declared limits', () => {
  const tensor = { name: 'w', type: TYPE.i8, raw: ramp(4, 0) };
  refuses(
    buildEspdl({ initializers: [{ ...tensor, dims: Array(65).fill(1) }] }),
    /at most 64 of a tensor's dimensions, got 65/,
  );
  refuses(
    buildEspdl({ initializers: [{ ...tensor, name: 'n'.repeat(20_000) }] }),
    /at most 16384 bytes of a tensor's name/,
  );
  refuses(buildEspdl({ initializers: [tensor], repeat: (1 << 18) + 1 }), /at most 262144 initializers/);
  const attributes = Array<EspdlTensor>(1025).fill(tensor);
  refuses(buildEspdl({ initializers: [], attributes }), /at most 1024 attributes, got 1025/);
});

test('refused: a hundred thousand references to one tensor', () => {
  refuses(buildEspdl({ initializers: SMALL.initializers.slice(0, 1), repeat: 100_000 }), /referred to about once/);
});

test('refused: a few references to one tensor with thousands of exponents', () => {
  const tensor = { name: 'w', type: TYPE.i8, dims: [1], raw: ramp(1, 0), exponents: Array<number>(2000).fill(-3) };
  assert.equal(tensorCount(read(buildEspdl({ initializers: [tensor], repeat: 2 }))), 2);
  refuses(buildEspdl({ initializers: [tensor], repeat: 20 }), /referred to about once/);
});

test('refused: a model without a graph', () => {
  const bytes = broken((at, { root }) => at.setUint16(root - at.getInt32(root, true) + 4 + 2 * 7, 0, true));
  refuses(bytes, /expected a graph, got none/);
});

test('20,000 mutations of small models: each reads to a sound layout or is refused, with bounded reading', () => {
  const originals = [buildEspdl(SMALL, 1), buildEspdl({ ...SMALL, repeat: 2 }, 2)];
  const refused = countRefusedMutations(readEspdl, originals, 20_000);
  assert.ok(refused > 4000 && refused < 19_000, `${refused} refused: the mutations miss their mark`);
});

// Real models, where they lie beside the checkout.

const MODELS = new URL('../../../shared/models/', import.meta.url);
const REAL_PAIRS = 5;

interface ManifestEntry {
  readonly name: string;
  readonly format: string;
  readonly tensor_stats: { readonly tensors_old: number; readonly tensors_new: number };
}

test('real models: as many tensors as the manifest counts in every ESPDL pair, all of them typed', (t) => {
  if (!existsSync(MODELS))
    return t.skip(`${REAL_PAIRS} ESPDL pairs skipped: no ../shared/models beside the repository`);
  const manifest = JSON.parse(readFileSync(new URL('manifest.json', MODELS), 'utf8')) as ManifestEntry[];
  const pairs = manifest.filter((entry) => entry.format === 'espdl');
  assert.equal(pairs.length, REAL_PAIRS);
  for (const { name, tensor_stats: expected } of pairs) {
    const counts = ['old', 'new'].map((side) => {
      const bytes = readFileSync(new URL(`${name}/${side}.espdl`, MODELS));
      const layout = readLayout(new MemorySource(bytes));
      assert.equal(layout.format, 'ESPDL', layout.warning ?? '');
      assertSound(layout, bytes.length);
      assert.ok(layout.tensors.every(({ dtype }) => dtype !== 'other'));
      return tensorCount(layout);
    });
    assert.deepEqual(counts, [expected.tensors_old, expected.tensors_new], name);
  }
});
