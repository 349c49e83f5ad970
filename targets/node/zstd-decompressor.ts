/**
 * The zstd decoder on gateways: the reference implementation as WebAssembly. It never writes or reads past what it was given and
 * stops where its output is full, which the portable decoder of the microcontroller bundle does not (see core/codec/zstd-blocks.ts).
 *
 * Calls zstd itself rather than the package's wrapper, which gives each result memory of its own.
 */

import { Module } from 'zstd-wasm/module';
import { putFrameHeader, ZSTD_FRAME_HEADER_BYTES } from '../../core/codec/zstd-blocks.js';
import { InvalidPatch, invariant } from '../../core/errors.js';
import type { Decompressor } from '../../core/ports.js';
import { loadZstd } from './zstd-wasm.js';

export function createDecompressor(): Decompressor {
  return new ZstdWasmDecompressor();
}

/** Loads zstd with the first segment that needs it: many patches have none. */
class ZstdWasmDecompressor implements Decompressor {
  private context = 0;
  private readonly frameHeader = new Uint8Array(ZSTD_FRAME_HEADER_BYTES);

  decompress(dictionary: Uint8Array, packed: Uint8Array, plain: Uint8Array): void {
    loadZstd();
    if (this.context === 0) this.context = Module._ZSTD_createDCtx();
    const frameLength = ZSTD_FRAME_HEADER_BYTES + packed.length;
    const [frame, dict, output] = [reserve(frameLength), reserve(dictionary.length), reserve(plain.length)];
    try {
      putFrameHeader(this.frameHeader, plain.length);
      // Looked up only now: the heap may have moved as it grew.
      const heap = Module.HEAPU8;
      heap.set(this.frameHeader, frame);
      heap.set(packed, frame + ZSTD_FRAME_HEADER_BYTES);
      heap.set(dictionary, dict);
      const decoded = Module._ZSTD_decompress_usingDict(
        ...([this.context, output, plain.length, frame, frameLength, dict, dictionary.length] as const),
      );
      if (Module._ZSTD_isError(decoded) !== 0) {
        throw new InvalidPatch('BAD_SEGMENT', `zstd payload of ${packed.length} bytes: malformed`);
      }
      if (decoded !== plain.length) {
        throw new InvalidPatch('BAD_SEGMENT', `zstd payload: expected ${plain.length} bytes, got ${decoded}`);
      }
      plain.set(Module.HEAPU8.subarray(output, output + decoded));
    } finally {
      for (const pointer of [frame, dict, output]) Module._free(pointer);
    }
  }
}

function reserve(bytes: number): number {
  const pointer = Module._malloc(bytes);
  invariant(pointer !== 0 || bytes === 0, 'zstd has memory for a segment and its dictionary');
  return pointer;
}
