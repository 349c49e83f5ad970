/** Ed25519 by a library that no product uses: what two others are compared with. */
import { etc, Point } from '@noble/ed25519';
import { sha512 } from '@noble/hashes/sha2.js';
import { toHex } from '../../core/hex.js';
import type { SignatureVerifier } from '../../core/ports.js';

/**
 * RFC 8032, 5.1.7, over the points of @noble/ed25519, without the factor 8 that its own `verify` puts in: with a public key of
 * mixed order that one takes signatures which OpenSSL and TweetNaCl refuse.
 */
export const nobleVerifier: SignatureVerifier = {
  verify(publicKey, message, signature) {
    const order = Point.CURVE().n;
    const s = littleEndian(signature.subarray(32));
    if (s >= order) return 'invalid';
    const r = signature.subarray(0, 32);
    let a: Point;
    let nonce: Point;
    try {
      a = Point.fromBytes(publicKey);
      nonce = Point.fromBytes(r);
    } catch {
      return 'invalid';
    }
    const digest = sha512.create().update(r).update(publicKey).update(message).digest();
    const k = etc.mod(littleEndian(digest), order);
    return nonce.add(a.multiply(k, false)).equals(Point.BASE.multiply(s, false)) ? 'valid' : 'invalid';
  },
};

function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(bytes.slice().reverse())}`);
}
