import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Point } from '@noble/ed25519';
import { fromHex, toHex } from '../hex.js';
import { noise } from './build-patch.test.js';
import { ed25519Precheck, pointFault } from './ed25519-precheck.js';
import { fromLittleEndian, GROUP_ORDER, littleEndian, RFC_8032_VECTORS } from './rfc8032.test.js';

const L = GROUP_ORDER;
/** Field prime, RFC 8032, 5.1. */
const P = 2n ** 255n - 19n;

/** The 8 points whose order divides 8, found by curve arithmetic that is not ours: L times some point of full order. */
function smallOrderPoints(): Uint8Array[] {
  for (let salt = 1; ; salt++) {
    let point: Point;
    try {
      point = Point.fromBytes(noise(32, salt).fill(0, 31));
    } catch {
      continue; // not on the curve
    }
    const torsion = point.multiply(L - 1n).add(point);
    const multiples: Point[] = [Point.ZERO];
    for (let i = 1; i < 8; i++) multiples.push(multiples[i - 1]!.add(torsion));
    const distinct = new Set(multiples.map((multiple) => multiple.toHex()));
    if (distinct.size === 8) return [...distinct].map(fromHex);
  }
}

function withSign(point: Uint8Array, sign: number): Uint8Array {
  const signed = point.slice();
  signed[31] = (signed[31]! & 0x7f) | (sign << 7);
  return signed;
}

test('the signatures of RFC 8032 pass', () => {
  for (const { publicKey, signature } of RFC_8032_VECTORS) assert.equal(ed25519Precheck(publicKey, signature), null);
});

test('S at or above the group order is refused, while key and nonce stay the same', () => {
  const { publicKey, signature } = RFC_8032_VECTORS[2]!;
  const s = fromLittleEndian(signature.subarray(32));
  const withS = (value: bigint) => new Uint8Array([...signature.subarray(0, 32), ...littleEndian(value)]);
  assert.equal(ed25519Precheck(publicKey, withS(s)), null);
  for (const value of [0n, 1n, L - 1n]) assert.equal(ed25519Precheck(publicKey, withS(value)), null);
  for (const value of [L, L + 1n, s + L, 2n ** 253n, 2n ** 255n, 2n ** 256n - 1n]) {
    assert.match(ed25519Precheck(publicKey, withS(value)) ?? 'accepted', /^S is not below/);
  }
});

test('all eight points of small order are refused, whatever the sign bit says, as key and as nonce', () => {
  const points = smallOrderPoints();
  assert.equal(points.length, 8);
  const { publicKey, signature } = RFC_8032_VECTORS[0]!;
  for (const point of points) {
    for (const sign of [0, 1]) {
      const encoded = withSign(point, sign);
      assert.equal(pointFault(encoded), 'is a point of small order', toHex(encoded));
      assert.match(ed25519Precheck(encoded, signature) ?? 'accepted', /^public key is a point of small order/);
      const nonce = new Uint8Array([...encoded, ...signature.subarray(32)]);
      assert.match(ed25519Precheck(publicKey, nonce) ?? 'accepted', /^R is a point of small order/);
    }
  }
});

test('y at or above the field prime is refused, whatever the sign bit says', () => {
  for (let excess = 0n; excess < 19n; excess++) {
    for (const sign of [0, 1]) {
      assert.equal(pointFault(withSign(littleEndian(P + excess), sign)), 'is not canonically encoded');
    }
  }
  assert.equal(pointFault(littleEndian(P - 2n)), null);
  assert.equal(pointFault(littleEndian(2n)), null);
});

test('wrong lengths are named, not read past', () => {
  const { publicKey, signature } = RFC_8032_VECTORS[0]!;
  assert.match(ed25519Precheck(publicKey.subarray(1), signature) ?? '', /expected 32 bytes, got 31/);
  assert.match(ed25519Precheck(publicKey, signature.subarray(1)) ?? '', /expected 64 bytes, got 63/);
});
