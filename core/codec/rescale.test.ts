import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readI32 } from '../bytes.js';
import { noise } from '../patch/build-patch.test.js';
import { type ChannelPlaces, findRatios, MAX_PLACE } from './rescale.js';

const float = new Float32Array(1);
const floatBits = new Int32Array(float.buffer);

function floatAt(bytes: Uint8Array, index: number): number {
  floatBits[0] = readI32(bytes, 4 * index);
  return float[0]!;
}

/** As SPEC.md has it, "Rescaled tensors". */
function ratioOf(places: ChannelPlaces, ratios: Uint8Array, element: number): number {
  const { scaleCount, inner, group, outer, crossCount, crossInner } = places;
  const stretch = BigInt(Math.floor(element / outer)) * BigInt(group);
  const channel = Number((stretch + BigInt(Math.floor(element / inner) % group)) % BigInt(scaleCount));
  const cross = scaleCount + (Math.floor(element / crossInner) % crossCount);
  const product = Math.fround(floatAt(ratios, channel) * (crossCount > 0 ? floatAt(ratios, cross) : 1));
  return product === 0 || !Number.isFinite(product) ? 1 : product;
}

test('every element gets the ratio of its place, wherever a run begins and whatever the ratios', () => {
  const stride = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: MAX_PLACE }));
  const places = fc.record({
    scaleCount: fc.integer({ min: 1, max: 30 }),
    inner: stride,
    group: fc.oneof(fc.constant(1), stride),
    outer: stride,
    crossCount: fc.nat(4),
    crossInner: stride,
    phase: fc.constant(0),
    zero: fc.constant(0),
    oldZero: fc.constant(0),
  });
  const first = fc.oneof(fc.nat(1000), fc.nat(MAX_PLACE));
  fc.assert(
    fc.property(places, first, fc.integer({ min: 1, max: 200 }), fc.nat(1e6), (place, start, count, seed) => {
      // Random bytes hold NaNs, infinities and products that overflow, but hardly a zero.
      const ratios = noise(4 * (place.scaleCount + place.crossCount), seed + 1);
      ratios.fill(0, 0, 4);
      const found = new Float32Array(count);
      findRatios(place, ratios, start, found);
      found.forEach((ratio, i) => {
        assert.equal(ratio, ratioOf(place, ratios, start + i), `element ${start + i}`);
      });
    }),
    { numRuns: 1000, seed: 1 },
  );
});
