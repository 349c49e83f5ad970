/** Priors: what lists say, what is refused, and that coders start from them at every segment. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { InvalidPatch } from '../errors.js';
import { rangeDecoder, rangeEncoder } from './coder-rig.test.js';
import { contextState, SETTLED_SHIFT } from './context-state.js';
import { checkPriors, PRIOR_LEVELS, PRIOR_SEEN, PRIOR_UNKNOWN, Priors, priorState } from './priors.js';

const NONE = new Uint8Array(0);

function filled(defaults: readonly number[], own: readonly number[], contexts = 6): number[] {
  const state = new Uint16Array(contexts).fill(7);
  new Priors(Uint8Array.from(defaults), Uint8Array.from(own)).fill(state);
  return [...state];
}

test('a prior names a probability and how many bits it was learnt from', () => {
  PRIOR_SEEN.forEach((seen, i) => {
    PRIOR_LEVELS.forEach((level, j) => {
      assert.equal(priorState(i * PRIOR_LEVELS.length + j), contextState(level, seen));
    });
  });
  assert.equal(priorState(PRIOR_UNKNOWN), contextState(1024, 0));
  PRIOR_LEVELS.forEach((level, i) => {
    assert.equal(level + PRIOR_LEVELS.at(-1 - i)!, 2048);
  });
});

describe('lists', () => {
  const unknown = priorState(PRIOR_UNKNOWN);

  test('none leave every context in the dark', () => {
    assert.deepEqual(filled([], []), new Array<number>(6).fill(unknown));
  });

  test('bytes up to 92 are priors, others leave contexts out, and the header goes over the defaults', () => {
    const defaults = [3, 94, 50];
    assert.deepEqual(filled(defaults, []), [priorState(3), unknown, unknown, priorState(50), unknown, unknown]);
    const own = [6, 93, 70, 93, 92, 4];
    assert.deepEqual(filled(defaults, own), [priorState(3), priorState(70), unknown, unknown, priorState(4), unknown]);
  });

  test('the first byte of a header’s is the rate of settled contexts', () => {
    assert.equal(new Priors(NONE, NONE).shift, SETTLED_SHIFT);
    assert.equal(new Priors(NONE, Uint8Array.of(7)).shift, 7);
  });
});

test('priors of a header are refused where their rate or their length cannot be', () => {
  const check = (...own: number[]) => checkPriors(Uint8Array.from(own), 6);
  const isBadHeader = (error: unknown): boolean => error instanceof InvalidPatch && error.code === 'BAD_HEADER';
  for (const own of [[3], [8], [255], [5, 1, 1, 1, 1, 1, 1, 1], [5, 99], [5, 92 + 6, 0]]) {
    assert.throws(() => check(...own), isBadHeader, `${own}`);
  }
  for (const own of [[], [4], [7], [5, 1, 1, 1, 1, 1, 1], [5, 98], [5, 92 + 5, 0]]) check(...own);
});

test('both coders start from the priors, each segment anew', () => {
  const priors = new Priors(Uint8Array.of(0, 22), Uint8Array.of(6, 93, 1));
  const encoder = rangeEncoder(new Uint16Array(3), false, priors);
  const decoder = rangeDecoder(new Uint16Array(3), false, priors);
  const bits = Array.from({ length: 3000 }, (_, i) => ((i * 7) % 11 < 3 ? 1 : 0));
  for (let segment = 0; segment < 2; segment++) {
    encoder.begin();
    bits.forEach((bit, i) => void encoder.bit(i % 3, bit));
    const payload = encoder.finish().slice();
    decoder.begin(payload);
    bits.forEach((bit, i) => void assert.equal(decoder.bit(i % 3), bit));
  }
});
