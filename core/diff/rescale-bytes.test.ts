import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findRatios, rescaleInt8 } from '../codec/rescale.js';
import { noise } from '../patch/build-patch.test.js';
import { floatBytes, type RunScales } from './cast-scales.js';
import { rescaleBytes } from './rescale-bytes.js';

const LENGTH = 140_000;
const source = noise(LENGTH, 1);

function assertSame(scales: RunScales, done: number): void {
  const [wanted, wantedFractions] = [new Uint8Array(LENGTH), new Uint8Array(LENGTH)];
  const ratios = new Float32Array(LENGTH);
  findRatios(scales, scales.bytes, scales.phase + done, ratios);
  rescaleInt8(source, wanted, ratios, scales, wantedFractions);
  const [bytes, fractions] = [new Uint8Array(LENGTH), new Uint8Array(LENGTH)];
  rescaleBytes(scales, source, bytes, done, fractions);
  const about = JSON.stringify({ ...scales, bytes: null });
  assert.ok(Buffer.from(bytes).equals(Buffer.from(wanted)), about);
  assert.ok(Buffer.from(fractions).equals(Buffer.from(wantedFractions)), about);
  bytes.fill(0);
  rescaleBytes(scales, source, bytes, done, null);
  assert.ok(Buffer.from(bytes).equals(Buffer.from(wanted)), `${about}, without fractions`);
}

/** `count` ratios between 0.25 and 2. */
const ratios = (count: number): number[] => Array.from({ length: count }, (_, i) => 0.25 + ((i * 37) % 113) / 64);

test('whole pieces are predicted as the codec predicts them, whatever the places', () => {
  const zeros = [0, 3, 250, 256, 300, 511];
  let turn = 0;
  for (const scaleCount of [1, 16, 48])
    for (const crossCount of [0, 1, 24])
      for (const [inner, group, outer] of [
        [1, 1, 1],
        [96, 1, 96],
        [1, 16, 768],
        [2, 16, 100],
      ] as const)
        for (const phase of [0, 5, 777]) {
          const [zero, oldZero] = [zeros[turn % 6]!, zeros[(turn >> 1) % 6]!];
          const places = {
            scaleCount,
            crossCount,
            inner,
            group,
            outer,
            crossInner: 1 + (turn % 16),
            phase,
            zero,
            oldZero,
          };
          assertSame({ ...places, bytes: floatBytes(ratios(scaleCount + crossCount)) }, 128 * (turn++ % 5));
        }
});
