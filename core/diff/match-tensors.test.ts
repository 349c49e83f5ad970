import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DType, Tensor } from '../formats/model.js';
import { type ModelToMatch, matchTensors } from './match-tensors.js';

interface Part {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array | Int8Array;
  readonly aliases?: readonly string[];
}

/** Lays tensors one after another, and counts reads. */
function model(parts: readonly Part[]): ModelToMatch & { reads: number; bytesRead: number } {
  const tensors: Tensor[] = [];
  const chunks: Buffer[] = [];
  let offset = 0;
  for (const { name, shape, values, aliases = [] } of parts) {
    const dtype: DType = values instanceof Int8Array ? 'i8' : 'f32';
    tensors.push({ name, aliases, dtype, shape, offset, length: values.byteLength, scales: [], scaleAxis: 0 });
    chunks.push(Buffer.from(values.buffer, values.byteOffset, values.byteLength));
    offset += values.byteLength;
  }
  const file = Buffer.concat(chunks);
  const counted = {
    layout: { format: 'Binary' as const, tensors, warning: null },
    reads: 0,
    bytesRead: 0,
    bytes: {
      size: file.length,
      read(at: number, into: Uint8Array) {
        assert.ok(at >= 0 && at + into.length <= file.length, 'read outside the file');
        counted.reads++;
        counted.bytesRead += into.length;
        into.set(file.subarray(at, at + into.length));
      },
    },
  };
  return counted;
}

/** Numerical Recipes' LCG, as a rough Gaussian: the same values everywhere. */
function noise(seed: number, length: number): Float32Array {
  let state = seed * 7919 + 1;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  return Float32Array.from({ length }, () => uniform() + uniform() + uniform());
}

/** The same weights after a light fine-tune. */
function tuned(values: Float32Array, seed: number, step = 0.05): Float32Array {
  const change = noise(seed, values.length);
  return values.map((value, i) => value + step * change[i]!);
}

const names = (source: readonly Part[], target: readonly Part[]) =>
  matchTensors(model(source), model(target)).map((tensor) => tensor?.name ?? null);

const shape = [10, 50];
const A = noise(1, 500);
const B = noise(2, 500);
const C = noise(3, 500);

test('fine-tuned tensors match by name, in any order', () => {
  const source = [
    { name: 'a', shape, values: A },
    { name: 'b', shape, values: B },
  ];
  const target = [
    { name: 'b', shape, values: tuned(B, 9) },
    { name: 'a', shape, values: tuned(A, 8) },
  ];
  assert.deepEqual(names(source, target), ['b', 'a']);
});

test('renamed tensors are found by likeness, not by order', () => {
  const source = [
    { name: 'a', shape, values: A },
    { name: 'b', shape, values: B },
    { name: 'c', shape, values: C },
  ];
  const target = [
    { name: 'x', shape, values: tuned(C, 7) },
    { name: 'y', shape, values: tuned(A, 8) },
    { name: 'z', shape, values: tuned(B, 9) },
  ];
  assert.deepEqual(names(source, target), ['c', 'a', 'b']);
});

test('names that moved on to other layers give way to the data', () => {
  // A layer was put in front: conv_1 is now called conv_2.
  const source = [
    { name: 'conv_1', shape, values: A },
    { name: 'conv_2', shape, values: B },
  ];
  const target = [
    { name: 'conv_1', shape, values: C },
    { name: 'conv_2', shape, values: tuned(A, 8) },
    { name: 'conv_3', shape, values: tuned(B, 9) },
  ];
  assert.deepEqual(names(source, target).slice(1), ['conv_1', 'conv_2']);
});

test('retrained from scratch, the name decides', () => {
  const source = [
    { name: 'a', shape, values: A },
    { name: 'b', shape, values: B },
  ];
  const target = [
    { name: 'b', shape, values: noise(11, 500) },
    { name: 'a', shape, values: noise(12, 500) },
  ];
  assert.deepEqual(names(source, target), ['b', 'a']);
});

test('renamed and retrained, place decides and no source serves twice', () => {
  const source = ['a', 'b', 'c'].map((name, i) => ({ name, shape, values: noise(20 + i, 500) }));
  const target = ['x', 'y', 'z'].map((name, i) => ({ name, shape, values: noise(30 + i, 500) }));
  assert.deepEqual(names(source, target), ['a', 'b', 'c']);
  assert.deepEqual(names(source.slice(0, 1), target), ['a', null, null]);
});

