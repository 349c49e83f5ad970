import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemorySource } from '../memory-source.js';
import { noise } from '../patch/build-patch.test.js';
import { readTransposed, transposedSpan } from './transposed-read.js';

/** By the definition: element p of the target, counted from its row's begin, is element (p mod columns) stride + floor(p / columns). */
function byDefinition(
  source: Uint8Array,
  columns: number,
  column: number,
  stride: number,
  width: number,
  count: number,
) {
  const out: number[] = [];
  let farthest = 0;
  for (let p = column; p < column + count; p++) {
    const at = ((p % columns) * stride + Math.floor(p / columns)) * width;
    out.push(...source.subarray(at, at + width));
    farthest = Math.max(farthest, at + width);
  }
  return { out, farthest };
}

test('any part of a transposed matrix is read as defined, in runs of any length, and reaches as far as told', () => {
  const source = noise(40_000, 1);
  for (const width of [1, 2, 4]) {
    for (const [columns, column, stride, count] of [
      [60, 0, 70, 4200],
      [60, 13, 70, 4000],
      [60, 59, 70, 2],
      [2, 1, 1000, 1500],
      [1000, 3, 3, 2500],
      [1, 0, 9, 9],
      [5, 2, 1, 2],
    ] as const) {
      const { out, farthest } = byDefinition(source, columns, column, stride, width, count);
      const matrix = { columns, column, stride, width };
      assert.equal(transposedSpan(matrix, count * width), farthest);
      const limited = new MemorySource(source.subarray(0, farthest));
      for (const run of [count, 64, 3]) {
        const bytes = new Uint8Array(count * width);
        for (let at = 0; at < bytes.length; at += run * width)
          readTransposed(limited, 0, matrix, at, bytes.subarray(at, at + run * width));
        assert.deepEqual([...bytes], out);
      }
    }
  }
});

test('rows that no source has cost no time', () => {
  const into = new Uint8Array(8);
  readTransposed(new MemorySource(noise(100, 1)), 0, { columns: 2 ** 30, column: 2, stride: 1, width: 1 }, 0, into);
  assert.equal(transposedSpan({ columns: 2 ** 53, column: 0, stride: 1, width: 4 }, 8), Number.POSITIVE_INFINITY);
});
