/** Both ends of the range coder against each other, and the decoder alone against whatever it may be given. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { noise } from '../patch/build-patch.test.js';
import type { BitCoder } from './bit-coder.js';
import { rangeDecoder, rangeEncoder } from './coder-rig.test.js';

const CONTEXTS = 7;

/** One thing to code: a bit under a context, a bit under a probability, or bits as they are. */
type Step =
  | { readonly kind: 'bit'; readonly context: number; readonly bit: number }
  | { readonly kind: 'mixed'; readonly zero: number; readonly bit: number }
  | { readonly kind: 'direct'; readonly count: number; readonly value: number };

function run(coder: BitCoder, step: Step, known: boolean): number {
  switch (step.kind) {
    case 'bit':
      return coder.bit(step.context, known ? step.bit : 0);
    case 'mixed':
      return coder.mixed(step.zero, known ? step.bit : 0);
    case 'direct':
      return coder.direct(step.count, known ? step.value : 0);
  }
}

const codedBy = (step: Step): number => (step.kind === 'direct' ? step.value : step.bit);

const stateOf = (counted: boolean): Uint16Array => new Uint16Array((counted ? 2 : 1) * CONTEXTS);

function encode(steps: readonly Step[], counted: boolean): Uint8Array {
  const encoder = rangeEncoder(stateOf(counted), counted);
  encoder.begin();
  for (const step of steps) assert.equal(run(encoder, step, true), codedBy(step));
  return encoder.finish().slice();
}

function decode(payload: Uint8Array, steps: readonly Step[], counted: boolean): number[] {
  const decoder = rangeDecoder(stateOf(counted), counted);
  decoder.begin(payload);
  return steps.map((step) => run(decoder, step, false));
}

function assertRoundTrip(steps: readonly Step[], counted: boolean): Uint8Array {
  const payload = encode(steps, counted);
  assert.deepEqual(decode(payload, steps, counted), steps.map(codedBy));
  assert.notEqual(payload.at(-1), 0, 'zeros at the end are left out');
  return payload;
}

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('bit' as const), context: fc.nat(CONTEXTS - 1), bit: fc.nat(1) }),
  fc.record({ kind: fc.constant('mixed' as const), zero: fc.integer({ min: 1, max: 4095 }), bit: fc.nat(1) }),
  fc
    .nat(24)
    .chain((count) =>
      fc.record({ kind: fc.constant('direct' as const), count: fc.constant(count), value: fc.nat(2 ** count - 1) }),
    ),
);

const bits = (context: number, values: readonly number[]): Step[] =>
  values.map((bit) => ({ kind: 'bit', context, bit }));
const repeat = (count: number, bit: number): number[] => new Array<number>(count).fill(bit);

