/**
 * The pinned zstd encoder: WebAssembly, so that every machine makes the same patch byte for byte. Its version is exact in
 * package.json for that reason. Runs where patches are made, never on a device.
 */

import { compressUsingDict, createCCtx, freeCCtx } from 'zstd-wasm/compress';
import { invariant } from '../../core/errors.js';
import type { Compressor } from '../../core/ports.js';
import { loadZstd } from './zstd-wasm.js';

export function createCompressor(): Compressor {
  loadZstd();
  return { compress };
}

function compress(dictionary: Uint8Array, plain: Uint8Array, level: number): Uint8Array {
  const context = createCCtx();
  try {
    return withoutFrameHeader(compressUsingDict(context, plain, dictionary, level));
  } finally {
    freeCCtx(context);
  }
}

/** RFC 8878, 3.1.1.1: magic, descriptor, optional window, dictionary id and content size. */
function withoutFrameHeader(frame: Uint8Array): Uint8Array {
  const descriptor = frame[4]!;
  const singleSegment = (descriptor >> 5) & 1;
  const sizeFlag = descriptor >> 6;
  invariant((descriptor & 0x07) === 0, 'the encoder writes no checksum and no dictionary id');
  const sizeBytes = sizeFlag === 0 ? singleSegment : 1 << sizeFlag;
  return frame.slice(5 + (1 - singleSegment) + sizeBytes);
}
