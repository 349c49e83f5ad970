/**
 * A quick look at a model file: which version might this be? Reads at most 68 KiB whatever the file's size.
 *
 * A fingerprint is a hint, never a proof: a fine-tune can change only the middle of a file, and MD5 is not collision
 * resistant. Nothing that installs or refuses a model may rest on it; that is what the SHA-256 in a patch is for.
 */

import { equalBytes } from './bytes.js';
import { invariant } from './errors.js';
import { detectFormatOf } from './formats/detect.js';
import type { ModelFormat } from './formats/model.js';
import { toHex } from './hex.js';
import type { ByteSource } from './ports.js';

const HEADER_BYTES = 65536;
const TAIL_BYTES = 4096;
const MD5_BYTES = 16;

export interface FingerprintParts {
  /** What the first bytes look like, in lower case; a file whose reader would refuse it keeps its name here. */
  readonly format: Lowercase<ModelFormat>;
  /** Bytes. */
  readonly fileSize: number;
  /** MD5 (RFC 1321) of the first 64 KiB, 16 bytes. */
  readonly headerHash: Uint8Array;
  /** MD5 of the last 4 KiB, 16 bytes. */
  readonly tailHash: Uint8Array;
}

/** Built from its parts, so that one that crossed a thread or came from JSON can be revived. */
export class Fingerprint implements FingerprintParts {
  readonly format: Lowercase<ModelFormat>;
  readonly fileSize: number;
  readonly headerHash: Uint8Array;
  readonly tailHash: Uint8Array;
  /** headerHash XOR tailHash, 16 bytes; all zeros for a file of at most 4 KiB, where both cover the same bytes. */
  readonly combinedHash: Uint8Array;

  constructor(parts: FingerprintParts) {
    this.format = parts.format;
    this.fileSize = parts.fileSize;
    this.headerHash = parts.headerHash;
    this.tailHash = parts.tailHash;
    this.combinedHash = parts.headerHash.map((byte, i) => byte ^ parts.tailHash[i]!);
  }

  /** First 16 hex digits of combinedHash, for people. */
  short(): string {
    return toHex(this.combinedHash.subarray(0, 8));
  }

  /** Whether both may be the same file. Compares the hashes themselves: their XOR is zero for every small file. */
  matches(other: FingerprintParts): boolean {
    return (
      this.format === other.format &&
      this.fileSize === other.fileSize &&
      equalBytes(this.headerHash, other.headerHash) &&
      equalBytes(this.tailHash, other.tailHash)
    );
  }
}

/** `md5` returns 16 bytes. Throws IoError when `source` cannot be read. */
export function fingerprintOf(source: ByteSource, md5: (bytes: Uint8Array) => Uint8Array): Fingerprint {
  const header = new Uint8Array(Math.min(HEADER_BYTES, source.size));
  const tail = new Uint8Array(Math.min(TAIL_BYTES, source.size));
  source.read(0, header);
  source.read(source.size - tail.length, tail);
  const headerHash = md5(header);
  const tailHash = md5(tail);
  invariant(headerHash.length === MD5_BYTES && tailHash.length === MD5_BYTES, 'an MD5 has 16 bytes');
  const format = detectFormatOf(header, source.size).toLowerCase() as Lowercase<ModelFormat>;
  return new Fingerprint({ format, fileSize: source.size, headerHash, tailHash });
}
