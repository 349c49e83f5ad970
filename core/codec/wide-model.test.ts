/** The gateway's model of weights that were retrained: what it finds out by itself, by what that saves. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLASSES, decoderOf, elementModels, encodeWith } from './coder-rig.test.js';
import { ELEMENT_FLOAT16, ELEMENT_FLOAT32, ELEMENT_INT32 } from './elements.js';
import { floatToHalf } from './half.js';

const { layout } = CLASSES[1];

/** Between -1 and 1, the same at each run. */
function* uniform(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    yield state / 2 ** 31;
  }
}

function halves(values: readonly number[]): Uint8Array {
  const bits = new Int32Array(Float32Array.from(values).buffer);
  return new Uint8Array(Uint16Array.from(bits, floatToHalf).buffer);
}

function singles(values: readonly number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

/** Bytes of an op's payload, once it was seen to decode to the target. */
function cost(type: number, source: Uint8Array, target: Uint8Array, columns: number): number {
  const payload = encodeWith(layout, (coder) => {
    const models = elementModels(coder, layout);
    models.begin();
    models.beginOp(columns, 0, false);
    models.delta(type, source, target.slice());
  });
  const models = elementModels(decoderOf(layout, payload), layout);
  models.begin();
  models.beginOp(columns, 0, false);
  const out = new Uint8Array(target.length);
  models.delta(type, source, out);
  assert.deepEqual(out, target);
  return payload.length;
}

const ROWS = 48;
const COLUMNS = 64;
const COUNT = ROWS * COLUMNS;
const random = uniform(7);
const draw = (): number => random.next().value;
const weights = Array.from({ length: COUNT }, draw);
const rowOf = (i: number): number => Math.floor(i / COLUMNS);

test('rows that were each multiplied by a number cost little behind their first weights', () => {
  const scales = Array.from({ length: ROWS }, () => 1 + draw() / 2);
  const scaled = weights.map((weight, i) => weight * scales[rowOf(i)]!);
  const bytes = cost(ELEMENT_FLOAT16, halves(weights), halves(scaled), COLUMNS);
  // 11 bits each where only the old weight is known; the old weights are rounded, too, so that the last bit is open.
  assert.ok(bytes < (COUNT * 3) / 8, `${bytes} bytes`);
});

test('and so do columns', () => {
  const scales = Array.from({ length: COLUMNS }, () => 1 + draw() / 2);
  const scaled = weights.map((weight, i) => weight * scales[i % COLUMNS]!);
  const bytes = cost(ELEMENT_FLOAT16, halves(weights), halves(scaled), COLUMNS);
  assert.ok(bytes < (COUNT * 3) / 8, `${bytes} bytes`);
});

test('an update of rank 3 is found out, and one of full rank is not mistaken for it', () => {
  const left = Array.from({ length: 3 * ROWS }, draw);
  const right = Array.from({ length: 3 * COLUMNS }, draw);
  const merged = weights.map((weight, i) => {
    let sum = weight;
    for (let k = 0; k < 3; k++) sum += 0.02 * left[3 * rowOf(i) + k]! * right[3 * (i % COLUMNS) + k]!;
    return sum;
  });
  const low = cost(ELEMENT_FLOAT32, singles(weights), singles(merged), COLUMNS);
  const full = cost(
    ELEMENT_FLOAT32,
    singles(weights),
    singles(weights.map((weight) => weight + 0.02 * draw())),
    COLUMNS,
  );
  assert.ok(low < (COUNT * 7) / 8, `${low} bytes`);
  // 20.4 bits of each are noise.
  assert.ok(full > (COUNT * 20.3) / 8 && full < (COUNT * 20.8) / 8, `${full} bytes`);
});

test('values that no scale and no sum can hold', () => {
  const extremes = [3.4e38, -3.4e38, Number.POSITIVE_INFINITY, Number.NaN, 1e-45, 0, -0, 1, Number.NEGATIVE_INFINITY];
  const pick = (): number => extremes[Math.floor(((draw() + 1) / 2) * extremes.length)]!;
  const source = singles(Array.from({ length: COUNT }, pick));
  const target = singles(Array.from({ length: COUNT }, pick));
  cost(ELEMENT_FLOAT32, source, target, COLUMNS);
  cost(ELEMENT_FLOAT16, source, target, COLUMNS);
  cost(ELEMENT_INT32, source, target, COLUMNS);
});
