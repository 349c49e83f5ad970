import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromHex, toHex } from './hex.js';

test('every byte survives the way to hex and back, in either case', () => {
  const all = Uint8Array.from({ length: 256 }, (_, i) => i);
  const text = toHex(all);
  assert.equal(text, Buffer.from(all).toString('hex'));
  assert.deepEqual(fromHex(text), all);
  assert.deepEqual(fromHex(text.toUpperCase()), all);
  assert.equal(toHex(new Uint8Array(0)), '');
});

test('text that is not pairs of hex digits is refused with its position', () => {
  assert.throws(() => fromHex('abc'), /even number of hex digits, got 3/);
  for (const [text, at] of [
    ['0g', 1],
    [' 1', 0],
    ['+1', 0],
    ['00/0', 2],
    ['0:', 1],
    ['0@', 1],
    ['0\u0130', 1],
  ] as const) {
    assert.throws(
      () => fromHex(text),
      (error) => error instanceof RangeError && error.message.includes(`position ${at}`),
    );
  }
});
