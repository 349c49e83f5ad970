import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Headway } from './headway.js';

describe('the headway of a transfer', () => {
  it('is judged when a window is over, not before', () => {
    const headway = new Headway(10, 1000);
    assert.equal(headway.came(1, 999), true);
    assert.equal(headway.came(1, 1), false);
  });

  it('is enough at the least rate, and too little a byte below', () => {
    assert.equal(new Headway(10, 1000).came(10, 1000), true);
    assert.equal(new Headway(10, 1000).came(9, 1000), false);
    assert.equal(new Headway(10, 1000).came(19, 2000), false);
  });

  it('begins anew with each window: what came quickly at first does not pay for silence later', () => {
    const headway = new Headway(10, 1000);
    assert.equal(headway.came(1_000_000, 1000), true);
    assert.equal(headway.came(1, 1000), false);
  });

  it('is any where nothing is asked for', () => {
    assert.equal(new Headway(0, 1000).came(0, 5000), true);
  });
});
