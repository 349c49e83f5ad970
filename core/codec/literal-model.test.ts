/** The gateway's model of numbers that nothing predicts: what it learns of their size, by what that saves. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noise } from '../patch/build-patch.test.js';
import { CLASSES, elementModels, encodeWith } from './coder-rig.test.js';
import { ELEMENT_INT8, ELEMENT_INT32 } from './elements.js';

function cost(type: number, ...ops: readonly Uint8Array[]): number {
  const { layout } = CLASSES[1];
  return encodeWith(layout, (coder) => {
    const models = elementModels(coder, layout);
    models.begin();
    for (const op of ops) {
      models.beginOp(1, 0, false);
      models.literal(type, op.slice(), 0, 0);
    }
  }).length;
}

/** Numbers of `bits` bits, about zero. */
function numbers(count: number, bits: number, seed: number): Uint8Array {
  return noise(count, seed).map((byte) => ((byte << 24) >> 24) >> (8 - bits));
}

test('numbers of few bits cost about as many, although larger ones went before', () => {
  const large = numbers(2000, 8, 1);
  const small = numbers(2000, 3, 2);
  const bits = (8 * (cost(ELEMENT_INT8, large, small) - cost(ELEMENT_INT8, large))) / small.length;
  assert.ok(bits > 2.9 && bits < 3.4, `${bits} bits each`);
});

test('sizes that change within the tensor are followed', () => {
  const rows = Array.from({ length: 40 }, (_, row) => Array.from(numbers(64, row % 2 === 0 ? 7 : 2, row + 3))).flat();
  const mixed = Uint8Array.from(rows);
  const bits = (8 * cost(ELEMENT_INT8, mixed)) / mixed.length;
  // 4.5 on average, where a distribution of the whole has 5.5.
  assert.ok(bits < 4.9, `${bits} bits each`);
});

test('wider numbers by what each of their bytes is like', () => {
  const words = Uint8Array.from(Array.from(numbers(1000, 8, 9)).flatMap((byte) => [byte, 7, 0, 0]));
  const bits = (8 * cost(ELEMENT_INT32, words)) / 1000;
  assert.ok(bits < 9, `${bits} bits each`);
});
