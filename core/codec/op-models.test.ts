import { type CastParameters, hasOldZero, hasZero, isRescaled, isScaled, NO_SCALES } from './cast-op.js';
/** How ops are coded: every field at its limits, and garbage that stays within them. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { OP_CAST as CAST, OP_DELTA as DELTA, OP_LITERAL as LITERAL } from '../patch/segment.js';
import { CLASSES, decoderOf, encodeWith } from './coder-rig.test.js';
import type { ContextLayout } from './context-layout.js';
import { type CodedOp, OpModels } from './op-models.js';

/** The largest number that is coded: 52 bits below a leading one, less one. */
const MOST = 2 ** 53 - 2;
/** Shifts take a bit for their sign. */
const MOST_SHIFT = 2 ** 52 - 1;

const COPY = 0;

const NO_OP: CodedOp = {
  kind: COPY,
  type: 0,
  length: 1,
  shift: 0,
  castTypes: 0,
  ...NO_SCALES,
  columns: 1,
  column: 0,
  stride: 0,
  learns: 0,
  sparse: 0,
};

/** Columns are followed in class 1 alone. */
const hasColumns = (layout: ContextLayout): boolean => layout === CLASSES[1].layout;

/** Cursors come back to where they were. */
const aheadOf = (i: number): number => [0, 100, -20, 0, 100, 104, -20][i % 7]!;

function encode(layout: ContextLayout, ops: readonly CodedOp[]): Uint8Array {
  return encodeWith(layout, (coder) => {
    const models = new OpModels(coder, layout);
    models.begin();
    ops.forEach((op, i) => void models.op({ ...op }, aheadOf(i)));
  });
}

function decode(layout: ContextLayout, payload: Uint8Array, count: number): CodedOp[] {
  const models = new OpModels(decoderOf(layout, payload), layout);
  models.begin();
  const op = { ...NO_OP };
  return Array.from({ length: count }, (_, i) => {
    models.op(op, aheadOf(i));
    return { ...op };
  });
}

function assertRoundTrip(layout: ContextLayout, ops: readonly CodedOp[]): void {
  assert.deepEqual(decode(layout, encode(layout, ops), ops.length), ops);
}

const anyNumber = fc.oneof(
  fc.nat(1000),
  fc.maxSafeNat().map((value) => Math.min(value, MOST)),
  fc.integer({ min: 0, max: 52 }).chain((bits) => fc.integer({ min: -2, max: 1 }).map((by) => within(2 ** bits + by))),
);

function within(value: number): number {
  return Math.max(0, Math.min(MOST, value));
}

/** An op with what its kind has to say, and defaults elsewhere. */
const anyOp = (layout: ContextLayout): fc.Arbitrary<CodedOp> =>
  fc
    .record({
      kind: fc.nat(3),
      type: fc.nat(7),
      length: anyNumber.map((value) => 1 + Math.min(value, MOST - 1)),
      shift: fc.tuple(anyNumber, fc.boolean()).map(([size, back]) => {
        const shift = Math.min(size, MOST_SHIFT);
        return back && shift > 0 ? -shift : shift;
      }),
      castTypes: fc.nat(255),
      scaleCount: anyNumber,
      inner: anyNumber,
      group: anyNumber,
      outer: anyNumber,
      crossCount: anyNumber,
      crossInner: anyNumber,
      phase: anyNumber,
      zero: anyNumber,
      oldZero: anyNumber,
      columns: anyNumber.map((value) => 1 + Math.min(value, MOST - 1)),
      column: anyNumber,
      stride: anyNumber,
      learns: fc.nat(1),
      sparse: fc.nat(1),
    })
    .map((op) => ({
      ...op,
      ...(op.kind === COPY ? { type: 0 } : {}),
      ...(op.kind === LITERAL ? { shift: 0 } : {}),
      ...(op.kind === DELTA ? {} : { sparse: 0 }),
      ...(op.kind === LITERAL && op.type === 0 && layout.opLearns >= 0 ? {} : { learns: 0 }),
      ...(ofOneType(op) && hasColumns(layout) ? {} : { columns: 1, column: 0 }),
      ...(op.kind === DELTA && hasColumns(layout) ? {} : { stride: 0 }),
      ...(op.kind === CAST ? {} : { castTypes: 0 }),
      ...saidOf(op),
    }));

