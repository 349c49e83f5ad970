import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { floatToBfloat, floatToHalf, halfToFloat } from './half.js';

const view = new DataView(new ArrayBuffer(8));

function floatOf(bits: number): number {
  view.setInt32(0, bits);
  return view.getFloat32(0);
}

function bitsOf(float: number): number {
  view.setFloat32(0, float);
  return view.getInt32(0);
}

/** IEEE 754-2019, 3.4: the value of a positive, finite binary16. */
function halfValue(half: number): number {
  const exponent = half >> 10;
  return exponent === 0 ? half * 2 ** -24 : (1024 + (half & 1023)) * 2 ** (exponent - 25);
}

const HALF_OF_VALUE = new Map(Array.from({ length: 0x7c00 }, (_, half) => [halfValue(half), half]));

/** Rounding in exact arithmetic on doubles: every binary32, and its quotient by a power of two, is one. */
function nearestHalf(float: number): number {
  const sign = Object.is(float, -0) || float < 0 ? 0x8000 : 0;
  const size = Math.abs(float);
  view.setFloat64(0, size);
  const exponent = (view.getUint16(0) >> 4) - 1023;
  const unit = 2 ** (Math.max(exponent, -14) - 10);
  const below = Math.floor(size / unit);
  const rest = size / unit - below;
  const rounded = rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
  return sign | (HALF_OF_VALUE.get(rounded * unit) ?? 0x7c00);
}

function assertHalf(bits: number): void {
  const float = floatOf(bits);
  if (floatToHalf(bits) !== nearestHalf(float)) {
    assert.fail(`${float}: got ${floatToHalf(bits).toString(16)}, expected ${nearestHalf(float).toString(16)}`);
  }
}

test('every binary16 becomes a binary32 of the same value and comes back, NaN payloads made quiet', () => {
  for (let half = 0; half < 0x10000; half++) {
    const bits = halfToFloat(half);
    const size = half & 0x7fff;
    if (size < 0x7c00) assert.equal(floatOf(bits), (half & 0x8000 ? -1 : 1) * halfValue(size));
    assert.equal(bits < 0, half >= 0x8000, 'the sign is kept, that of zero and NaN too');
    if (size === 0x7c00) assert.equal(Math.abs(floatOf(bits)), Infinity);
    if (size > 0x7c00) assert.ok(Number.isNaN(floatOf(bits)));
    assert.equal(floatToHalf(bits), size > 0x7c00 ? half | 0x200 : half);
  }
});

test('a binary32 rounds to the nearest binary16, ties to even: at, between and beside all neighbours', () => {
  for (let half = 0; half < 0x7c00; half++) {
    const value = halfValue(half);
    const above = half === 0x7bff ? 65536 : halfValue(half + 1);
    for (const middle of [bitsOf(value), bitsOf((value + above) / 2)]) {
      for (const bits of [Math.max(0, middle - 1), middle, middle + 1]) {
        assertHalf(bits);
        assertHalf(bits | 0x80000000);
      }
    }
  }
});

test('any binary32 but NaN rounds to the nearest binary16', () => {
  fc.assert(
    fc.property(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), (bits) => {
      if (!Number.isNaN(floatOf(bits))) assertHalf(bits);
    }),
    { numRuns: 20_000 },
  );
});

test('a NaN stays one, with its sign and the top of its payload', () => {
  for (const [bits, half, bfloat] of [
    [0x7f800001, 0x7e00, 0x7fc0],
    [0xff800001, 0xfe00, 0xffc0],
    [0x7fc00000, 0x7e00, 0x7fc0],
    [0xffffffff, 0xffff, 0xffff],
    [0x7fa02000, 0x7f01, 0x7fe0],
    [0x7f802000, 0x7e01, 0x7fc0],
  ] as const) {
    assert.equal(floatToHalf(bits | 0), half);
    assert.equal(floatToBfloat(bits | 0), bfloat);
  }
});

test('a binary32 rounds to the nearest bfloat16, ties to even, past the largest to infinity', () => {
  const bfloatValue = (top: number): number => (top === 0x7f80 ? 2 ** 128 : floatOf(top << 16));
  const check = (bits: number): void => {
    const [low, high] = [bits >>> 16, (bits >>> 16) + 1];
    const below = floatOf(bits) - bfloatValue(low);
    const above = bfloatValue(high) - floatOf(bits);
    const expected = below < above || (below === above && low % 2 === 0) ? low : high;
    assert.equal(floatToBfloat(bits), expected, bits.toString(16));
    assert.equal(floatToBfloat(bits | 0x80000000), expected | 0x8000, bits.toString(16));
  };
  for (let top = 0; top < 0x7f80; top++) {
    for (const rest of [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff]) check((top << 16) | rest);
  }
  assert.equal(floatToBfloat(0x7f800000), 0x7f80);
});
