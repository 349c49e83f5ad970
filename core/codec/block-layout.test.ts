import assert from 'node:assert/strict';
import { test } from 'node:test';
import { writeU16 } from '../bytes.js';
import { noise } from '../patch/build-patch.test.js';
import { getNumber, getPart, partCount, putNumber, putPart } from './block-layout.js';
import { CAST_BLOCKS, CAST_LAYOUTS } from './cast.js';
import { halfValue } from './half.js';

/**
 * What gguf.quants.dequantize (gguf 0.10.0 for Python, numpy 2.4.6) reads from a block whose byte i is 31 i^2 + 97 i + 53 (i >> 3)
 * modulo 256, but for its scales: the first is 1/4, the second 1/8. Sums over the elements y of (i + 1) y and of y^2, exact.
 */
const READ = [
  { type: 4, scales: [0], weighted: 4405, squares: 11513 },
  { type: 5, scales: [0], weighted: -125.25, squares: 42.1875 },
  { type: 6, scales: [0, 2], weighted: 994.75, squares: 164.625 },
  { type: 7, scales: [0], weighted: 43, squares: 167.625 },
  { type: 8, scales: [0, 2], weighted: 1995.75, squares: 658 },
  { type: 10, scales: [80, 82], weighted: 78971, squares: 3659.125 },
  { type: 11, scales: [108], weighted: -32923.75, squares: 21645.3125 },
  { type: 12, scales: [0, 2], weighted: 2247369.25, squares: 1838317.5625 },
  { type: 13, scales: [0, 2], weighted: 4896596.25, squares: 8902595.8125 },
  { type: 14, scales: [208], weighted: -367206.75, squares: 24160067.125 },
];

for (const { type, scales, weighted, squares } of READ) {
  test(`type ${type}: numbers lie where ggml reads them`, () => {
    const layout = CAST_LAYOUTS[type]!;
    const bytes = Uint8Array.from({ length: CAST_BLOCKS[type]!.bytes }, (_, i) => i * i * 31 + i * 97 + (i >> 3) * 53);
    scales.forEach((at, i) => {
      writeU16(bytes, at, i === 0 ? 0x3400 : 0x3000);
    });
    assert.equal(bytes.length, layout.bytes);
    assert.deepEqual([layout.scale, layout.shift], [scales[0], scales[1] ?? -1]);
    const scale = halfValue(0x3400);
    const shift = scales.length < 2 ? 0 : halfValue(0x3000) * layout.shiftSign;
    const perPart = layout.quants.count / partCount(layout);
    let [sum, sumOfSquares] = [0, 0];
    for (let i = 0; i < layout.quants.count; i++) {
      const part = Math.floor(i / perPart);
      const own = layout.parts === null ? 1 : getPart(bytes, layout, 0, part) - layout.parts.zero;
      const factor = layout.parts === null || layout.shift < 0 ? 1 : getPart(bytes, layout, 1, part);
      const value = scale * own * (getNumber(bytes, layout.quants, i) - layout.quants.zero) + shift * factor;
      sum += (i + 1) * value;
      sumOfSquares += value * value;
    }
    assert.deepEqual([sum, sumOfSquares], [weighted, squares]);
  });
}

test('writing every number of a block, in any order, makes the block', () => {
  for (const layout of CAST_LAYOUTS) {
    if (layout === null) continue;
    const from = noise(layout.bytes, 5);
    const to = noise(layout.bytes, 6);
    for (const at of [layout.scale, layout.shift]) if (at >= 0) to.set(from.subarray(at, at + 2), at);
    for (let i = layout.quants.count - 1; i >= 0; i--)
      putNumber(to, layout.quants, i, getNumber(from, layout.quants, i));
    const kinds = layout.parts === null ? 0 : layout.shift < 0 ? 1 : 2;
    for (let kind = 0; kind < kinds; kind++)
      for (let part = 0; part < partCount(layout); part++)
        putPart(to, layout, kind, part, getPart(from, layout, kind, part));
    assert.deepEqual(to, from);
  }
});
