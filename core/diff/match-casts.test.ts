import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CAST_F16, CAST_Q4_0, CAST_Q8_0 } from '../codec/cast.js';
import type { DType, Tensor } from '../formats/model.js';
import { MemorySource } from '../memory-source.js';
import { bytesOf, converted, quantised, weights } from './build-weights.test.js';
import { castTypes, matchBases, matchCasts } from './match-casts.js';
import type { ModelToMatch } from './match-tensors.js';

interface Part {
  readonly name: string;
  readonly dtype: DType;
  readonly bytes: Uint8Array;
  readonly shape?: readonly number[];
  readonly scales?: readonly number[];
}

/** The tensors one behind the other. */
function modelOf(parts: readonly Part[]): ModelToMatch {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.bytes.length, 0));
  let offset = 0;
  const tensors = parts.map(({ name, dtype, bytes: data, shape = [], scales = [] }): Tensor => {
    bytes.set(data, offset);
    offset += data.length;
    return { name, aliases: [], dtype, shape, offset: offset - data.length, length: data.length, scales, scaleAxis: 0 };
  });
  return { layout: { format: 'TFLite', tensors, warning: null }, bytes: new MemorySource(bytes) };
}

const LAYERS = [1, 2, 3, 4, 5].map((seed) => weights(640, seed));

function floats(names: string): ModelToMatch {
  return modelOf(LAYERS.map((layer, i) => ({ name: `${names}${i}`, dtype: 'f32', bytes: bytesOf(layer) })));
}

function halves(names: string, order: readonly number[]): ModelToMatch {
  return modelOf(order.map((i) => ({ name: `${names}${i}`, dtype: 'f16', bytes: converted(LAYERS[i]!, CAST_F16) })));
}

const namesOf = (bases: readonly (Tensor | null)[]): (string | null)[] => bases.map((base) => base?.name ?? null);

test('tensors released in another type are found, by name and where all names and places have changed', () => {
  assert.deepEqual(namesOf(matchBases(floats('w'), halves('w', [0, 1, 2, 3, 4]))), ['w0', 'w1', 'w2', 'w3', 'w4']);
  assert.deepEqual(namesOf(matchBases(floats('w'), halves('x', [3, 0, 4, 2, 1]))), ['w3', 'w0', 'w4', 'w2', 'w1']);
  assert.deepEqual(namesOf(matchBases(halves('h', [2, 4]), floats('w'))), [null, null, 'h2', null, 'h4']);
});

test('a namesake with other weights is passed over for the one that fits', () => {
  const misleading = modelOf(
    [2, 0].map((i, at) => ({ name: `w${at}`, dtype: 'f16' as const, bytes: converted(LAYERS[i]!, CAST_F16) })),
  );
  assert.deepEqual(namesOf(matchBases(floats('w'), misleading)), ['w2', 'w0']);
});

test('weights of another training are no cast, though type, size and name fit', () => {
  const other = modelOf(
    LAYERS.map((_, i) => ({ name: `w${i}`, dtype: 'f16' as const, bytes: converted(weights(640, 90 + i), CAST_F16) })),
  );
  assert.deepEqual(namesOf(matchBases(floats('w'), other)), [null, null, null, null, null]);
});

test('int8 weights are found by their scales, block types by what their blocks read as', () => {
  const { values, scales } = quantised(LAYERS[2]!, [10, 64], 0);
  const target = modelOf([
    { name: 'int8', dtype: 'i8', bytes: bytesOf(values), shape: [10, 64], scales },
    { name: 'q8', dtype: 'q8_0', bytes: converted(LAYERS[1]!, CAST_Q8_0) },
    { name: 'without scales', dtype: 'i8', bytes: bytesOf(values), shape: [10, 64] },
  ]);
  assert.deepEqual(namesOf(matchBases(floats('w'), target)), ['w2', 'w1', null]);
  const blocks = modelOf([{ name: 'a', dtype: 'q8_0', bytes: converted(LAYERS[1]!, CAST_Q8_0) }]);
  const smaller = modelOf([{ name: 'b', dtype: 'q4_0', bytes: converted(LAYERS[1]!, CAST_Q4_0) }]);
  assert.deepEqual(namesOf(matchBases(blocks, smaller)), ['a']);
});

test('what has a base already is left alone', () => {
  const [source, target] = [floats('w'), halves('w', [0, 1])];
  const given = source.layout.tensors[4]!;
  assert.deepEqual(namesOf(matchCasts(source, target, [given, null])), [null, 'w1']);
});

test('a tensor shorter than a run, and one of a single element, are compared whole', () => {
  const source = modelOf([
    { name: 'a', dtype: 'f32', bytes: bytesOf(weights(7, 1)) },
    { name: 'b', dtype: 'f32', bytes: bytesOf(weights(1, 2)) },
  ]);
  const target = modelOf([
    { name: 'x', dtype: 'f16', bytes: converted(weights(7, 1), CAST_F16) },
    { name: 'y', dtype: 'f16', bytes: converted(weights(1, 2), CAST_F16) },
  ]);
  assert.deepEqual(namesOf(matchBases(source, target)), ['a', 'b']);
});

test('no cast goes from integers, to the same type, or between other numbers of elements', () => {
  const of = (dtype: DType, length: number, scales: number[] = []): Tensor => ({
    ...{ name: '', aliases: [], shape: [length], offset: 0, scaleAxis: 0 },
    ...{ dtype, length, scales },
  });
  assert.notEqual(castTypes(of('f32', 400), of('f16', 200)), null);
  assert.equal(castTypes(of('f32', 400), of('f16', 204)), null);
  assert.equal(castTypes(of('f32', 400), of('f32', 400)), null);
  assert.equal(castTypes(of('i8', 100, [1]), of('f32', 400)), null);
  assert.equal(castTypes(of('f32', 400), of('i8', 100)), null);
  assert.equal(castTypes(of('f32', 400), of('u8', 100)), null);
  assert.notEqual(castTypes(of('f32', 400), of('u8', 100, [1])), null);
  assert.equal(castTypes(of('q4_k', 144), of('f16', 512)), null);
});
