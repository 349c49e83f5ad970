import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ModelFormatError } from '../errors.js';
import type { ByteSource } from '../ports.js';
import {
  buildLargeTflite,
  buildRepeatedTensor,
  buildTflite,
  ramp,
  SMALL,
  type SmallTensor,
  TYPE,
} from './build-tflite.test.js';
import { tensorCount } from './model.js';
import { readTflite } from './tflite.js';

/** Serves bytes and counts what was asked for. */
class CountingSource implements ByteSource {
  readonly size: number;
  bytesRead = 0;
  private readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array, size = bytes.length) {
    this.bytes = bytes;
    this.size = size;
  }

  read(offset: number, into: Uint8Array): void {
    assert.ok(offset >= 0 && offset + into.length <= this.size, `read outside the file: ${into.length} at ${offset}`);
    this.bytesRead += into.length;
    into.fill(0);
    into.set(this.bytes.subarray(offset, offset + into.length));
  }
}

const read = (bytes: Uint8Array) => readTflite(new CountingSource(bytes));

/** Expects a ModelFormatError that points into the file. */
function refuses(bytes: Uint8Array, message: RegExp): void {
  assert.throws(
    () => read(bytes),
    (error) => {
      assert.ok(error instanceof ModelFormatError, String(error));
      assert.ok(error.offset >= 0 && error.offset <= bytes.length, `offset ${error.offset}`);
      assert.match(error.message, message);
      return true;
    },
  );
}

test('names, types, shapes, ranges and scales of all sub-graphs come out, in file order', () => {
  const bytes = buildTflite(SMALL);
  const layout = read(bytes);
  assert.equal(layout.format, 'TFLite');
  assert.equal(layout.warning, null);
  assert.deepEqual(
    layout.tensors.map((tensor) => tensor.offset),
    layout.tensors.map((tensor) => tensor.offset).sort((a, b) => a - b),
  );
  const found = Object.fromEntries(
    layout.tensors.map(({ name, offset, length, ...rest }) => [
      name,
      { ...rest, data: bytes.slice(offset, offset + length) },
    ]),
  );
  assert.deepEqual(found, {
    'conv/kernel': {
      aliases: [],
      dtype: 'i8',
      shape: [4, 2, 3],
      scales: [0.5, 0.25, 0.125, 2],
      scaleAxis: 0,
      data: SMALL.buffers[1],
    },
    'conv/bias': {
      aliases: ['init/bias'],
      dtype: 'i32',
      shape: [4],
      scales: [0.75],
      scaleAxis: 0,
      data: SMALL.buffers[2],
    },
    'init/zero': { aliases: [], dtype: 'f16', shape: [4], scales: [], scaleAxis: 0, data: SMALL.buffers[3] },
  });
});

test('tensors that share a buffer are one range and count as many', () => {
  const layout = read(buildTflite(SMALL));
  assert.equal(layout.tensors.length, 3);
  assert.equal(tensorCount(layout), 4);
});

/** The only tensor of a model that holds `bytes` as described. */
function readOne(tensor: Omit<SmallTensor, 'name' | 'buffer'>, length: number) {
  const model = { buffers: [new Uint8Array(0), ramp(length, 0)], subgraphs: [[{ name: 'w', buffer: 1, ...tensor }]] };
  return read(buildTflite(model)).tensors[0]!;
}

test('vectors of scales are found where they lie, and short ones are left out', () => {
  const bytes = buildTflite(SMALL);
  const { scaleVectors = [], tensors } = read(bytes);
  assert.deepEqual(
    scaleVectors.map(({ name, dtype, shape, length }) => ({ name, dtype, shape, length })),
    [{ name: 'conv/kernel', dtype: 'f32', shape: [4], length: 16 }],
  );
  const [vector] = scaleVectors;
  const stored = new Float32Array(bytes.slice(vector!.offset, vector!.offset + 16).buffer);
  assert.deepEqual([...stored], tensors.find(({ name }) => name === 'conv/kernel')!.scales);
});

test('a zero point that all channels share is told, for types that have one', () => {
  const zeroOf = (type: number, zeros: readonly number[], scales = [0.5]): number | undefined =>
    readOne({ type, shape: [4, 2], scales, zeros, axis: 1 }, 8).zeroPoint;
  assert.equal(zeroOf(TYPE.u8, [131]), 131);
  assert.equal(zeroOf(TYPE.i8, [-128]), -128);
  assert.equal(zeroOf(TYPE.u8, [7, 7], [1, 2]), 7);
  for (const zeros of [[], [0], [5, 6], [256], [-1], [2 ** 40 + 5]]) assert.equal(zeroOf(TYPE.u8, zeros), undefined);
  assert.equal(zeroOf(TYPE.i8, [128]), undefined);
  assert.equal(readOne({ type: TYPE.i32, shape: [2], scales: [1], zeros: [3] }, 8).zeroPoint, undefined);
});

