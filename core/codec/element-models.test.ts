/** The models of weights, encoded and decoded again: any bytes, any run lengths, and whatever a hostile payload says. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { noise } from '../patch/build-patch.test.js';
import type { BitCoder } from './bit-coder.js';
import { CLASSES, decoderOf, elementModels, encodeWith } from './coder-rig.test.js';
import type { ContextLayout } from './context-layout.js';
import {
  ELEMENT_BFLOAT16,
  ELEMENT_BYTE,
  ELEMENT_BYTES,
  ELEMENT_FLOAT16,
  ELEMENT_FLOAT32,
  ELEMENT_INT8,
  ELEMENT_INT16,
  ELEMENT_INT32,
} from './elements.js';

const TYPES = {
  bytes: ELEMENT_BYTE,
  int8: ELEMENT_INT8,
  int16: ELEMENT_INT16,
  int32: ELEMENT_INT32,
  float16: ELEMENT_FLOAT16,
  bfloat16: ELEMENT_BFLOAT16,
  float32: ELEMENT_FLOAT32,
};

/** Ends of every range and what arithmetic is likely to trip over; the low bits are the 8- and 16-bit ones. */
const SPECIAL = [
  0, 1, 2, 0x7f, 0x80, 0x81, 0xff, 0x7fff, 0x8000, 0x8001, 0xffff, 0x7c00, 0xfc00, 0x7e01, 0xfe00, 0x7f80, 0xff80,
  0x7fc1, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff, 0x7f800000, 0xff800000, 0x7fc00001, 0xffc00000, 0x7f800001,
  0x00800000, 0x007fffff, 0x3f800000, 0xbf800000, 0x55555555, 0xaaaaaaaa,
];

interface Run {
  readonly type: number;
  /** null: a literal. */
  readonly source: Uint8Array | null;
  readonly target: Uint8Array;
  /** Of a difference: the tensor's row, and whether gaps between changed elements are coded. */
  readonly columns?: number;
  readonly column?: number;
  readonly sparse?: boolean;
}

function encode(layout: ContextLayout, runs: readonly Run[]): Uint8Array {
  return encodeWith(layout, (coder) => {
    const models = elementModels(coder, layout);
    models.begin();
    for (const { type, source, target, columns = 1, column = 0, sparse = false } of runs) {
      models.beginOp(columns, column, sparse);
      const before = target.slice();
      if (source === null) models.literal(type, target, 0, 0);
      else models.delta(type, source, target);
      assert.deepEqual(target, before, 'encoding leaves the target as it is');
    }
  });
}

/** @param splits how many bytes each call gets, round and round; multiples of 4 */
function decode(layout: ContextLayout, payload: Uint8Array, runs: readonly Run[], splits: readonly number[]): Run[] {
  const models = elementModels(decoderOf(layout, payload), layout);
  models.begin();
  let calls = 0;
  return runs.map(({ type, source, target, columns = 1, column = 0, sparse = false }) => {
    models.beginOp(columns, column, sparse);
    // What the memory held before must not matter.
    const out = noise(target.length, 99);
    for (let at = 0; at < out.length; ) {
      const run = out.subarray(at, at + splits[calls++ % splits.length]!);
      // As the microcontroller does it: in place.
      if (source === null) models.literal(type, run, at, at === 0 ? 0 : out[at - 1]!);
      else if (calls % 2 === 0) models.delta(type, source.subarray(at, at + run.length), run);
      else {
        run.set(source.subarray(at, at + run.length));
        models.delta(type, run, run);
      }
      at += run.length;
    }
    return { type, source, target: out };
  });
}

function assertRoundTrip(layout: ContextLayout, runs: readonly Run[], splits: readonly number[] = [1 << 20]): number {
  const payload = encode(layout, runs);
  const decoded = decode(layout, payload, runs, splits);
  runs.forEach(({ target, type }, i) => {
    assert.deepEqual(decoded[i]!.target, target, `run ${i} of type ${type}`);
  });
  return payload.length;
}

function bytesOf(values: readonly number[], width: number): Uint8Array {
  return Uint8Array.from(
    values.flatMap((value) => Array.from({ length: width }, (_, byte) => (value >>> (8 * byte)) & 255)),
  );
}

/** Takes what it is told, and keeps nothing. */
const NULL_CODER: BitCoder = {
  encodes: true,
  bit: (_context, bit) => bit,
  mixed: (_zero, bit) => bit,
  direct: (_count, value) => value,
};

const anyValue = fc.oneof(fc.constantFrom(...SPECIAL), fc.nat(300), fc.integer({ min: 0, max: 0xffffffff }));

const anyRun: fc.Arbitrary<Run> = fc
  .record({
    type: fc.constantFrom(...Object.values(TYPES)),
    literal: fc.boolean(),
    columns: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constant(10_000)),
    column: fc.nat(20),
    sparse: fc.boolean(),
    pairs: fc.array(fc.tuple(anyValue, anyValue, fc.nat(3)), { minLength: 1, maxLength: 80 }),
  })
  .map(({ type, literal, pairs, columns, column, sparse }) => {
    const width = ELEMENT_BYTES[type]!;
    // Whole words, for the splits. A run of unchanged elements in the middle; of the others some are close.
    const padded = pairs.flatMap((pair) => new Array<typeof pair>(4 / width).fill(pair));
    const target = padded.map(([old, now, how], i) =>
      how === 0 || (i >= 32 && i < 110) ? old : how === 1 ? old + (now % 9) - 4 : now,
    );
    const old = padded.map(([value]) => value);
    const row = { columns, column: column % columns, sparse };
    return { type, source: literal ? null : bytesOf(old, width), target: bytesOf(target, width), ...row };
  });

