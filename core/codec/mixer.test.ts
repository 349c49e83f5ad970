import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SHARES } from './mixer.js';

/** A map's probability has 22 bits. */
const MOST = 0x3fffff;

test('a share of a difference is the exact quotient cut off, by whole quotients and next to them', () => {
  for (let seen = 0; seen < SHARES.length; seen++) {
    const divisor = 2 * seen + 3;
    const step = Math.max(1, Math.floor(MOST / divisor / 64));
    for (let whole = 0; whole * divisor <= 2 * MOST; whole += step) {
      for (const difference of [
        Math.floor((whole * divisor) / 2),
        Math.ceil((whole * divisor) / 2) - 1,
        MOST - whole,
      ]) {
        // 2 d / (2 n + 3) in whole numbers, which a double's product with SHARES must not miss.
        const doubled = 2 * Math.max(0, Math.min(MOST, difference));
        const exact = (doubled - (doubled % divisor)) / divisor;
        assert.equal(((doubled / 2) * SHARES[seen]!) | 0, exact);
        assert.equal(((-doubled / 2) * SHARES[seen]!) | 0, -exact | 0);
      }
    }
  }
});