test('scales that fit neither the tensor nor one of its dimensions are left out', () => {
  const scales = [1, 2, 3];
  assert.deepEqual(readOne({ type: TYPE.i8, shape: [2, 3], scales, axis: 1 }, 6).scales, scales);
  assert.deepEqual(readOne({ type: TYPE.i8, shape: [2, 3], scales, axis: 0 }, 6).scales, []);
  assert.deepEqual(readOne({ type: TYPE.i8, shape: [2, 3], scales, axis: -1 }, 6).scales, []);
  assert.deepEqual(readOne({ type: TYPE.i8, shape: [2, 3], scales: [] }, 6).scales, []);
  // A sparse tensor: fewer bytes than its shape says.
  assert.deepEqual(readOne({ type: TYPE.i8, shape: [4, 3], scales, axis: 1 }, 6).scales, []);
  assert.deepEqual(readOne({ type: TYPE.i4, shape: [3, 3], scales, axis: 0 }, 5).scales, scales);
});

test('a length that is no multiple of the element, and a type nobody knows, become opaque bytes', () => {
  assert.equal(readOne({ type: TYPE.f32, shape: [2] }, 7).dtype, 'other');
  assert.equal(readOne({ type: TYPE.string, shape: [2] }, 8).dtype, 'other');
  assert.equal(readOne({ type: 77, shape: [2] }, 8).dtype, 'other');
  assert.deepEqual(readOne({ type: TYPE.f32, shape: [] }, 4).shape, []);
});

// Weights behind the flatbuffer: past its end, 16-aligned.
const LARGE_OFFSETS = [0, 2048, 2080, 2096, 0];

function largeFile(offsets: readonly number[], size: number): Uint8Array {
  const file = new Uint8Array(size);
  file.set(buildLargeTflite(SMALL, offsets));
  return file;
}

test('buffers of a model above 2 GiB are found behind the flatbuffer', () => {
  const layout = read(largeFile(LARGE_OFFSETS, 2104));
  assert.deepEqual(
    layout.tensors.map(({ name, offset, length }) => [name, offset, length]),
    [
      ['conv/kernel', 2048, 24],
      ['conv/bias', 2080, 16],
      ['init/zero', 2096, 8],
    ],
  );
});

test('a terabyte file costs as little memory and reading as a small one', () => {
  const far = 2 ** 40;
  const offsets = [0, far, far + 32, far + 64, 0];
  const source = new CountingSource(buildLargeTflite(SMALL, offsets), far + 72);
  assert.deepEqual(
    readTflite(source).tensors.map((tensor) => tensor.offset),
    offsets.slice(1, 4),
  );
  assert.ok(source.bytesRead < 16384, `${source.bytesRead} bytes read`);
});

test('weights are not read: only the pages that hold names, shapes and scales', () => {
  const weights = ramp(4 << 20, 1);
  const tensor = { name: 'w', type: TYPE.i8, shape: [weights.length], buffer: 1 };
  const source = new CountingSource(buildTflite({ buffers: [new Uint8Array(0), weights], subgraphs: [[tensor]] }));
  assert.equal(readTflite(source).tensors[0]?.length, weights.length);
  assert.ok(source.bytesRead < 16384, `${source.bytesRead} bytes read`);
});

// Hostile input. Positions inside the file are found the way the format defines them, apart from the reader.

const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const rootOf = (bytes: Uint8Array) => view(bytes).getUint32(0, true);
const vtableOf = (bytes: Uint8Array, table: number) => table - view(bytes).getInt32(table, true);
const entryOf = (bytes: Uint8Array, table: number, slot: number) => vtableOf(bytes, table) + 4 + 2 * slot;
const fieldOf = (bytes: Uint8Array, table: number, slot: number) =>
  table + view(bytes).getUint16(entryOf(bytes, table, slot), true);
const follow = (bytes: Uint8Array, at: number) => at + view(bytes).getUint32(at, true);
const childOf = (bytes: Uint8Array, table: number, slot: number) => follow(bytes, fieldOf(bytes, table, slot));
const elementOf = (bytes: Uint8Array, vector: number, index: number) => follow(bytes, vector + 4 + 4 * index);

/** Tables and vectors of the small model by name. */
function partsOf(bytes: Uint8Array) {
  const root = rootOf(bytes);
  const subgraphs = childOf(bytes, root, 2);
  const buffers = childOf(bytes, root, 4);
  const subgraph = elementOf(bytes, subgraphs, 0);
  const tensors = childOf(bytes, subgraph, 0);
  const kernel = elementOf(bytes, tensors, 1);
  const quantization = childOf(bytes, kernel, 4);
  const data = childOf(bytes, elementOf(bytes, buffers, 1), 0);
  const vectors = {
    subgraphs,
    buffers,
    tensors,
    shape: childOf(bytes, kernel, 0),
    name: childOf(bytes, kernel, 3),
    scales: childOf(bytes, quantization, 2),
    data,
  };
  return { root, subgraph, kernel, vectors };
}

