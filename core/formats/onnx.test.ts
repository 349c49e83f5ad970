import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { MemorySource } from '../memory-source.js';
import type { ByteSource } from '../ports.js';
import {
  attribute,
  constant,
  floats,
  graph,
  model,
  node,
  number,
  prefixed,
  ramp,
  raw,
  SMALL,
  TYPE,
  tensor,
  varint,
} from './build-onnx.test.js';
import { detectFormat, detectFormatOf, readLayout } from './detect.js';
import { type Tensor, tensorCount } from './model.js';
import { readOnnx } from './onnx.js';
import {
  assertRefused,
  assertSound,
  CountingSource,
  countRefusedMutations,
  countRefusedPrefixes,
} from './reader-harness.test.js';

const read = (bytes: Uint8Array) => readOnnx(new CountingSource(bytes));
const refuses = (bytes: Uint8Array, message: RegExp) => assertRefused(readOnnx, new CountingSource(bytes), message);

/** The tensors of a model with these initializers. */
function readInitializers(...initializers: (readonly number[])[]): readonly Tensor[] {
  return read(model(graph({ initializers }))).tensors;
}

function describe(tensors: readonly Tensor[], bytes: Uint8Array) {
  return tensors.map(({ name, dtype, shape, offset, length }) => ({
    name,
    dtype,
    shape,
    data: Array.from(bytes.subarray(offset, offset + length)),
  }));
}

test('initializers, sparse ones and constants of sub-graphs come out in file order, with their data', () => {
  const bytes = model(graph(SMALL));
  const layout = read(bytes);
  assert.equal(layout.format, 'ONNX');
  assert.equal(layout.warning, null);
  assert.deepEqual(describe(layout.tensors, bytes), [
    { name: 'é', dtype: 'f16', shape: [2], data: ramp(4, 9) },
    { name: 'z', dtype: 'i4', shape: [3], data: [0x21, 3] },
    { name: 'w', dtype: 'i8', shape: [4, 3], data: ramp(12, 1) },
    { name: 'w_scale', dtype: 'f32', shape: [4], data: floats([0.5, 0.25, 2, 1]) },
    { name: 'bias', dtype: 'f32', shape: [3], data: floats([1, 2, 3]) },
    { name: 'pi', dtype: 'f64', shape: [1], data: ramp(8, 2) },
    { name: 's', dtype: 'f32', shape: [2], data: floats([7, 8]) },
    { name: 's/indices', dtype: 'i64', shape: [2], data: ramp(16, 0) },
  ]);
});

test('functions and training graphs are read too', () => {
  const weight = tensor('w', TYPE.f32, [1], raw(floats([1])));
  const bytes = model(
    graph({}),
    prefixed(25, [...prefixed(1, 'F'), ...prefixed(7, constant('in a function', weight))]),
    prefixed(20, [
      ...prefixed(1, graph({ initializers: [weight] })),
      ...prefixed(2, graph({ initializers: [weight] })),
    ]),
  );
  assert.deepEqual(
    read(bytes).tensors.map(({ name }) => name),
    ['in a function', 'w', 'w'],
  );
});

test('lists of tensors, of graphs and of sparse tensors in attributes are read, named by the node’s output', () => {
  const weight = (value: number) => tensor('own name', TYPE.f32, [1], raw(floats([value])));
  const sparse = [...prefixed(2, weight(5)), ...prefixed(1, weight(4))];
  const attributes = [
    attribute('a', prefixed(10, weight(1)), prefixed(10, weight(2))),
    attribute('b', prefixed(11, graph({ initializers: [weight(3)] }))),
    attribute('c', prefixed(22, sparse), prefixed(23, sparse)),
  ];
  assert.deepEqual(
    read(model(graph({ nodes: [node('Any', { outputs: ['', 'out'], attributes })] }))).tensors.map(({ name }) => name),
    ['out', 'out', 'own name', 'out/indices', 'out', 'out/indices', 'out'],
  );
});

