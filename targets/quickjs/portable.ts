/** Core's ports in plain JavaScript, for engines without native hashing: slow, tested, and the same everywhere. */

import { sha256 } from '@noble/hashes/sha2.js';
import { decompress } from 'fzstd';
import { ZstdBlockDecompressor } from '../../core/codec/zstd-blocks.js';
import type { Decompressor, Hasher } from '../../core/ports.js';

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

export function createDecompressor(): Decompressor {
  return new ZstdBlockDecompressor((frame, out) => {
    decompress(frame, out);
  });
}