/** A small model with one change. */
function broken(change: (bytes: Uint8Array, at: DataView, parts: ReturnType<typeof partsOf>) => void): Uint8Array {
  const bytes = buildTflite(SMALL);
  change(bytes, view(bytes), partsOf(bytes));
  return bytes;
}

test('truncated anywhere it is refused or still whole as far as the reader looks, never read past its end', () => {
  const whole = buildTflite(SMALL);
  let refused = 0;
  for (let length = 0; length < whole.length; length++) {
    try {
      read(whole.subarray(0, length));
    } catch (error) {
      assert.ok(error instanceof ModelFormatError, String(error));
      refused++;
    }
  }
  // Only trailing padding may be missed.
  assert.ok(refused >= whole.length - 16, `${refused} of ${whole.length}`);
});

test('refused: another file identifier', () => {
  refuses(
    broken((bytes) => bytes.set([0x34], 7)),
    /file identifier 'TFL3' \(at byte 7\)/,
  );
});

test('refused: a root table outside the file, or inside its own offset', () => {
  refuses(
    broken((_, at) => at.setUint32(0, 0xfffffff0, true)),
    /root table/,
  );
  refuses(
    broken((_, at) => at.setUint32(0, 0, true)),
    /got an offset of 0 \(at byte 0\)/,
  );
});

test('refused: a vtable before or behind the file', () => {
  refuses(
    broken((_, at, { kernel }) => at.setInt32(kernel, kernel + 2, true)),
    /vtable/,
  );
  refuses(
    broken((_, at, { kernel }) => at.setInt32(kernel, -0x80000000, true)),
    /vtable/,
  );
  refuses(
    broken((bytes, at, { kernel }) => at.setInt32(kernel, kernel - bytes.length + 1, true)),
    /vtable/,
  );
});

test('refused: a vtable or table of an impossible size', () => {
  for (const size of [0, 2, 5, 0xfffe]) {
    refuses(
      broken((bytes, at, { kernel }) => at.setUint16(vtableOf(bytes, kernel), size, true)),
      /vtable/,
    );
  }
  refuses(
    broken((bytes, at, { kernel }) => at.setUint16(vtableOf(bytes, kernel) + 2, 0xffff, true)),
    /65535 bytes of a table/,
  );
  refuses(
    broken((bytes, at, { kernel }) => at.setUint16(vtableOf(bytes, kernel) + 2, 3, true)),
    /at least 4 bytes, got 3/,
  );
});

test('refused: a field outside its table', () => {
  for (const distance of [1, 3, 0x7fff]) {
    refuses(
      broken((bytes, at, { kernel }) => at.setUint16(entryOf(bytes, kernel, 2), distance, true)),
      /buffer index inside its table/,
    );
  }
});

test('refused: a cycle, as an offset of 0 or one that wraps around 2^32 to its own table', () => {
  refuses(
    broken((_, at, { vectors }) => at.setUint32(vectors.tensors + 4, 0, true)),
    /offset of 0/,
  );
  refuses(
    broken((bytes, at, { root, vectors }) => {
      assert.equal(rootOf(bytes), root);
      at.setUint32(vectors.subgraphs + 4, 2 ** 32 - (vectors.subgraphs + 4 - root), true);
    }),
    /one of the sub-graphs/,
  );
});

test('refused: a count of 2^31 or 2^32 - 1 in any vector', () => {
  for (const name of ['subgraphs', 'buffers', 'tensors', 'shape', 'name', 'scales', 'data'] as const) {
    for (const count of [0x80000000, 0xffffffff]) {
      const bytes = broken((_, at, { vectors }) => at.setUint32(vectors[name], count, true));
      refuses(bytes, new RegExp(`got ${count} \\(at byte ${partsOf(buildTflite(SMALL)).vectors[name]}\\)`));
    }
  }
});

test('refused: counts that fit the file but not the declared limits', () => {
  const long = { buffers: [new Uint8Array(0), ramp(4, 0)] };
  const shape = Array<number>(65).fill(1);
  refuses(
    buildTflite({ ...long, subgraphs: [[{ name: 'w', type: 0, shape, buffer: 1 }]] }),
    /at most 64 of a tensor's dimensions, got 65/,
  );
  refuses(
    buildTflite({ ...long, subgraphs: [[{ name: 'n'.repeat(20000), type: 0, shape: [1], buffer: 1 }]] }),
    /at most 16384 bytes of a tensor's name/,
  );
  refuses(buildRepeatedTensor((1 << 18) + 1), /at most 262144 tensors/);
});

