/** Core's ports in plain JavaScript, for engines without native hashing: slow, tested, and the same everywhere. */

import { etc, Point } from '@noble/ed25519';
import { sha256, sha512 } from '@noble/hashes/sha2.js';
import { decompress } from 'fzstd';
import { ZstdBlockDecompressor } from '../../core/codec/zstd-blocks.js';
import { toHex } from '../../core/hex.js';
import type { Decompressor, Hasher, SignatureVerifier } from '../../core/ports.js';

export class PortableHasher implements Hasher {
  private hash = sha256.create();

  reset(): void {
    this.hash.destroy();
    this.hash = sha256.create();
  }

  update(bytes: Uint8Array): void {
    this.hash.update(bytes);
  }

  digest(into: Uint8Array): void {
    this.hash.digestInto(into);
  }
}

/**
 * RFC 8032, 5.1.7, over the points of @noble/ed25519, without the factor 8 that its own `verify` puts in: with a public key of
 * mixed order that one takes signatures which OpenSSL and TweetNaCl refuse, and two devices must not differ.
 */
export class PortableVerifier implements SignatureVerifier {
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): 'valid' | 'invalid' {
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
      // Not on the curve. Also what running out of memory looks like: core tries a known good signature before it believes this.
      return 'invalid';
    }
    const digest = sha512.create().update(r).update(publicKey).update(message).digest();
    const k = etc.mod(littleEndian(digest), order);
    return nonce.add(a.multiply(k, false)).equals(Point.BASE.multiply(s, false)) ? 'valid' : 'invalid';
  }
}

function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(bytes.slice().reverse())}`);
}

export function createDecompressor(): Decompressor {
  return new ZstdBlockDecompressor((frame, out) => {
    decompress(frame, out);
  });
}
