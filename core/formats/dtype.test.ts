import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blockSize, elementBytes, elementReader, packedBytes } from './dtype.js';

test('half floats read as IEEE 754 says: zeros, subnormals, the largest, infinities, NaN', () => {
  const half = (bits: number) => elementReader('f16')(Uint8Array.of(bits & 255, bits >> 8), 0);
  assert.deepEqual([0x3c00, 0xc000, 0x7bff, 0x0001, 0x03ff, 0x0400, 0x7c00, 0xfc00, 0x3555].map(half), [
    1,
    -2,
    65504,
    2 ** -24,
    1023 * 2 ** -24,
    2 ** -14,
    Infinity,
    -Infinity,
    0.333251953125,
  ]);
  assert.ok(Object.is(half(0x8000), -0) && Number.isNaN(half(0x7e00)));
});

test('every other type reads its own little-endian encoding, at any offset', () => {
  const bytes = new Uint8Array(17);
  const view = new DataView(bytes.buffer);
  const read = (dtype: Parameters<typeof elementReader>[0]) => elementReader(dtype)(bytes.subarray(1), 2);
  view.setFloat32(3, -1.5, true);
  assert.equal(read('f32'), -1.5);
  view.setFloat64(3, Math.PI, true);
  assert.equal(read('f64'), Math.PI);
  view.setUint16(3, 0xc020, true);
  assert.equal(read('bf16'), -2.5);
  view.setBigInt64(3, -5_000_000_000n, true);
  assert.equal(read('i64'), -5_000_000_000);
  assert.equal(read('u64'), Number((1n << 64n) - 5_000_000_000n));
  view.setInt32(3, -3, true);
  assert.deepEqual(
    (['i8', 'u8', 'i16', 'u16', 'i32', 'u32', 'i4', 'bool', 'other'] as const).map(read),
    [-3, 253, -3, 65533, -3, 4294967293, -3, 253, 253],
  );
});

test('packed sizes: four-bit elements share bytes, opaque types have none', () => {
  assert.equal(packedBytes('f16', 3), 6);
  assert.equal(packedBytes('i4', 3), 2);
  assert.equal(packedBytes('other', 3), null);
  assert.equal(elementBytes('u64'), 8);
});

test('block types are whole blocks of bytes: opaque to sampling, the last block rounded up', () => {
  assert.deepEqual(blockSize('q6_k'), { elements: 256, bytes: 210 });
  assert.deepEqual([blockSize('f16'), blockSize('i4'), blockSize('other')], [null, null, null]);
  assert.equal(elementBytes('q4_k'), 1);
  assert.equal(elementReader('q8_0')(Uint8Array.of(1, 200), 1), 200);
  assert.deepEqual(
    [0, 1, 32, 33].map((elements) => packedBytes('q8_0', elements)),
    [0, 34, 34, 68],
  );
});

test('eight-bit floats read as "FP8 Formats for Deep Learning" says', () => {
  const read = (dtype: 'f8_e4m3' | 'f8_e5m2') => (bits: number) => elementReader(dtype)(Uint8Array.of(bits), 0);
  assert.deepEqual([0x38, 0xb8, 0x7e, 0x01, 0x07, 0x08, 0x00].map(read('f8_e4m3')), [
    1,
    -1,
    448,
    2 ** -9,
    7 * 2 ** -9,
    2 ** -6,
    0,
  ]);
  assert.ok(Number.isNaN(read('f8_e4m3')(0xff)));
  assert.deepEqual([0x3c, 0xc0, 0x7b, 0x7c, 0x01].map(read('f8_e5m2')), [1, -2, 57344, Infinity, 2 ** -16]);
});