test('the same name with another size gives the like tensor of the same size, or nothing', () => {
  const source = [
    { name: 'head', shape: [500], values: A },
    { name: 'tail', shape: [100], values: noise(4, 100) },
  ];
  const target = [
    { name: 'head', shape: [100], values: tuned(noise(4, 100), 9) },
    { name: 'tail', shape: [300], values: noise(5, 300) },
  ];
  assert.deepEqual(names(source, target), ['tail', null]);
});

test('the same name and size in another shape matches only where the data agrees', () => {
  const source = [{ name: 'w', shape: [10, 50], values: A }];
  assert.deepEqual(names(source, [{ name: 'w', shape: [500], values: tuned(A, 9) }]), ['w']);
  assert.deepEqual(names(source, [{ name: 'w', shape: [50, 10], values: B }]), [null]);
});

test('another dtype of the same length is never proposed, be it all zeros', () => {
  const source = [{ name: 'w', shape: [2000], values: new Int8Array(2000) }];
  assert.deepEqual(names(source, [{ name: 'w', shape: [500], values: new Float32Array(500) }]), [null]);
});

test('of equal tensors each takes its namesake', () => {
  const zeros = new Float32Array(500);
  const source = ['a', 'b'].map((name) => ({ name, shape, values: zeros }));
  const target = ['b', 'a'].map((name) => ({ name, shape, values: zeros }));
  assert.deepEqual(names(source, target), ['b', 'a']);
});

test('a shared buffer is found by any of its names', () => {
  const source = [
    { name: 'a', shape, values: A },
    { name: 'b', aliases: ['c'], shape, values: B },
  ];
  assert.deepEqual(names(source, [{ name: 'c', shape, values: noise(9, 500) }]), ['b']);
});

test('tensors too small to compare match where equal, by name, or by place, not by chance likeness', () => {
  const of = (...values: number[]) => Int8Array.from(values);
  const source = [
    { name: 'p', shape: [4], values: of(1, 5, 2, 8) },
    { name: 'q', shape: [4], values: of(5, 1, 9, 3) },
  ];
  const equal = { name: 'x', shape: [4], values: of(5, 1, 9, 3) };
  const close = of(5, 2, 8, 3);
  assert.deepEqual(names(source, [equal, { name: 'p', shape: [4], values: close }]), ['q', 'p']);
  assert.deepEqual(names(source, [{ name: 'x', shape: [4], values: close }]), ['p']);
});

test('NaN, infinities and constants do not upset the comparison', () => {
  const odd = [A, B].map((values) => {
    const copy = values.slice();
    copy.set([NaN, Infinity, -Infinity, 3.4e38]);
    return copy;
  });
  const flat = new Float32Array(500).fill(0.5);
  const source = [flat, odd[0]!, odd[1]!].map((values, i) => ({ name: `s${i}`, shape, values }));
  const target = [tuned(odd[1]!, 9), tuned(odd[0]!, 8), flat].map((values, i) => ({ name: `t${i}`, shape, values }));
  assert.deepEqual(names(source, target), ['s2', 's1', 's0']);
});

test('no tensors on either side, no matches', () => {
  assert.deepEqual(names([], []), []);
  assert.deepEqual(names([], [{ name: 'a', shape, values: A }]), [null]);
});

test('4,000 tensors of one shape, all renamed: each is sampled once, with 1 KiB at most', () => {
  const parts = Array.from({ length: 4000 }, (_, i) => ({ name: `expert.${i}`, shape: [600], values: noise(i, 600) }));
  const source = model(parts);
  const target = model(
    parts.map(({ values, ...part }, i) => ({ ...part, name: `moe.${i}`, values: tuned(values, i + 5000) })),
  );
  const matches = matchTensors(source, target);
  assert.ok(matches.every((tensor, i) => tensor?.name === `expert.${i}`));
  for (const { bytesRead, layout } of [source, target])
    assert.ok(bytesRead <= layout.tensors.length * 1024, `${bytesRead} bytes`);
});