for (const [name, counted] of [
  ['one rate', false],
  ['two rates', true],
] as const) {
  describe(name, () => {
    test('anything decodes to what was encoded', () => {
      fc.assert(
        fc.property(fc.array(anyStep, { maxLength: 400 }), (steps) => void assertRoundTrip(steps, counted)),
        { numRuns: 600, seed: 1 },
      );
    });

    test('the least likely bits decode too, however long they go on: carries and bytes of 0xff are resolved', () => {
      for (const [zero, bit] of [
        [1, 0],
        [4095, 1],
        [1, 1],
        [4095, 0],
        [2048, 1],
        [2048, 0],
      ] as const) {
        const steps: Step[] = repeat(2000, 0).map(() => ({ kind: 'mixed', zero, bit }));
        assertRoundTrip(steps, counted);
        // A one behind them pushes a carry through all that is pending.
        assertRoundTrip([...steps, { kind: 'direct', count: 24, value: 1 }], counted);
        assertRoundTrip([{ kind: 'direct', count: 24, value: 0xffffff }, ...steps], counted);
      }
      const ones: Step[] = repeat(300, 0).map(() => ({ kind: 'direct', count: 24, value: 0xffffff }));
      assertRoundTrip(ones, counted);
    });

    test('a context that saw one bit only stays able to code the other', () => {
      for (const bit of [0, 1]) {
        const steps = bits(3, [...repeat(100_000, bit), ...repeat(40, 1 - bit), ...repeat(100, bit)]);
        const payload = assertRoundTrip(steps, counted);
        assert.ok(payload.length < 300, `${payload.length} bytes`);
      }
    });

    test('bits of one half cost one bit each, rare ones what Shannon says, to a tenth', () => {
      const random = noise(100_000, 5);
      const even: Step[] = [...random].map((byte) => ({ kind: 'direct', count: 8, value: byte }));
      assert.ok(Math.abs(assertRoundTrip(even, counted).length - random.length) <= 4);
      // Ones of 13 in 256.
      const p = 13 / 256;
      const shannon = ((-p * Math.log2(p) - (1 - p) * Math.log2(1 - p)) * random.length) / 8;
      const rare = bits(
        0,
        [...random].map((byte) => (byte < 13 ? 1 : 0)),
      );
      const { length } = assertRoundTrip(rare, counted);
      assert.ok(length < 1.1 * shannon, `${length} bytes, ${Math.round(shannon)} by Shannon`);
    });

    test('what is most likely throughout takes no payload at all, and so does nothing', () => {
      assert.equal(encode([], counted).length, 0);
      assert.deepEqual(encode(bits(0, repeat(50, 0)), counted), new Uint8Array(0));
      assert.deepEqual(decode(new Uint8Array(0), bits(0, repeat(50, 0)), counted), repeat(50, 0));
    });

    test('a payload starts afresh: what was coded before it does not matter', () => {
      const encoder = rangeEncoder(stateOf(counted), counted);
      const decoder = rangeDecoder(stateOf(counted), counted);
      const steps = [...noise(500, 6)].map(
        (byte): Step => ({ kind: 'bit', context: byte % CONTEXTS, bit: byte > 99 ? 1 : 0 }),
      );
      const payloads = [0, 1].map(() => {
        encoder.begin();
        for (const step of steps) run(encoder, step, true);
        return encoder.finish().slice();
      });
      assert.deepEqual(payloads[1], payloads[0]);
      for (const payload of payloads) {
        decoder.begin(payload);
        assert.deepEqual(
          steps.map((step) => run(decoder, step, false)),
          steps.map(codedBy),
        );
      }
    });

    test('zeros behind a payload change nothing', () => {
      const steps = [...noise(300, 7)].map((byte): Step => ({ kind: 'mixed', zero: 1 + byte * 16, bit: byte & 1 }));
      const payload = encode(steps, counted);
      assert.deepEqual(decode(new Uint8Array([...payload, 0, 0, 0]), steps, counted), steps.map(codedBy));
    });

    test('garbage, cut or at its end gives bits within their bounds, the same each time, and never an exception', () => {
      const garbage = fc.oneof(
        fc.uint8Array({ maxLength: 60 }),
        // What an encoder never says: all ones leave the range.
        fc.nat(60).map((length) => new Uint8Array(length).fill(0xff)),
      );
      fc.assert(
        fc.property(garbage, fc.array(anyStep, { minLength: 1, maxLength: 60 }), (payload, steps) => {
          // Far past the end.
          const long = Array.from({ length: 20 }, () => steps).flat();
          const values = decode(payload, long, counted);
          long.forEach((step, i) => {
            const most = step.kind === 'direct' ? 2 ** step.count - 1 : 1;
            assert.ok(Number.isInteger(values[i]) && values[i]! >= 0 && values[i]! <= most, `${values[i]} of ${most}`);
          });
          assert.deepEqual(decode(payload, long, counted), values);
        }),
        { numRuns: 400, seed: 2 },
      );
    });

    test('whatever is decoded, probabilities stay away from certainty', () => {
      const state = stateOf(counted);
      const decoder = rangeDecoder(state, counted);
      for (const fill of [0x00, 0xff, 0x5a]) {
        decoder.begin(new Uint8Array(50_000).fill(fill));
        for (let i = 0; i < 100_000; i++) decoder.bit(i % CONTEXTS);
        for (const p of state) assert.ok(p >= 15 && p <= 65521, `${p}`);
      }
    });
  });
}
