import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TokenBucket } from './pace.js';

const SIGNAL = new AbortController().signal;

/** A clock that stands still but for who sleeps on it. */
function bucketOf(bytesPerSecond: number) {
  const clock = { ms: 0 };
  const sleep = async (ms: number) => {
    clock.ms += ms;
  };
  return { clock, bucket: new TokenBucket(bytesPerSecond, { nowMs: () => clock.ms, sleep }) };
}

describe('token bucket', () => {
  it('lets through exactly its rate, however large the pieces', async () => {
    for (const piece of [1, 100, 1000, 64_000]) {
      const { clock, bucket } = bucketOf(1000);
      for (let taken = 0; taken < 64_000; taken += piece) await bucket.take(piece, SIGNAL);
      assert.ok(Math.abs(clock.ms - 64_000) < 1e-3, `${piece}: ${clock.ms}`);
    }
  });

  it('begins empty: a restart gives nothing for free', async () => {
    const { clock, bucket } = bucketOf(1000);
    await bucket.take(500, SIGNAL);
    assert.equal(clock.ms, 500);
  });

  it('saves up a second and no more', async () => {
    const { clock, bucket } = bucketOf(1000);
    clock.ms += 3_600_000;
    await bucket.take(1000, SIGNAL);
    assert.equal(clock.ms, 3_600_000);
    await bucket.take(1000, SIGNAL);
    assert.equal(clock.ms, 3_601_000);
  });

  it('ends its wait when it is told to', async () => {
    const abort = new AbortController();
    const waiting = new TokenBucket(1).take(3600, abort.signal);
    abort.abort(new Error('parked'));
    await assert.rejects(waiting);
  });
});
