/** Gaps between changed elements, encoded and decoded again. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Prng } from '../../targets/sim/prng.js';
import { CLASSES, decoderOf, encodeWith } from './coder-rig.test.js';
import type { ContextLayout } from './context-layout.js';
import { SparseModel } from './sparse-model.js';

function encode(layout: ContextLayout, gaps: readonly number[]): Uint8Array {
  return encodeWith(layout, (coder) => {
    const model = new SparseModel(coder, layout);
    model.begin();
    for (const gap of gaps) assert.equal(model.gap(gap), gap);
  });
}

const BITS_OF_ONE_IN_100 = 8.08;

for (const { name, layout } of CLASSES) {
  describe(`gaps of ${name}`, () => {
    test('come back as they were, of any size', () => {
      fc.assert(
        fc.property(fc.array(fc.oneof(fc.nat(5), fc.nat(3000), fc.nat(2 ** 25 - 2))), (gaps) => {
          const model = new SparseModel(decoderOf(layout, encode(layout, gaps)), layout);
          model.begin();
          assert.deepEqual(
            gaps.map(() => model.gap(0)),
            gaps,
          );
        }),
      );
    });

    test('between independent changes of one element in 100 cost less than 3 % above their entropy', () => {
      const prng = new Prng(7);
      const gaps = Array.from({ length: 20_000 }, () =>
        Math.floor(Math.log1p(-prng.next() / 2 ** 32) / Math.log(0.99)),
      );
      assert.ok((encode(layout, gaps).length * 8) / gaps.length < 1.03 * BITS_OF_ONE_IN_100);
    });

    test('of a hostile payload are some numbers', () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 200 }), (payload) => {
          const model = new SparseModel(decoderOf(layout, payload), layout);
          model.begin();
          for (let i = 0; i < 100; i++) {
            const gap = model.gap(0);
            assert.ok(Number.isInteger(gap) && gap >= 0 && gap < 2 ** 33);
          }
        }),
      );
    });
  });
}
