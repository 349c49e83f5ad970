import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseDesired } from './desired.js';
import { takesPart, turnDelayMs } from './rollout.js';

const NAMES = Array.from({ length: 10_000 }, (_, at) => `gw-${at}`);
const TARGET = 'ab'.repeat(32);

function wanted(rollout: unknown, targetSha256 = TARGET) {
  const document = { model: 'm', version: '1', targetSha256, patches: [], rollout };
  const wish = parseDesired(new TextEncoder().encode(JSON.stringify(document)));
  assert.ok(wish.kind === 'want', JSON.stringify(wish));
  return wish.desired;
}

const taking = (fraction: number, target?: string) => {
  const desired = wanted({ fraction }, target);
  return NAMES.filter((name) => takesPart(name, desired));
};

describe('rollout', () => {
  it('takes the fraction of 10,000 devices, within four standard deviations', () => {
    for (const fraction of [0.01, 0.1, 0.25, 0.5, 0.9]) {
      const expected = NAMES.length * fraction;
      const deviation = Math.sqrt(expected * (1 - fraction));
      assert.ok(
        Math.abs(taking(fraction).length - expected) < 4 * deviation,
        `${fraction}: ${taking(fraction).length}`,
      );
    }
  });

  it('takes nobody at 0 and everybody at 1, and everybody without a rollout', () => {
    assert.equal(taking(0).length, 0);
    assert.equal(taking(1).length, NAMES.length);
    assert.ok(NAMES.every((name) => takesPart(name, wanted(undefined))));
  });

  it('lets more in and none out as the fraction grows', () => {
    let before: string[] = [];
    for (const fraction of [0, 0.001, 0.1, 0.5, 0.51, 1]) {
      const now = new Set(taking(fraction));
      assert.ok(before.every((name) => now.has(name)));
      before = [...now];
    }
  });

  it('takes other devices first for another target', () => {
    const first = new Set(taking(0.1));
    const both = taking(0.1, 'cd'.repeat(32)).filter((name) => first.has(name));
    assert.ok(both.length < 200, `${both.length} of about 1,000 are in both, expected about 100`);
  });

  it('spreads turns evenly over its window, the same for a device each time', () => {
    const desired = wanted({ fraction: 0.5, windowSeconds: 600 });
    const turns = NAMES.filter((name) => takesPart(name, desired)).map((name) => turnDelayMs(name, desired));
    assert.ok(turns.every((ms) => ms >= 0 && ms < 600_000 && ms % 1000 === 0));
    for (let tenth = 0; tenth < 10; tenth++) {
      const here = turns.filter((ms) => Math.floor(ms / 60_000) === tenth).length;
      assert.ok(Math.abs(here - turns.length / 10) < 4 * Math.sqrt(turns.length * 0.09), `${tenth}: ${here}`);
    }
    assert.equal(turnDelayMs('gw-1', desired), turnDelayMs('gw-1', desired));
    assert.equal(turnDelayMs('gw-1', wanted({ fraction: 1 })), 0);
  });

  it('is known from the documents of other programs: SHA-256 of the device, a line feed and the target, its first 32 bits', () => {
    assert.equal(turnDelayMs('gw-1', wanted({ fraction: 1, windowSeconds: 604_800 })), 277_174 * 1000);
  });
});
