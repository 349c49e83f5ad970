/**
 * The pinned zstd encoder: WebAssembly, so that every machine makes the same patch byte for byte. Its version is exact in
 * package.json for that reason. Runs where patches are made, never on a device.
 *
 * Calls zstd itself rather than the package's wrapper, which gives each result memory of its own: over segments of 1 MiB that
 * piled up to 60 MB before V8 let go of it (measured, 48 MiB of changed tensors).
 */

import { Module } from 'zstd-wasm/module';
import { invariant } from '../../core/errors.js';
import type { Compressor } from '../../core/ports.js';
import { loadZstd } from './zstd-wasm.js';

export function createCompressor(): Compressor {
  loadZstd();
  return new ZstdWasmCompressor();
}

class ZstdWasmCompressor implements Compressor {
  private frame = new Uint8Array(0);

  compress(dictionary: Uint8Array, plain: Uint8Array, level: number): Uint8Array {
    const bound = Module._ZSTD_compressBound(plain.length);
    // A new context each time, so that nothing of one segment can reach the next.
    const context = Module._ZSTD_createCCtx();
    const output = Module._malloc(bound);
    const [source, dict] = [place(plain), place(dictionary)];
    try {
      const length = Module._ZSTD_compress_usingDict(
        ...([context, output, bound, source, plain.length, dict, dictionary.length, level] as const),
      );
      invariant(Module._ZSTD_isError(length) === 0, `zstd has room for its output: ${length}`);
      if (this.frame.length < length) this.frame = new Uint8Array(bound);
      // Looked up only now: the heap may have moved as it grew.
      this.frame.set(Module.HEAPU8.subarray(output, output + length));
      return withoutFrameHeader(this.frame.subarray(0, length));
    } finally {
      for (const pointer of [output, source, dict]) Module._free(pointer);
      Module._ZSTD_freeCCtx(context);
    }
  }
}

/** Copies bytes into zstd's memory. */
function place(bytes: Uint8Array): number {
  const pointer = Module._malloc(bytes.length);
  invariant(pointer !== 0 || bytes.length === 0, 'zstd has memory for a segment and its dictionary');
  Module.HEAPU8.set(bytes, pointer);
  return pointer;
}

/** RFC 8878, 3.1.1.1: magic, descriptor, optional window, dictionary id and content size. */
function withoutFrameHeader(frame: Uint8Array): Uint8Array {
  const descriptor = frame[4]!;
  const singleSegment = (descriptor >> 5) & 1;
  const sizeFlag = descriptor >> 6;
  invariant((descriptor & 0x07) === 0, 'the encoder writes no checksum and no dictionary id');
  const sizeBytes = sizeFlag === 0 ? singleSegment : 1 << sizeFlag;
  return frame.subarray(5 + (1 - singleSegment) + sizeBytes);
}