test('types without a typed delta, and lengths that fit no element, are opaque bytes', () => {
  const dtypes = readInitializers(
    tensor('a', TYPE.complex64, [1], raw(ramp(8, 0))),
    tensor('b', 77, [1], raw([1])),
    tensor('c', -1, [1], raw([1])),
    tensor('d', TYPE.f32, [1], raw([1, 2, 3])),
    tensor('e', TYPE.bf16, [1], raw([1, 2])),
    tensor('f', TYPE.e4m3, [1], raw([1])),
    tensor('g', TYPE.complex64, [1], prefixed(4, floats([1, 2]))),
  ).map(({ dtype }) => dtype);
  assert.deepEqual(dtypes, ['other', 'other', 'other', 'other', 'bf16', 'f8_e4m3', 'f32']);
});

test('dimensions may be packed; a tensor without any is a scalar', () => {
  const [packed, scalar] = readInitializers(
    [...prefixed(1, [2, 3]), ...number(2, TYPE.i8), ...raw(ramp(6, 0))],
    tensor('s', TYPE.f32, [], raw(floats([1]))),
  );
  assert.deepEqual([packed?.shape, scalar?.shape], [[2, 3], []]);
});

test('unpacked or split runs are left to the bytes around them; of raw data twice the last counts', () => {
  const split = tensor('a', TYPE.f32, [2], prefixed(4, floats([1])), prefixed(4, floats([2])));
  const unpacked = tensor('b', TYPE.f32, [1], [0x25, 0, 0, 0, 0]);
  const twice = tensor('c', TYPE.i8, [1], raw([1]), raw([2, 3]));
  assert.deepEqual(
    readInitializers(split, unpacked, twice).map(({ name, length }) => [name, length]),
    [['c', 2]],
  );
});

/** The weight 'w' of int8 `shape` in a model with one node and the scales `scales`. */
function scaled(
  shape: readonly number[],
  scales: readonly number[],
  user: readonly number[],
  scaleShape = [scales.length],
) {
  const elements = shape.reduce((product, size) => product * size, 1);
  const initializers = [
    tensor('w', TYPE.i8, shape, raw(ramp(elements, 0))),
    tensor('s', TYPE.f32, scaleShape, raw(floats(scales))),
  ];
  const found = read(model(graph({ nodes: [user], initializers }))).tensors.find(({ name }) => name === 'w')!;
  return [found.scales, found.scaleAxis];
}

test('scales of DequantizeLinear: per tensor, along axis 1 unless the attribute says otherwise', () => {
  const user = (...attributes: (readonly number[])[]) => node('DequantizeLinear', { inputs: ['w', 's'], attributes });
  const axis = (value: number) => attribute('axis', number(3, value));
  assert.deepEqual(scaled([2, 3], [0.5], user(), []), [[0.5], 0]);
  assert.deepEqual(scaled([2, 3], [1, 2, 4], user()), [[1, 2, 4], 1]);
  assert.deepEqual(scaled([2, 3], [1, 2], user(axis(0))), [[1, 2], 0]);
  assert.deepEqual(scaled([2, 3], [1, 2, 4], user(axis(-1))), [[1, 2, 4], 1]);
  assert.deepEqual(scaled([2, 3], [1, 2], user(attribute('other', number(3, 0)))), [[], 0]);
  assert.deepEqual(scaled([2, 3], [1, 2, 4], user(axis(0))), [[], 0], 'three scales for two rows');
  assert.deepEqual(scaled([2, 3], [1, 2, 4], user(axis(9))), [[], 0], 'no such axis');
  assert.deepEqual(scaled([2, 3], [1, 2, 4], user(), [1, 3]), [[], 0], 'scales by block');
});

test('scales of the QLinear operators: output channels first, or columns', () => {
  const inputs = ['x', 'xs', 'xz', 'w', 's', 'wz', 'ys', 'yz'];
  assert.deepEqual(scaled([2, 3], [1, 2], node('QLinearConv', { inputs })), [[1, 2], 0]);
  assert.deepEqual(scaled([2, 3], [1, 2, 4], node('QLinearMatMul', { inputs })), [[1, 2, 4], 1]);
  assert.deepEqual(scaled([2, 3], [1, 2], node('Conv', { inputs })), [[], 0]);
});

