/** What is learnt from coded bits, and when a header is told of it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkPriors, PRIOR_UNKNOWN, Priors } from '../codec/priors.js';
import { RangeEncoder } from './range-encoder.js';
import { listOf, PriorTrainer } from './train-priors.js';

const CONTEXTS = 400;

/** A segment in which context `skewed` and its neighbours see one bit, over and over. */
function trace(skewed: number, bits: number): Uint32Array {
  return Uint32Array.from({ length: 20 * bits }, (_, i) => 2 * (skewed + (i % 20)) + 1);
}

function cost(own: Uint8Array, steps: Uint32Array): number {
  const encoder = new RangeEncoder(new Uint16Array(CONTEXTS), new Priors(new Uint8Array(0), own));
  encoder.begin();
  for (const step of steps) encoder.bit(step >> 1, step & 1);
  return encoder.finish().length;
}

test('priors learnt from segments make segments like them shorter', () => {
  const trainer = new PriorTrainer(CONTEXTS);
  for (let i = 0; i < 20; i++) trainer.add(trace(200, 10));
  const own = trainer.train(new Uint8Array(CONTEXTS).fill(PRIOR_UNKNOWN), 1);
  checkPriors(own, CONTEXTS);
  assert.ok(own.length > 20 && own.length < 30, `${own.length} bytes`);
  assert.ok(cost(own, trace(200, 10)) + 2 < cost(new Uint8Array(0), trace(200, 10)));
});

test('what would not pay for its bytes is not said', () => {
  const trainer = new PriorTrainer(CONTEXTS);
  trainer.add(trace(200, 1));
  assert.equal(trainer.train(new Uint8Array(CONTEXTS).fill(PRIOR_UNKNOWN), 1).length, 0);
  assert.equal(new PriorTrainer(CONTEXTS).train(new Uint8Array(CONTEXTS).fill(PRIOR_UNKNOWN), 1).length, 0);
});

test('a list leaves out what lies between, as long as it may be, and takes what pays', () => {
  const best = Uint8Array.from({ length: CONTEXTS }, (_, i) => i % 90);
  const gains = new Float64Array(CONTEXTS);
  gains[0] = 5;
  gains[1] = 5;
  gains[2] = 0.5;
  gains[3] = 5;
  gains[390] = 9;
  gains[395] = 0.9;
  const { bytes, gain } = listOf(best, gains, 1);
  // 387 contexts between take three bytes of at most 163.
  assert.deepEqual(bytes.slice(0, 4), [0, 1, 2, 3]);
  assert.equal(bytes.length, 4 + 3 + 1);
  assert.equal(bytes.at(-1), best[390]);
  assert.equal(gain, 24.5 - 8);
});
