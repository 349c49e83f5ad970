/**
 * Signatures that verifiers are known to disagree on, each with the one strict verdict. The table of Chalkias, Garillot and
 * Nikolaenko ("Taming the many EdDSAs", 2020, section 5; github.com/novifinancial/ed25519-speccheck), and what can be made of the
 * vectors of RFC 8032 by arithmetic.
 */

import { Point } from '@noble/ed25519';
import { fromHex } from '../../core/hex.js';
import { fromLittleEndian, GROUP_ORDER, littleEndian, RFC_8032_VECTORS } from '../../core/patch/rfc8032.test.js';

export interface Ed25519Case {
  readonly name: string;
  readonly publicKey: Uint8Array;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
  readonly verdict: 'valid' | 'invalid';
}

const P = 2n ** 255n - 19n;
/** A point of order 8 (curve25519-dalek, `EIGHT_TORSION[1]`). */
const TORSION = Point.fromHex('c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a');

const [, , ORIGINAL] = RFC_8032_VECTORS;
const { publicKey, message, signature } = ORIGINAL!;
const R = signature.subarray(0, 32);
const S = fromLittleEndian(signature.subarray(32));

export const ED25519_CASES: readonly Ed25519Case[] = [
  ...RFC_8032_VECTORS.map((vector, i) => ({
    ...vector,
    name: `RFC 8032, 7.1, TEST ${i + 1}`,
    verdict: 'valid' as const,
  })),
  speccheck(0, 'small-order A, small-order R, S = 0', 'invalid', {
    message: '8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6',
    publicKey: 'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
    signature: `c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a${'00'.repeat(32)}`,
  }),
  speccheck(1, 'small-order A', 'invalid', {
    message: '9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79',
    publicKey: 'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
    signature:
      'f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04',
  }),
  speccheck(2, 'small-order R', 'invalid', {
    message: 'aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab',
    publicKey: 'f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43',
    signature:
      'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e',
  }),
  speccheck(3, 'mixed-order A and R, which the plain equation accepts', 'valid', {
    message: '9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79',
    publicKey: 'cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d',
    signature:
      '9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009',
  }),
  speccheck(4, 'mixed-order A, which only the equation times 8 accepts', 'invalid', {
    message: 'e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c',
    publicKey: 'cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d',
    signature:
      '160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed5125ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09',
  }),
  speccheck(5, 'mixed-order A, times 8 before the challenge is reduced', 'invalid', {
    message: 'e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c',
    publicKey: 'cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d',
    signature:
      '21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405',
  }),
  speccheck(6, 'S above the group order', 'invalid', {
    message: '85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40',
    publicKey: '442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623',
    signature:
      'e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514',
  }),
  speccheck(7, 'S far above the group order', 'invalid', {
    message: '85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40',
    publicKey: '442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623',
    signature:
      '8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa19427e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22',
  }),
  speccheck(8, 'R not canonical, hashed as it stands', 'invalid', {
    message: 'fdaebc429f4a735932a160da1301080c13280eea8bc280d1b392c6b9e6ba3a5a',
    publicKey: 'f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43',
    signature:
      'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f454d370c8d9fc323a41450f8d513eafeb5b0697390c1e505a0d4ddc71f566607',
  }),
  speccheck(9, 'R not canonical, hashed in its canonical form', 'invalid', {
    message: '84b698d39be126ff55fe45079e6c8bf64a0d7db6994560b4e96b7021eb39c1a1',
    publicKey: 'f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43',
    signature:
      'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f084d5b99c2a9463d9c8bd5026916996984eeec87ddf1d3be329006ace1b37b09',
  }),
  ...[S + GROUP_ORDER, GROUP_ORDER, GROUP_ORDER - 1n, 0n, 2n ** 253n, 2n ** 256n - 1n].map((s, i) =>
    changed(`S of the vector replaced, ${['S + L', 'L', 'L - 1', '0', '2^253', '2^256 - 1'][i]}`, {
      signature: concat(R, littleEndian(s)),
    }),
  ),
  ...smallOrderPoints().flatMap((point, i) => [
    changed(`A of small order, ${i} of 8`, { publicKey: point }),
    changed(`R of small order, ${i} of 8`, { signature: concat(point, signature.subarray(32)) }),
    changed(`A and R of small order with S = 0, ${i} of 8`, {
      publicKey: point,
      signature: concat(point, new Uint8Array(32)),
    }),
    changed(`A of small order with the other sign, ${i} of 8`, { publicKey: otherSign(point) }),
  ]),
  ...[P, P + 1n, P + 18n, 2n ** 255n - 1n].flatMap((y, i) => [
    changed(`A not canonical, ${i}`, { publicKey: littleEndian(y) }),
    changed(`A not canonical with a sign, ${i}`, { publicKey: otherSign(littleEndian(y)) }),
    changed(`R not canonical, ${i}`, { signature: concat(littleEndian(y), signature.subarray(32)) }),
  ]),
  changed('A not on the curve', { publicKey: littleEndian(2n) }),
  changed('R not on the curve', { signature: concat(littleEndian(2n), signature.subarray(32)) }),
  changed('A with the other sign', { publicKey: otherSign(publicKey) }),
  changed('R with the other sign', { signature: concat(otherSign(R), signature.subarray(32)) }),
  changed('A plus a point of order 8', { publicKey: Point.fromBytes(publicKey).add(TORSION).toBytes() }),
  changed('R plus a point of order 8', {
    signature: concat(Point.fromBytes(R).add(TORSION).toBytes(), signature.subarray(32)),
  }),
  changed('another message', { message: Uint8Array.of(0xaf, 0x83) }),
];

function speccheck(
  index: number,
  what: string,
  verdict: Ed25519Case['verdict'],
  hex: Record<'message' | 'publicKey' | 'signature', string>,
): Ed25519Case {
  const { message, publicKey, signature } = hex;
  return {
    name: `speccheck ${index}: ${what}`,
    verdict,
    message: fromHex(message),
    publicKey: fromHex(publicKey),
    signature: fromHex(signature),
  };
}

/** RFC 8032's TEST 3 with a part replaced. */
function changed(name: string, parts: Partial<Pick<Ed25519Case, 'publicKey' | 'message' | 'signature'>>): Ed25519Case {
  return { name, publicKey, message, signature, verdict: 'invalid', ...parts };
}

function smallOrderPoints(): Uint8Array[] {
  const points = [Point.ZERO];
  for (let i = 1; i < 8; i++) points.push(points[i - 1]!.add(TORSION));
  return points.map((point) => point.toBytes());
}

function otherSign(point: Uint8Array): Uint8Array {
  const out = point.slice();
  out[31]! ^= 0x80;
  return out;
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  return new Uint8Array([...a, ...b]);
}
