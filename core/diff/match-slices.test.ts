import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CAST_Q8_0 } from '../codec/cast.js';
import type { DType, ModelFormat, Tensor } from '../formats/model.js';
import { MemorySource } from '../memory-source.js';
import { bytesOf, converted, tuned, weights } from './build-weights.test.js';
import { matchSlices } from './match-slices.js';
import type { ModelToMatch } from './match-tensors.js';

interface Part {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
  readonly dtype?: DType;
  readonly scales?: readonly number[];
}

/** The tensors one behind the other. */
function modelOf(parts: readonly Part[], format: ModelFormat = 'ONNX'): ModelToMatch {
  const bytes = new Uint8Array(parts.reduce((sum, { data }) => sum + data.length, 0));
  let offset = 0;
  const tensors = parts.map(({ name, shape, data, dtype = 'f32', scales = [] }): Tensor => {
    bytes.set(data, offset);
    offset += data.length;
    const place = { offset: offset - data.length, length: data.length };
    return { name, aliases: [], dtype, shape, ...place, scales, scaleAxis: 0 };
  });
  return { layout: { format, tensors, warning: null }, bytes: new MemorySource(bytes) };
}

/** Of each target tensor, what its parts' slices come from: [offset in the base or null, bytes]. */
function found(source: ModelToMatch, target: ModelToMatch): ([number | null, number][] | null)[] {
  const bases = target.layout.tensors.map(() => null);
  return matchSlices(source, target, bases).map(
    (parts) => parts?.map(({ tensor, base }) => [base === null ? null : base.offset, tensor.length]) ?? null,
  );
}

const COLUMNS = 48;
const OLD = weights(50 * COLUMNS, 1);
const rows = (values: Float32Array, from: number, until: number): number[] => [
  ...values.subarray(from * COLUMNS, until * COLUMNS),
];
const TRAINED = tuned(OLD, 2, 0.05);
const NEW = weights(10 * COLUMNS, 3);
const ROW = 4 * COLUMNS;

function matrix(values: readonly number[], name = 'w'): Part {
  return { name, shape: [values.length / COLUMNS, COLUMNS], data: bytesOf(Float32Array.from(values)) };
}

test('rows that were put in and taken out in one go are told from those that stayed, trained on or not', () => {
  for (const now of [OLD, TRAINED]) {
    const target = [
      ...rows(NEW, 0, 2),
      ...rows(now, 0, 20),
      ...rows(NEW, 2, 5),
      ...rows(now, 23, 50),
      ...rows(NEW, 5, 6),
    ];
    assert.deepEqual(found(modelOf([matrix([...OLD])]), modelOf([matrix(target)])), [
      [
        [null, 2 * ROW],
        [0, 20 * ROW],
        [null, 3 * ROW],
        [23 * ROW, 27 * ROW],
        [null, ROW],
      ],
    ]);
  }
});

test('what all rows have in common does not make strangers alike', () => {
  const common = weights(COLUMNS, 9);
  const shifted = (values: Float32Array): Float32Array => values.map((value, i) => value + 20 * common[i % COLUMNS]!);
  const target = [...rows(shifted(NEW), 0, 4), ...shifted(TRAINED)];
  assert.deepEqual(found(modelOf([matrix([...shifted(OLD)])]), modelOf([matrix(target)])), [
    [
      [null, 4 * ROW],
      [0, 50 * ROW],
    ],
  ]);
});

test('weights of another training have no parts, nor have tensors that differ in two axes or in type', () => {
  const source = modelOf([matrix([...OLD])]);
  const other = Float32Array.from(weights(55 * COLUMNS, 8));
  assert.deepEqual(found(source, modelOf([matrix([...other])])), [null]);
  const twice = { ...matrix([...TRAINED]), shape: [40, (50 * COLUMNS) / 40] };
  assert.deepEqual(found(source, modelOf([twice])), [null]);
  assert.deepEqual(found(source, modelOf([{ ...matrix([...OLD, ...rows(NEW, 0, 1)]), dtype: 'i32' }])), [null]);
});

test('a renamed tensor is found by its weights, a bias goes with the rows of its layer', () => {
  const bias = (count: number, name: string): Part => ({ name, shape: [count], data: bytesOf(weights(count, count)) });
  const source = modelOf([bias(50, 'b'), matrix([...weights(50 * COLUMNS, 6)], 'v'), matrix([...OLD], 'w')]);
  const target = modelOf([
    bias(51, 'b'),
    matrix([...rows(TRAINED, 0, 30), ...rows(NEW, 0, 1), ...rows(TRAINED, 30, 50)], 'x'),
  ]);
  const w = 200 + 50 * ROW;
  assert.deepEqual(found(source, target), [
    [
      [0, 120],
      [null, 4],
      [120, 80],
    ],
    [
      [w, 30 * ROW],
      [null, ROW],
      [w + 30 * ROW, 20 * ROW],
    ],
  ]);
});

test('columns are found too, and rows of blocks where the shape names the fastest axis first', () => {
  const wide = Float32Array.from({ length: 50 * 49 }, (_, i) =>
    i % 49 < 48 ? TRAINED[Math.floor(i / 49) * 48 + (i % 49)]! : 1,
  );
  const [columns] = found(modelOf([matrix([...OLD])]), modelOf([{ name: 'w', shape: [50, 49], data: bytesOf(wide) }]));
  assert.equal(columns!.length, 100);
  assert.deepEqual(columns!.slice(2, 4), [
    [ROW, ROW],
    [null, 4],
  ]);
  const blocks = (values: Float32Array): Part => ({
    ...{ name: 'token_embd', dtype: 'q8_0', shape: [96, values.length / 96], data: converted(values, CAST_Q8_0) },
  });
  const grown = Float32Array.from([...TRAINED.subarray(0, 960), ...NEW.subarray(0, 192), ...TRAINED.subarray(960)]);
  assert.deepEqual(found(modelOf([blocks(OLD)], 'GGUF'), modelOf([blocks(grown)], 'GGUF')), [
    [
      [0, 1020],
      [null, 204],
      [1020, 1530],
    ],
  ]);
});

test('scales go with their channels, also where these lie outside the axis that grew', () => {
  const allScales = Array.from({ length: 20 }, (_, i) => i + 1);
  const tensor = (columns: number, data: Float32Array): Part => ({
    ...{ name: 'w', shape: [20, columns], data: bytesOf(data), scales: allScales },
  });
  const old = weights(20 * 40, 4);
  const at = (i: number): number => Math.floor(i / 42) * 40 + (i % 42) - 2;
  const now = Float32Array.from({ length: 20 * 42 }, (_, i) => (i % 42 < 2 ? 0 : old[at(i)]!));
  const [columns] = matchSlices(modelOf([tensor(40, old)]), modelOf([tensor(42, now)]), [null]);
  assert.deepEqual(
    columns!.map(({ tensor: { shape, scales } }) => [shape, scales]),
    allScales.flatMap((scale) => [
      [[1, 2], [scale]],
      [[1, 40], [scale]],
    ]),
  );
  const fewer = { ...tensor(40, old.subarray(80)), shape: [18, 40], scales: allScales.slice(2) };
  const [rows] = matchSlices(modelOf([tensor(40, old)]), modelOf([fewer]), [null]);
  assert.deepEqual(
    rows!.map(({ base }) => [base!.offset, base!.scales]),
    [[320, allScales.slice(2)]],
  );
});
