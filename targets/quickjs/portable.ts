/** Core's ports in plain JavaScript, for engines without native hashing: slow, tested, and the same everywhere. */

import { hashes, verify } from '@noble/ed25519';
import { sha256, sha512 } from '@noble/hashes/sha2.js';
import { decompress } from 'fzstd';
import { ZstdBlockDecompressor } from '../../core/codec/zstd-blocks.js';
import type { Decompressor, Hasher, SignatureVerifier } from '../../core/ports.js';

hashes.sha512 = sha512;

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

/** @noble/ed25519 swallows errors and answers false; core checks a known good signature before it believes that. */
export class PortableVerifier implements SignatureVerifier {
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): 'valid' | 'invalid' {
    return verify(signature, message, publicKey, { zip215: false }) ? 'valid' : 'invalid';
  }
}

export function createDecompressor(): Decompressor {
  return new ZstdBlockDecompressor((frame, out) => {
    decompress(frame, out);
  });
}
