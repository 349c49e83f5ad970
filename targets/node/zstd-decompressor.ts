/**
 * The zstd decoder on gateways: the reference implementation as WebAssembly. It never writes or reads past what it was given and
 * stops where its output is full, which the portable decoder of the microcontroller bundle does not (see core/codec/zstd-blocks.ts).
 */

import { createDCtx, decompressUsingDict } from 'zstd-wasm/decompress';
import { putFrameHeader, ZSTD_FRAME_HEADER_BYTES } from '../../core/codec/zstd-blocks.js';
import { InvalidPatch } from '../../core/errors.js';
import type { Decompressor } from '../../core/ports.js';
import { loadZstd } from './zstd-wasm.js';

export function createDecompressor(): Decompressor {
  loadZstd();
  return new ZstdWasmDecompressor();
}

class ZstdWasmDecompressor implements Decompressor {
  private readonly context = createDCtx();
  private frame: Uint8Array = new Uint8Array(0);

  decompress(dictionary: Uint8Array, packed: Uint8Array, plain: Uint8Array): void {
    const length = ZSTD_FRAME_HEADER_BYTES + packed.length;
    if (this.frame.length < length) this.frame = new Uint8Array(length);
    putFrameHeader(this.frame, plain.length);
    this.frame.set(packed, ZSTD_FRAME_HEADER_BYTES);
    let decoded: Uint8Array;
    try {
      decoded = decompressUsingDict(this.context, this.frame.subarray(0, length), dictionary);
    } catch (cause) {
      throw new InvalidPatch('BAD_SEGMENT', `zstd payload of ${packed.length} bytes: malformed`, { cause });
    }
    if (decoded.length !== plain.length) {
      throw new InvalidPatch('BAD_SEGMENT', `zstd payload: expected ${plain.length} bytes, got ${decoded.length}`);
    }
    plain.set(decoded);
  }
}