test('refused: a hundred thousand references to one tensor', () => {
  assert.equal(tensorCount(read(buildRepeatedTensor(3))), 3);
  refuses(buildRepeatedTensor(100_000), /referred to about once/);
});

test('refused: a buffer index past the list, and a model without sub-graphs', () => {
  refuses(
    broken((bytes, at, { kernel }) => at.setUint32(fieldOf(bytes, kernel, 2), 5, true)),
    /buffer index below 5, got 5/,
  );
  refuses(buildTflite({ buffers: [], subgraphs: [] }), /at least one sub-graph/);
});

test('refused: buffers that overlap in part, or one that begins where a longer one does', () => {
  refuses(largeFile([0, 2048, 2071, 2096, 0], 2104), /apart or the same, got 24 bytes at 2048 and 16 at 2071/);
  refuses(largeFile([0, 2048, 2048, 2096, 0], 2104), /apart or the same/);
  assert.equal(read(largeFile([0, 2048, 2072, 2096, 0], 2104)).tensors.length, 3);
});

test('refused: data behind the end of the file, or at an offset no file has', () => {
  refuses(largeFile(LARGE_OFFSETS, 2103), /expected 8 bytes of a buffer's data at 2096/);
  refuses(largeFile([0, 2 ** 52, 2080, 2096, 0], 2104), /a buffer's data/);
  refuses(largeFile([0, 2 ** 60, 2080, 2096, 0], 2104), /at most 2\^53 - 1/);
});

/** Marsaglia's xorshift32: the same mutations on every machine. */
function xorshift(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const TELLING_WORDS = [0, 1, 2, 4, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff];

/** One to four words or bytes overwritten, at times cut short. */
function mutate(whole: Uint8Array, random: (below: number) => number): Uint8Array {
  const bytes = whole.slice();
  for (let changes = 1 + random(4); changes > 0; changes--) {
    const at = random(bytes.length - 4);
    if (random(2) === 0) bytes[at] = random(256);
    else
      view(bytes).setUint32(
        at,
        random(2) === 0 ? TELLING_WORDS[random(TELLING_WORDS.length)]! : random(bytes.length),
        true,
      );
  }
  return random(8) === 0 ? bytes.subarray(0, random(bytes.length)) : bytes;
}

test('20,000 mutations of a small model: each reads to a sound layout or is refused, with bounded reading', () => {
  const originals = [buildTflite(SMALL), largeFile(LARGE_OFFSETS, 2104)];
  const random = xorshift(0x5eed);
  let refused = 0;
  for (let i = 0; i < 20_000; i++) {
    const bytes = mutate(originals[i % 2]!, random);
    const source = new CountingSource(bytes);
    try {
      let end = 0;
      for (const tensor of readTflite(source).tensors) {
        assert.ok(tensor.offset >= end && tensor.length > 0, `mutation ${i}: ranges overlap`);
        end = tensor.offset + tensor.length;
      }
      assert.ok(end <= bytes.length, `mutation ${i}: a range leaves the file`);
    } catch (error) {
      if (!(error instanceof ModelFormatError)) throw new Error(`mutation ${i}`, { cause: error });
      refused++;
    }
    assert.ok(source.bytesRead <= bytes.length, `mutation ${i}: ${source.bytesRead} bytes read of ${bytes.length}`);
  }
  assert.ok(refused > 4000 && refused < 19_000, `${refused} refused: the mutations miss their mark`);
});

// Real models, where they lie beside the checkout.

const MODELS = new URL('../../../shared/models/', import.meta.url);
const REAL_PAIRS = 26;

interface ManifestEntry {
  readonly name: string;
  readonly format: string;
  readonly tensor_stats: { readonly tensors_old: number; readonly tensors_new: number };
}

test('real models: as many tensors as the manifest counts in every TFLite pair', (t) => {
  if (!existsSync(MODELS))
    return t.skip(`${REAL_PAIRS} TFLite pairs skipped: no ../shared/models beside the repository`);
  const manifest = JSON.parse(readFileSync(new URL('manifest.json', MODELS), 'utf8')) as ManifestEntry[];
  const pairs = manifest.filter((entry) => entry.format === 'tflite');
  assert.equal(pairs.length, REAL_PAIRS);
  for (const { name, tensor_stats: expected } of pairs) {
    const counts = ['old', 'new'].map((side) =>
      tensorCount(read(readFileSync(new URL(`${name}/${side}.tflite`, MODELS)))),
    );
    assert.deepEqual(counts, [expected.tensors_old, expected.tensors_new], name);
  }
});
