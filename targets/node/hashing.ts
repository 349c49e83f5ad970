/** SHA-256 and Ed25519 by node:crypto: the fast adapters of core's ports on gateways and workstations. */

import { createHash, createPrivateKey, createPublicKey, type Hash, type KeyObject, sign, verify } from 'node:crypto';
import type { Hasher, SignatureVerifier, Signer } from '../../core/ports.js';

export class NodeHasher implements Hasher {
  private hash: Hash = createHash('sha256');

  reset(): void {
    this.hash = createHash('sha256');
  }

  update(bytes: Uint8Array): void {
    this.hash.update(bytes);
  }

  digest(into: Uint8Array): void {
    into.set(this.hash.digest());
  }
}

/** RFC 8410: what comes before the 32 raw bytes in an Ed25519 SubjectPublicKeyInfo and PKCS#8 key. */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');

export class NodeSignatureVerifier implements SignatureVerifier {
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): 'valid' | 'invalid' {
    return verify(null, message, publicKeyObject(publicKey), signature) ? 'valid' : 'invalid';
  }
}

export function publicKeyObject(publicKey: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([SPKI_PREFIX, publicKey]), format: 'der', type: 'spki' });
}

/** The public half of a 32-byte seed. */
export function publicKeyOfSeed(seed: Uint8Array): Uint8Array {
  const spki = createPublicKey(privateKeyOfSeed(seed)).export({ format: 'der', type: 'spki' });
  return new Uint8Array(spki.subarray(SPKI_PREFIX.length));
}

export function privateKeyOfSeed(seed: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: 'der', type: 'pkcs8' });
}

export class NodeSigner implements Signer {
  readonly publicKey: Uint8Array;
  private readonly key: KeyObject;

  /** @param privateKey 64 bytes, seed then public key; its halves were compared by whoever read it */
  constructor(privateKey: Uint8Array) {
    this.publicKey = privateKey.slice(32);
    this.key = privateKeyOfSeed(privateKey.subarray(0, 32));
  }

  sign(message: Uint8Array): Uint8Array {
    return new Uint8Array(sign(null, message, this.key));
  }
}
