import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CAST_F16, CAST_I8, CAST_I32 } from '../codec/cast.js';
import type { Tensor } from '../formats/model.js';
import { castScales } from './cast-scales.js';

function tensorOf(shape: readonly number[], scaleAxis: number, scales: readonly number[]): Tensor {
  const length = shape.reduce((product, size) => product * size, 1);
  return { name: 'w', aliases: [], dtype: 'i8', shape, offset: 0, length, scales, scaleAxis };
}

/** One scale per channel, each another. */
function perChannel(shape: readonly number[], scaleAxis: number): Tensor {
  return tensorOf(
    shape,
    scaleAxis,
    Array.from({ length: shape[scaleAxis]! }, (_, channel) => channel + 1),
  );
}

/** The channel of a tensor's element, by dividing its index into coordinates. */
function channelOf({ shape, scaleAxis }: Tensor, element: number): number {
  let rest = element;
  for (let axis = shape.length - 1; axis > scaleAxis; axis--) rest = Math.floor(rest / shape[axis]!);
  return rest % shape[scaleAxis]!;
}

test('a run of any length, cut anywhere, finds the scale of each element: axis first, in the middle and last', () => {
  const cases = fc.record({
    shape: fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 3, maxLength: 4 }),
    axis: fc.nat(3),
    from: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  fc.assert(
    fc.property(cases, ({ shape, axis, from, share }) => {
      const tensor = perChannel(shape, Math.min(axis, shape.length - 1));
      const first = Math.floor(from * tensor.length);
      const count = Math.max(1, Math.floor(share * (tensor.length - first)));
      const { bytes, inner, phase } = castScales(tensor, CAST_I8, first, count)!;
      const scales = new Float32Array(bytes.slice().buffer);
      const used = new Set<number>();
      for (let e = 0; e < count; e++) {
        const expected = channelOf(tensor, first + e);
        used.add(expected);
        assert.equal(scales[Math.floor((phase + e) / inner) % scales.length], expected + 1, `element ${first + e}`);
      }
      assert.ok(scales.length === used.size || scales.length === tensor.scales.length, 'no more than needed, or all');
    }),
    { numRuns: 2000 },
  );
});

test('a run inside a few channels carries only their scales', () => {
  const tensor = perChannel([1000, 9], 0);
  const { bytes, inner, phase } = castScales(tensor, CAST_I32, 100 * 9 + 4, 20)!;
  assert.deepEqual([...new Float32Array(bytes.buffer)], [101, 102, 103]);
  assert.deepEqual([inner, phase], [9, 4]);
});

test('one scale is for all; casts that need none carry none', () => {
  const single = castScales(tensorOf([5, 5], 0, [0.5]), CAST_I8, 7, 3)!;
  assert.deepEqual([single.bytes.length, single.inner, single.phase], [4, 1, 0]);
  assert.equal(castScales(tensorOf([5, 5], 0, [0.5]), CAST_F16, 7, 3), null);
});
