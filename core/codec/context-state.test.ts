/** States of class 0's contexts: quick while young, never certain, and the same in both ends of the coder. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contextState, grown, LEAST, MOST, settled, YOUNG_BITS } from './context-state.js';

const EVEN = contextState(1024, 0);

function after(bits: readonly number[], shift = 5): number {
  return bits.reduce((state, bit) => ((state & 1) === 1 ? grown(state, bit) : settled(state, bit, shift)), EVEN);
}

test('a context knows most of what it will after a few bits', () => {
  assert.ok(after([0, 0, 0]) / 65536 > 0.85);
  assert.ok(after([1, 1, 1]) / 65536 < 0.15);
  assert.ok(Math.abs(after([0, 1, 0, 1, 0, 1, 0, 1]) / 65536 - 0.5) < 0.1);
});

test('a context is young for sixteen bits and settled ever after', () => {
  for (let seen = 0; seen < 40; seen++) {
    const bits = Array.from({ length: seen }, (_, i) => (i % 3 === 0 ? 1 : 0));
    assert.equal(after(bits) & 1, seen < YOUNG_BITS ? 1 : 0, `${seen} bits`);
  }
});

test('every state that can be reached stays within its bounds, at every rate', () => {
  for (const shift of [4, 5, 6, 7]) {
    const reached = new Set([EVEN]);
    for (const state of reached) {
      for (const bit of [0, 1]) {
        const next = (state & 1) === 1 ? grown(state, bit) : settled(state, bit, shift);
        assert.ok(Number.isInteger(next) && next >= LEAST && next <= MOST, `${state} and ${bit} give ${next}`);
        reached.add(next);
      }
    }
  }
});

test('what always happens is taken for as likely as the coder can say, both ways', () => {
  for (const shift of [4, 5, 6, 7]) {
    assert.equal(after(new Array<number>(4000).fill(0), shift), MOST);
    assert.equal(after(new Array<number>(4000).fill(1), shift), LEAST);
  }
});
