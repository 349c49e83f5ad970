import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { splitPlanes } from '../diff/pieces.js';
import { takeDelta } from '../diff/take-delta.js';
import {
  addDelta,
  ELEMENT_BFLOAT16,
  ELEMENT_BYTE,
  ELEMENT_BYTES,
  ELEMENT_FLOAT16,
  ELEMENT_FLOAT32,
  ELEMENT_INT8,
  ELEMENT_INT16,
  ELEMENT_INT32,
  fromOrdered16,
  fromOrdered32,
  joinPlanes,
  toOrdered16,
  toOrdered32,
} from './elements.js';

const TYPES = {
  byte: ELEMENT_BYTE,
  int8: ELEMENT_INT8,
  int16: ELEMENT_INT16,
  int32: ELEMENT_INT32,
  float16: ELEMENT_FLOAT16,
  bfloat16: ELEMENT_BFLOAT16,
  float32: ELEMENT_FLOAT32,
};

/** The target that decoding gives, in runs of `run` bytes as the applier does it. */
function decode(type: number, source: Uint8Array, planes: Uint8Array, run: number): Uint8Array {
  const width = ELEMENT_BYTES[type]!;
  const out = source.slice();
  for (let at = 0; at < out.length; at += run) {
    addDelta(type, out.subarray(at, Math.min(at + run, out.length)), planes, out.length / width, at / width);
  }
  return out;
}

function assertRoundTrip(type: number, source: Uint8Array, target: Uint8Array): void {
  const planes = new Uint8Array(target.length);
  takeDelta(type, source, target, planes);
  for (const run of [4, 8, Math.max(4, target.length)]) assert.deepEqual(decode(type, source, planes, run), target);
}

function bytesOf(values: readonly number[], width: number): Uint8Array {
  return Uint8Array.from(
    values.flatMap((value) => Array.from({ length: width }, (_, byte) => (value >>> (8 * byte)) & 255)),
  );
}

/** 0, -0, least and largest subnormal and normal, infinities, quiet and signalling NaNs with payloads, the ends of the range. */
const SPECIAL_16 = [
  0, 0x8000, 1, 0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0xfe01, 0x7c01, 0x7fff, 0xffff, 0x3c00,
  0xbc00,
];
const SPECIAL_32 = [
  0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000,
  0xffc00001, 0x7f800001, 0x7fffffff, 0xffffffff, 0x3f800000, 0xbf800000,
];

describe('differences', () => {
  for (const [name, type] of Object.entries(TYPES)) {
    test(`of ${name} give the target back, whatever the bytes`, () => {
      const width = ELEMENT_BYTES[type]!;
      const pair = fc.nat(40).chain((count) => {
        const bytes = fc.uint8Array({ minLength: 4 * count * width, maxLength: 4 * count * width });
        return fc.tuple(bytes, bytes);
      });
      fc.assert(
        fc.property(pair, ([source, target]) => assertRoundTrip(type, source, target)),
        { numRuns: 300, seed: 1 },
      );
    });

    test(`of ${name} are zero, and so plane after plane of zeros, where nothing changed`, () => {
      const source = bytesOf(SPECIAL_32, 4);
      const planes = new Uint8Array(source.length).fill(1);
      takeDelta(type, source, source, planes);
      assert.ok(planes.every((byte) => byte === 0));
    });
  }

  test('between every two special floats come out bit by bit: NaN payloads, -0 and infinities survive', () => {
    for (const [special, width, types] of [
      [SPECIAL_16, 2, [ELEMENT_FLOAT16, ELEMENT_BFLOAT16, ELEMENT_INT16]],
      [SPECIAL_32, 4, [ELEMENT_FLOAT32, ELEMENT_INT32]],
    ] as const) {
      const from = special.flatMap((value) => special.map(() => value));
      const to = special.flatMap(() => [...special]);
      // A fourth of two-byte elements is padding to whole runs.
      while ((from.length * width) % 4 !== 0) {
        from.push(0);
        to.push(0);
      }
      for (const type of types) assertRoundTrip(type, bytesOf(from, width), bytesOf(to, width));
    }
  });

  test('of every 16-bit value from every special one come out bit by bit', () => {
    const all = bytesOf(
      Array.from({ length: 65536 }, (_, i) => i),
      2,
    );
    for (const value of SPECIAL_16) {
      const from = bytesOf(new Array<number>(65536).fill(value), 2);
      const planes = new Uint8Array(all.length);
      for (const type of [ELEMENT_FLOAT16, ELEMENT_INT16]) {
        takeDelta(type, from, all, planes);
        assert.deepEqual(decode(type, from, planes, all.length), all);
      }
    }
  });
});

describe('ordered integers', () => {
  test('rise with the value of a 16-bit float, one by one, and come back', () => {
    // From the most negative NaN over -0, 0 to the most positive one.
    const rising = [
      ...Array.from({ length: 0x8000 }, (_, i) => 0xffff - i),
      ...Array.from({ length: 0x8000 }, (_, i) => i),
    ];
    rising.forEach((bits, i) => {
      assert.equal(toOrdered16(bits), i);
      assert.equal(fromOrdered16(i), bits);
    });
  });

  test('rise with the value of a 32-bit float and come back', () => {
    const view = new DataView(new ArrayBuffer(4));
    const bitsOf = (value: number): number => {
      view.setFloat32(0, value);
      return view.getInt32(0);
    };
    const rising = [Number.NEGATIVE_INFINITY, -3e38, -1, -1e-45, -0, 0, 1e-45, 1, 3e38, Number.POSITIVE_INFINITY].map(
      bitsOf,
    );
    const ordered = rising.map((bits) => toOrdered32(bits) >>> 0);
    assert.deepEqual(
      [...ordered].sort((a, b) => a - b),
      ordered,
    );
    assert.equal(ordered[5]! - ordered[4]!, 1, '-0 and 0 are neighbours');
    for (const bits of [...rising, ...SPECIAL_32.map((value) => value | 0)])
      assert.equal(fromOrdered32(toOrdered32(bits)) | 0, bits);
  });
});

describe('planes', () => {
  test('hold the most significant byte of each element first', () => {
    const planes = new Uint8Array(8);
    splitPlanes(4, Uint8Array.of(0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88), planes);
    assert.deepEqual([...planes], [0x44, 0x88, 0x33, 0x77, 0x22, 0x66, 0x11, 0x55]);
  });

  test('a small rise of a float is a small even number in the last plane, a small fall an odd one', () => {
    const planes = new Uint8Array(4);
    takeDelta(ELEMENT_FLOAT16, bytesOf([0x3c00, 0xbc00], 2), bytesOf([0x3c03, 0xbc03], 2), planes);
    assert.deepEqual([...planes], [0, 0, 6, 5]);
  });

  test('are joined again from any element on', () => {
    for (const width of [1, 2, 4]) {
      const bytes = Uint8Array.from({ length: 12 * width }, (_, i) => i * 7);
      const planes = new Uint8Array(bytes.length);
      splitPlanes(width, bytes, planes);
      for (let first = 0; first <= 12; first++) {
        const out = new Uint8Array(bytes.length - first * width);
        joinPlanes(width, planes, 12, first, out);
        assert.deepEqual(out, bytes.slice(first * width));
      }
    }
  });
});