for (const { name, layout } of CLASSES) {
  describe(name, () => {
    test('any ops decode to what was encoded', () => {
      fc.assert(
        // What a kind says nothing of may be left over from the op before.
        fc.property(fc.array(anyOp(layout), { minLength: 1, maxLength: 20 }), (ops) => {
          const decoded = decode(layout, encode(layout, ops), ops.length);
          decoded.forEach((op, i) => {
            const expected = ops[i]!;
            assert.deepEqual(expected.kind === CAST ? op : { ...op, ...castOf(expected) }, expected);
          });
        }),
        { numRuns: 500, seed: 1 },
      );
    });

    test('lengths and shifts of every size of number, up to the last that is exact', () => {
      for (let bits = 0; bits <= 53; bits++) {
        for (const by of [-2, -1, 0, 1]) {
          const size = within(2 ** bits + by);
          assertRoundTrip(layout, [{ ...NO_OP, length: Math.max(1, size) }]);
          const shift = Math.min(size, MOST_SHIFT);
          assertRoundTrip(layout, [{ ...NO_OP, shift }]);
          if (shift > 0) assertRoundTrip(layout, [{ ...NO_OP, shift: -shift }]);
        }
      }
    });

    test('the same op over and over takes next to nothing', () => {
      const op = { ...NO_OP, kind: DELTA, type: 4, length: 64 };
      const one = encode(layout, [op]).length;
      const hundred = encode(layout, new Array<CodedOp>(100).fill(op)).length;
      // The bits of the length below its leading one are not modelled.
      assert.ok(hundred < one + (99 * 6) / 8 + 90, `${hundred} bytes`);
    });

    test('garbage gives fields within their bounds, and never an exception', () => {
      const garbage = fc.oneof(
        fc.uint8Array({ maxLength: 100 }),
        fc.tuple(fc.nat(255), fc.nat(100)).map(([byte, length]) => new Uint8Array(length).fill(byte)),
      );
      fc.assert(
        fc.property(garbage, (payload) => {
          for (const op of decode(layout, payload, 60)) {
            assert.ok(op.kind <= 3 && op.type <= 7 && op.castTypes <= 255 && op.sparse <= 1);
            for (const value of [op.length - 1, op.scaleCount, op.inner, op.phase, op.columns - 1, op.column])
              assert.ok(Number.isSafeInteger(value) && value >= 0, `${value}`);
            // Farther than any source: what such an op reads from is refused.
            assert.ok(Number.isInteger(op.shift) && Math.abs(op.shift) < 2 ** 56, `${op.shift}`);
          }
        }),
        { numRuns: 1000, seed: 2 },
      );
    });
  });
}

/** DELTA, or CAST from a type to itself. */
function ofOneType({ kind, castTypes }: { kind: number; castTypes: number }): boolean {
  return kind === DELTA || (kind === CAST && castTypes >> 4 === (castTypes & 15));
}

/** The parameters of CAST, as they are where the op does not say them. */
function saidOf(op: Omit<CodedOp, 'columns' | 'column'>): Omit<CastParameters, 'castTypes'> {
  if (op.kind !== CAST || !isScaled(op.castTypes)) return NO_SCALES;
  const { scaleCount, inner, group, phase } = op;
  const zero = hasZero(op.castTypes) ? op.zero : 0;
  if (!isRescaled(op.castTypes)) return { ...NO_SCALES, scaleCount, inner, outer: inner, phase, zero };
  const strided = scaleCount > 1;
  const crossed = op.crossCount > 0;
  const stride = strided ? inner : 1;
  return {
    ...{ scaleCount, crossCount: op.crossCount, inner: stride, group: strided ? group : 1 },
    outer: strided && group > 1 ? op.outer : stride,
    crossInner: crossed ? op.crossInner : 1,
    phase: strided || crossed ? phase : 0,
    zero,
    oldZero: hasOldZero(op.castTypes) ? op.oldZero : 0,
  };
}

function castOf(op: CodedOp): CastParameters {
  const { castTypes, scaleCount, inner, group, outer, crossCount, crossInner, phase, zero, oldZero } = op;
  return { castTypes, scaleCount, inner, group, outer, crossCount, crossInner, phase, zero, oldZero };
}