for (const { name, layout } of CLASSES) {
  describe(name, () => {
    for (const [what, type] of Object.entries(TYPES)) {
      const width = ELEMENT_BYTES[type]!;

      test(`${what}: between every two special values, and those alone, bit by bit`, () => {
        const from = bytesOf(
          SPECIAL.flatMap((value) => SPECIAL.map(() => value)),
          width,
        );
        const to = bytesOf(
          SPECIAL.flatMap(() => SPECIAL),
          width,
        );
        assertRoundTrip(layout, [
          { type, source: from, target: to },
          { type, source: null, target: to },
        ]);
        // The model may have learnt other things before.
        for (const value of SPECIAL) {
          const target = bytesOf([value], width);
          assertRoundTrip(layout, [{ type, source: bytesOf([0], width), target }]);
          assertRoundTrip(layout, [{ type, source: target, target: bytesOf([0], width) }]);
          assertRoundTrip(layout, [{ type, source: null, target }]);
        }
      });

      test(`${what}: differences of every size and both signs`, () => {
        const bits = 8 * width;
        const steps = Array.from({ length: bits }, (_, i) => 2 ** i).flatMap((size) => [
          size,
          -size,
          size - 1,
          1 - size,
          size + (size >> 1),
        ]);
        for (const base of [0, 0x3f800000, 0xbf803f80, 0x80000000, 0xffffffff]) {
          const source = bytesOf(
            steps.map(() => base),
            width,
          );
          const target = bytesOf(
            steps.map((step) => base + step),
            width,
          );
          assertRoundTrip(layout, [{ type, source, target }]);
        }
      });

      test(`${what}: nothing changed costs next to nothing, everything changed no more than a few per cent on top`, () => {
        const old = noise(40_000, 1);
        assert.ok(assertRoundTrip(layout, [{ type, source: old, target: old.slice() }]) < 400);
        assert.ok(assertRoundTrip(layout, [{ type, source: old, target: old.slice(), sparse: true }]) < 30);
        assert.ok(assertRoundTrip(layout, [{ type, source: null, target: new Uint8Array(40_000) }]) < 400);
        const anything = noise(40_000, 2);
        // Unary codes are for small differences: of bytes that have nothing to do with each other a literal is made.
        const most = width === 1 ? 1.6 : 1.12;
        assert.ok(assertRoundTrip(layout, [{ type, source: old, target: anything }]) < most * 40_000);
        assert.ok(assertRoundTrip(layout, [{ type, source: null, target: anything }]) < 1.06 * 40_000);
      });
    }

    test('runs of any types after each other, cut anywhere, decode to what was encoded', () => {
      fc.assert(
        fc.property(
          fc.array(anyRun, { minLength: 1, maxLength: 6 }),
          fc.array(
            fc.integer({ min: 1, max: 20 }).map((words) => 4 * words),
            { minLength: 1, maxLength: 5 },
          ),
          (runs, splits) => void assertRoundTrip(layout, runs, splits),
        ),
        { numRuns: 500, seed: 1 },
      );
    });

    test('a segment starts afresh, whatever was coded before', () => {
      const everything = Object.values(TYPES).flatMap((type): Run[] => [
        { type, source: noise(400, type), target: noise(400, type + 10), columns: 3 },
        { type, source: null, target: noise(400, type + 20) },
      ]);
      for (const run of everything) {
        const used = encodeWith(layout, (coder) => {
          let current = NULL_CODER;
          const models = elementModels(
            {
              encodes: true,
              bit: (context, bit) => current.bit(context, bit),
              mixed: (zero, bit) => current.mixed(zero, bit),
              direct: (count, value) => current.direct(count, value),
            },
            layout,
          );
          models.begin();
          for (const { type, source, target } of everything) {
            models.beginOp(3, 1, true);
            if (source === null) models.literal(type, target.slice(), 0, 0);
            else models.delta(type, source, target.slice());
          }
          current = coder;
          models.begin();
          models.beginOp(run.columns ?? 1, 0, false);
          if (run.source === null) models.literal(run.type, run.target.slice(), 0, 0);
          else models.delta(run.type, run.source, run.target.slice());
        });
        assert.deepEqual(used, encode(layout, [run]), `type ${run.type}`);
      }
    });

    test('garbage decodes to some bytes within every bound, the same each time and however it is cut', () => {
      const garbage = fc.oneof(
        fc.uint8Array({ maxLength: 200 }),
        fc.tuple(fc.nat(255), fc.nat(200)).map(([byte, length]) => new Uint8Array(length).fill(byte)),
      );
      fc.assert(
        fc.property(garbage, fc.array(anyRun, { minLength: 1, maxLength: 6 }), (payload, runs) => {
          assert.deepEqual(decode(layout, payload, runs, [4, 12]), decode(layout, payload, runs, [1 << 20]));
        }),
        { numRuns: 500, seed: 2 },
      );
    });
  });
}
