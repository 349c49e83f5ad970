import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { writeU16 } from '../bytes.js';
import { quantisedBlocks } from '../diff/build-blocks.test.js';
import { weights } from '../diff/build-weights.test.js';
import { noise } from '../patch/build-patch.test.js';
import { getNumber } from './block-layout.js';
import { CAST_LAYOUTS } from './cast.js';
import { type BlockCoder, BlockWalk, KNOWING_CODER, PLAIN_CODER } from './requantise.js';

const LAYOUTS = CAST_LAYOUTS.flatMap((layout, type) => (layout === null ? [] : [{ layout, type }]));
/** Zero of both signs, the least and greatest numbers, infinities and NaNs. */
const HOSTILE = [0, 0x8000, 1, 0x8001, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0xffff, 0x3c00];

test('blocks of any bytes, and of hostile scales, come back from their differences', () => {
  const cases = fc.record({
    which: fc.nat(LAYOUTS.length - 1),
    seed: fc.integer({ min: 1, max: 1e6 }),
    scales: fc.array(fc.constantFrom(...HOSTILE), { minLength: 4, maxLength: 4 }),
    isHostile: fc.boolean(),
  });
  fc.assert(
    fc.property(cases, ({ which, seed, scales, isHostile }) => {
      const { layout } = LAYOUTS[which]!;
      const source = noise(layout.bytes, seed);
      const target = noise(layout.bytes, seed + 1);
      [source, target].forEach((bytes, side) => {
        [layout.scale, layout.shift].forEach((at, i) => {
          if (isHostile && at >= 0) writeU16(bytes, at, scales[2 * side + i]!);
        });
      });
      const walk = new BlockWalk(layout);
      const residual = new Uint8Array(layout.bytes);
      const kept = target.slice();
      walk.code(layout, source, target, KNOWING_CODER, residual);
      assert.deepEqual(target, kept, 'the target is only read');
      walk.code(layout, source, residual, PLAIN_CODER, null);
      assert.deepEqual(residual, target);
    }),
    { numRuns: 3000 },
  );
});

test('a coder is told predictions within range, and fractions within theirs, of any bytes', () => {
  for (const { layout } of LAYOUTS) {
    for (let seed = 1; seed < 40; seed++) {
      let numbers = 0;
      const coder: BlockCoder = {
        half: (_, now) => now,
        level(predicted, fraction, bits, isQuant, now) {
          const least = (isQuant ? layout.quants : layout.parts!).signed ? -(1 << (bits - 1)) : 0;
          assert.ok(predicted >= least && predicted < least + (1 << bits), `${predicted}`);
          assert.ok(Number.isInteger(fraction) && fraction >= 0 && fraction < 16, `${fraction}`);
          numbers++;
          return now;
        },
      };
      new BlockWalk(layout).code(layout, noise(layout.bytes, seed), noise(layout.bytes, 99 + seed), coder, null);
      assert.equal(numbers, layout.quants.count + (layout.parts?.count ?? 0));
    }
  }
});

for (const { layout, type } of LAYOUTS.filter(({ layout: { scale } }) => scale >= 0)) {
  test(`type ${type}: weights quantised again with other scales are mostly predicted, and not without`, () => {
    const values = weights(256 * 40, 3);
    // One weight in each block grows, and takes the scale with it.
    const grown = values.map((value, i) => (i % layout.quants.count === 5 ? value * 0.3 + 0.21 : value));
    const [source, target] = [quantisedBlocks(type, values), quantisedBlocks(type, grown)];
    let [right, same, all] = [0, 0, 0];
    const coder: BlockCoder = {
      half: (_, now) => now,
      level(predicted, _fraction, _bits, isQuant, now) {
        if (isQuant && predicted === now) right++;
        return now;
      },
    };
    const walk = new BlockWalk(layout);
    for (let at = 0; at < source.length; at += layout.bytes) {
      const [old, now] = [source.subarray(at, at + layout.bytes), target.slice(at, at + layout.bytes)];
      walk.code(layout, old, now, coder, null);
      for (let i = 0; i < layout.quants.count; i++, all++)
        if (getNumber(old, layout.quants, i) === getNumber(now, layout.quants, i)) same++;
    }
    assert.ok(right / all > 0.6, `${right} of ${all} predicted`);
    assert.ok(right > same, `${same} of ${all} are as they were`);
  });
}

test('the fraction tells which way a wrong prediction errs', () => {
  const { layout, type } = LAYOUTS.find((one) => one.type === 5)!;
  const values = weights(32 * 400, 8);
  const grown = values.map((value, i) => (i % 32 === 5 ? value + 0.1 : value * 1.01));
  const [source, target] = [quantisedBlocks(type, values), quantisedBlocks(type, grown)];
  const errors = { below: 0, above: 0 };
  const walk = new BlockWalk(layout);
  for (let at = 0; at < source.length; at += layout.bytes) {
    const coder: BlockCoder = {
      half: (_, now) => now,
      level(predicted, fraction, _bits, _isQuant, now) {
        if (fraction < 3 && now !== predicted) errors.below += now < predicted ? 1 : -1;
        if (fraction > 12 && now !== predicted) errors.above += now > predicted ? 1 : -1;
        return now;
      },
    };
    walk.code(layout, source.subarray(at, at + layout.bytes), target.slice(at, at + layout.bytes), coder, null);
  }
  assert.ok(errors.below > 20 && errors.above > 20, JSON.stringify(errors));
});
