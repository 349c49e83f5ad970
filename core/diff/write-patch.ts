/** Puts a patch file together: frames the body, chains the hashes from the last frame to the first, writes front to back. */

import { FrameGeometry, HASH_BYTES } from '../patch/frames.js';
import { encodeHeader, FORMAT_VERSION, type PatchHeader } from '../patch/header.js';
import { encodeSignatures, makeSignature } from '../patch/signatures.js';
import type { Hasher, Signer } from '../ports.js';
import type { Spool } from './encode-body.js';

export interface WriteOptions {
  readonly header: Omit<PatchHeader, 'firstFrameHash' | 'bodyBytes' | 'version'>;
  readonly spool: Spool;
  readonly signer: Signer | null;
  readonly hasher: Hasher;
  readonly write: (bytes: Uint8Array) => void;
}

/** Returns the patch's size in bytes. */
export function writePatch({ header, spool, signer, hasher, write }: WriteOptions): number {
  const geometry = new FrameGeometry(header.frameBytes, spool.size);
  const hashes = chainHashes(geometry, spool, hasher);
  const encoded = encodeHeader(
    {
      ...header,
      version: FORMAT_VERSION,
      bodyBytes: spool.size,
      firstFrameHash: hashes.subarray(0, HASH_BYTES),
    },
    hasher,
  );
  const signatures = encodeSignatures(signer === null ? [] : [makeSignature(encoded, signer, hasher)]);
  write(encoded);
  write(signatures);
  const frame = new Uint8Array(header.frameBytes);
  for (let i = 0; i < geometry.count; i++) write(readFrame(geometry, spool, hashes, i, frame));
  return encoded.length + signatures.length + geometry.wireBytes;
}

/** [count + 1, HASH_BYTES]: the hash of each frame; a zero hash stands in where there is no frame. */
function chainHashes(geometry: FrameGeometry, spool: Spool, hasher: Hasher): Uint8Array {
  const hashes = new Uint8Array((geometry.count + 1) * HASH_BYTES);
  const frame = new Uint8Array(geometry.frameBytes);
  const digest = new Uint8Array(32);
  for (let i = geometry.count - 1; i >= 0; i--) {
    hasher.reset();
    hasher.update(readFrame(geometry, spool, hashes, i, frame));
    hasher.digest(digest);
    hashes.set(digest.subarray(0, HASH_BYTES), i * HASH_BYTES);
  }
  return hashes;
}

function readFrame(
  geometry: FrameGeometry,
  spool: Spool,
  hashes: Uint8Array,
  index: number,
  into: Uint8Array,
): Uint8Array {
  const frame = into.subarray(0, geometry.lengthOf(index));
  const prefix = geometry.isLast(index) ? 0 : HASH_BYTES;
  if (prefix > 0) frame.set(hashes.subarray((index + 1) * HASH_BYTES, (index + 2) * HASH_BYTES));
  spool.read(geometry.bodyOffset(index), frame.subarray(prefix));
  return frame;
}