test('the zero point of a weight, as bytes or as one of a few varints', () => {
  const zeroOf = (type: number, ...zero: (readonly number[])[]): number | undefined => {
    const initializers = [
      tensor('w', type, [2, 3], raw(ramp(6, 0))),
      tensor('s', TYPE.f32, [], raw(floats([0.5]))),
      tensor('z', type, [], ...zero),
    ];
    const nodes = [node('DequantizeLinear', { inputs: ['w', 's', 'z'], outputs: ['y'] })];
    return read(model(graph({ nodes, initializers }))).tensors.find(({ name }) => name === 'w')!.zeroPoint;
  };
  assert.equal(zeroOf(TYPE.u8, raw([140])), 140);
  assert.equal(zeroOf(TYPE.i8, raw([0xf0])), -16);
  assert.equal(zeroOf(TYPE.u8, prefixed(5, varint(140))), 140);
  assert.equal(zeroOf(TYPE.i8, prefixed(5, varint(-16))), -16);
  assert.equal(zeroOf(TYPE.u8, raw([1, 2])), undefined);
  assert.equal(zeroOf(TYPE.u8, prefixed(5, Array<number>(65).fill(1))), undefined, 'too many to be looked at');
});

test('weights are not read: only the pages that hold names and shapes', () => {
  const { bytes, size } = around(4 << 20);
  const source = new CountingSource(bytes, size);
  assert.equal(readOnnx(source).tensors[0]?.length, 4 << 20);
  assert.ok(source.bytesRead < 16384, `${source.bytesRead} bytes read`);
});

test('a terabyte tensor costs no more than a small one', () => {
  const { bytes, size } = around(2 ** 40);
  const source = new CountingSource(bytes, size);
  assert.equal(readOnnx(source).tensors[0]?.length, 2 ** 40);
  assert.ok(source.bytesRead < 16384, `${source.bytesRead} bytes read`);
});

/** A model that ends in `length` bytes of raw data, of which none are in `bytes`. */
function around(length: number): { bytes: Uint8Array; size: number } {
  const lengthOf = (bytes: readonly number[]) => bytes.length + length;
  const data = prefixed(9, [], length);
  const fields = [...number(2, TYPE.i8), ...data];
  const initializer = prefixed(5, fields, lengthOf(fields));
  const bytes = Uint8Array.from([...number(1, 8), ...prefixed(7, initializer, lengthOf(initializer))]);
  return { bytes, size: bytes.length + length };
}

// Hostile input.

test('refused: cut at any byte, unless only what follows the graph is missing', () => {
  const whole = model(graph(SMALL));
  assert.equal(countRefusedPrefixes(readOnnx, whole), whole.length);
  // A cut between fields leaves a whole model.
  const longer = model(graph(SMALL), prefixed(8, number(2, 18)));
  assert.equal(countRefusedPrefixes(readOnnx, longer), longer.length - 1);
});

