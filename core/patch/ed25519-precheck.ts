/**
 * The strict Ed25519 checks every adapter shares, because libraries disagree on them (RFC 8032, 5.1.7; Chalkias et al.,
 * "Taming the many EdDSAs", 2020): S below the group order, A and R canonically encoded and not of small order.
 * Plain byte comparisons: nothing here needs BigInt.
 */

/** Group order L = 2^252 + 27742317777372353535851937790883648493, little-endian (RFC 8032, 5.1). */
const ORDER = Uint8Array.from([
  0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0,
  0, 0, 0, 0, 0, 0, 0, 0, 0x10,
]);
/** Field prime p = 2^255 - 19, little-endian. */
const PRIME = Uint8Array.of(0xed, ...new Array<number>(30).fill(0xff), 0x7f);
const ZERO = new Uint8Array(32);
const ONE = Uint8Array.of(1, ...ZERO.slice(1));
const MINUS_ONE = Uint8Array.of(0xec, ...PRIME.slice(1));
/** The two y of the points of order 8. */
const ORDER_EIGHT_A = Uint8Array.from([
  0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac,
  0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
]);
const ORDER_EIGHT_B = Uint8Array.from([
  0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53,
  0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
]);
/** y of every point whose order divides 8; the sign bit does not matter. */
const SMALL_ORDER = [ZERO, ONE, MINUS_ONE, ORDER_EIGHT_A, ORDER_EIGHT_B];

/** Null when the key and the 64-byte signature pass, else which check failed. */
export function ed25519Precheck(publicKey: Uint8Array, signature: Uint8Array): string | null {
  if (publicKey.length !== 32) return `public key: expected 32 bytes, got ${publicKey.length}`;
  if (signature.length !== 64) return `signature: expected 64 bytes, got ${signature.length}`;
  if (!isBelow(signature.subarray(32), ORDER, 0xff)) return 'S is not below the group order';
  const publicKeyFault = pointFault(publicKey);
  if (publicKeyFault !== null) return `public key ${publicKeyFault}`;
  const nonceFault = pointFault(signature.subarray(0, 32));
  return nonceFault === null ? null : `R ${nonceFault}`;
}

/** Null for an acceptable point encoding. */
export function pointFault(point: Uint8Array): string | null {
  if (!isBelow(point, PRIME, 0x7f)) return 'is not canonically encoded';
  for (const y of SMALL_ORDER) if (isSameY(point, y)) return 'is a point of small order';
  return null;
}

function isBelow(value: Uint8Array, bound: Uint8Array, topMask: number): boolean {
  for (let i = 31; i >= 0; i--) {
    const byte = i === 31 ? value[i]! & topMask : value[i]!;
    if (byte !== bound[i]) return byte < bound[i]!;
  }
  return false;
}

function isSameY(point: Uint8Array, y: Uint8Array): boolean {
  for (let i = 0; i < 31; i++) if (point[i] !== y[i]) return false;
  return (point[31]! & 0x7f) === y[31];
}