test('refused: a file without a graph, and one that is no protobuf', () => {
  refuses(new Uint8Array(0), /expected a graph, got none/);
  refuses(Uint8Array.from(number(1, 8)), /expected a graph, got none/);
  refuses(Uint8Array.from([0xff, 0xff]), /a field's tag/);
});

test('refused: lengths of 2^31, 2^32 and 2^53 in any part', () => {
  const parts: readonly [string, (length: number | bigint) => Uint8Array][] = [
    ['graph', (length) => Uint8Array.from([...number(1, 8), ...prefixed(7, [1], length)])],
    ['node', (length) => model(prefixed(1, [], length))],
    ['initializer', (length) => model(prefixed(5, [], length))],
    ['raw data', (length) => model(graph({ initializers: [tensor('w', 1, [1], prefixed(9, [], length))] }))],
    ['float data', (length) => model(graph({ initializers: [tensor('w', 1, [1], prefixed(4, [], length))] }))],
    ['name', (length) => model(prefixed(5, prefixed(8, [], length)))],
    ['dimensions', (length) => model(prefixed(5, prefixed(1, [], length)))],
  ];
  for (const [name, build] of parts) {
    for (const length of [2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
      assertRefused(readOnnx, new CountingSource(build(length)), /at most \d+ bytes in field|within 2\^53/);
      assert.equal(readLayout(new MemorySource(build(length))).format, 'Binary', name);
    }
  }
});

test('refused: negative dimensions, dimensions above 2^53, too many of them', () => {
  refuses(model(graph({ initializers: [tensor('w', 1, [2, -1], raw([]))] })), /dimensions of at least 0, got -1/);
  refuses(model(graph({ initializers: [tensor('w', 1, [2n ** 60n], raw([]))] })), /within 2\^53/);
  refuses(model(graph({ initializers: [tensor('w', 1, Array(65).fill(1), raw([]))] })), /at most 64 of a tensor's dim/);
  const packed = prefixed(1, Array.from({ length: 70 }, () => varint(1)).flat());
  refuses(model(prefixed(5, packed)), /at most 64 of a tensor's dim/);
});

test('refused: names longer than declared', () => {
  refuses(
    model(graph({ initializers: [tensor('n'.repeat(20_000), 1, [1], raw([1]))] })),
    /16384 bytes of a tensor's name/,
  );
});

test('refused: sub-graphs nested without end', () => {
  let inner = graph({ initializers: [tensor('deep', TYPE.i8, [1], raw([1]))] });
  const nest = () => {
    inner = graph({ nodes: [node('If', { attributes: [attribute('a', prefixed(6, inner))] })] });
  };
  for (let i = 0; i < 30; i++) nest();
  assert.equal(read(model(inner)).tensors[0]?.name, 'deep');
  for (let i = 0; i < 10; i++) nest();
  refuses(model(inner), /nested at most 100 deep/);
});

/** A graph of 1 GiB in which one field comes again and again. */
function bomb(field: readonly number[]): ByteSource {
  const size = 2 ** 30;
  const head = [...number(1, 8), ...prefixed(7, [], size - 8)];
  assert.equal(head.length, 8);
  const byteAt = (at: number) => (at < 8 ? head[at]! : field[(at - 8) % field.length]!);
  return {
    size,
    read: (offset, into) => {
      for (let i = 0; i < into.length; i++) into[i] = byteAt(offset + i);
    },
  };
}

test('refused: a protobuf bomb of fields, names or tensors, after bounded time and memory', () => {
  const startMs = performance.now();
  assertRefused(readOnnx, bomb([0x0a, 0x00]), /fewer fields and names/);
  assertRefused(readOnnx, bomb(prefixed(1, prefixed(2, 'n'.repeat(16_000)))), /fewer fields and names/);
  assertRefused(readOnnx, bomb(prefixed(5, [...raw([1]), ...number(2, 3)])), /at most 262144 tensors/);
  assert.ok(performance.now() - startMs < 20_000, 'bombs take too long');
});

test('20,000 mutations of small models: each reads to a sound layout or is refused, with bounded reading', () => {
  const deep = constant('c', tensor('w', TYPE.f32, [2], prefixed(4, floats([1, 2]))));
  const originals = [
    model(graph(SMALL)),
    model(graph({}), prefixed(25, prefixed(7, deep)), prefixed(20, prefixed(1, graph({ nodes: [deep] })))),
  ];
  const refused = countRefusedMutations(readOnnx, originals, 20_000);
  assert.ok(refused > 4000 && refused < 19_000, `${refused} refused: the mutations miss their mark`);
});

// Detection: protobuf has no magic.

test('models are found by their structure, and a malformed one is plain bytes with a warning', () => {
  const bytes = model(graph(SMALL));
  const found = readLayout(new MemorySource(bytes));
  assert.equal(found.format, 'ONNX');
  assertSound(found, bytes.length);
  const broken = model(graph({ ...SMALL, initializers: [tensor('w', TYPE.f32, [-1], raw([1]))] }));
  const { format, tensors, warning } = readLayout(new MemorySource(broken));
  assert.deepEqual([format, tensors], ['Binary', []]);
  assert.match(warning ?? '', /^not a readable ONNX model: .* \(at byte \d+\)$/);
});

test('not ONNX: control characters in strings, a graph that begins like none, no graph at all', () => {
  const version = number(1, 8);
  const formatOf = (...fields: (readonly number[])[]) => {
    const bytes = Uint8Array.from([...version, ...fields.flat()]);
    return detectFormatOf(bytes, bytes.length);
  };
  const sound = prefixed(7, graph({}));
  assert.equal(formatOf(sound), 'ONNX');
  assert.equal(formatOf(prefixed(6, 'two\nlines, ünïcode'), sound), 'ONNX');
  assert.equal(formatOf(prefixed(2, 'x'.repeat(5000)), sound), 'ONNX', 'a string longer than the head');
  assert.equal(formatOf(prefixed(2, 'a\x01'), sound), 'Binary');
  assert.equal(formatOf(prefixed(2, 'name')), 'Binary', 'no graph');
  assert.equal(formatOf(prefixed(8, ramp(5000, 0)), sound), 'Binary', 'a graph behind 4 KiB that are not text');
  assert.equal(formatOf(prefixed(7, prefixed(3, 'x'))), 'Binary', 'a field graphs do not have');
  assert.equal(formatOf(prefixed(7, number(1, 1))), 'Binary', 'a node as a number');
  assert.equal(formatOf(prefixed(7, prefixed(1, [1], 9)), sound), 'Binary', 'a node that leaves the graph');
  assert.equal(formatOf(prefixed(7, [0x0a])), 'Binary', 'a graph of one byte');
});

test('random bytes are not ONNX, even those that begin with an ir_version', () => {
  let state = 0x2545f491;
  const random = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 11) & 255;
  };
  const head = new Uint8Array(64);
  let plain = 0;
  let versioned = 0;
  for (let i = 0; i < 200_000; i++) {
    for (let at = 0; at < head.length; at++) head[at] = random();
    if (detectFormatOf(head, 1 << 24) === 'ONNX') plain++;
    head.set([0x08, 0x08]);
    if (detectFormatOf(head, 1 << 24) === 'ONNX') versioned++;
  }
  assert.equal(plain, 0);
  assert.ok(versioned < 100, `${versioned} of 200,000 that begin with a version`);
});

// Real models, where they lie beside the checkout.

const MODELS = new URL('../../../shared/models/', import.meta.url);
const REAL_PAIRS = 6;
const OTHER_FILES = 80;

interface ManifestEntry {
  readonly name: string;
  readonly format: string;
  readonly tensor_stats: { readonly tensors_old: number; readonly tensors_new: number };
}

test('real models: as many tensors as the manifest counts in every ONNX pair', (t) => {
  if (!existsSync(MODELS)) return t.skip(`${REAL_PAIRS} ONNX pairs skipped: no ../shared/models beside the repository`);
  const manifest = JSON.parse(readFileSync(new URL('manifest.json', MODELS), 'utf8')) as ManifestEntry[];
  const pairs = manifest.filter((entry) => entry.format === 'onnx');
  assert.equal(pairs.length, REAL_PAIRS);
  for (const { name, tensor_stats: expected } of pairs) {
    const counts = ['old', 'new'].map((side) => {
      const bytes = readFileSync(new URL(`${name}/${side}.onnx`, MODELS));
      const layout = readLayout(new MemorySource(bytes));
      assert.equal(layout.format, 'ONNX', layout.warning ?? '');
      assertSound(layout, bytes.length);
      return tensorCount(layout);
    });
    assert.deepEqual(counts, [expected.tensors_old, expected.tensors_new], name);
  }
});

test('real models of other formats are not taken for ONNX', (t) => {
  if (!existsSync(MODELS)) return t.skip(`${OTHER_FILES} files skipped: no ../shared/models beside the repository`);
  const files = readdirSync(MODELS, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /(old|new)\.(?!onnx)\w+$/.test(name),
  );
  assert.equal(files.length, OTHER_FILES);
  for (const name of files) {
    assert.notEqual(detectFormat(new MemorySource(readFileSync(new URL(name, MODELS)))), 'ONNX', name);
  }
});
