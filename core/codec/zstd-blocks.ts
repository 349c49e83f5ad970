/**
 * Turns a frame-at-a-time zstd decoder into core's Decompressor. A segment's payload is bare zstd blocks (RFC 8878,
 * 3.1.1.2) behind a raw-content dictionary; this puts a frame header and the dictionary, as raw blocks, in front of them, so
 * that a decoder that knows no dictionaries serves too. Frame headers on the wire would cost 9 bytes a segment and say nothing.
 */

import { writeU32 } from '../bytes.js';
import { InvalidPatch } from '../errors.js';
import type { Decompressor } from '../ports.js';

/** Decodes one whole zstd frame into `out`; what does not fit is dropped. */
export type FrameDecoder = (frame: Uint8Array, out: Uint8Array) => void;

export const ZSTD_FRAME_HEADER_BYTES = 9;
const BLOCK_HEADER_BYTES = 3;
const MAX_BLOCK_BYTES = 131072;
const BLOCK_RAW = 0;
const BLOCK_RLE = 1;
const BLOCK_COMPRESSED = 2;
/** Written by a last block of our own: found right behind the plain bytes only if those have the declared length. */
const SENTINEL = [0x9d, 0x4d, 0x4c, 0x52, 0x4e, 0x5a, 0xc3, 0x17];

export class ZstdBlockDecompressor implements Decompressor {
  private readonly decode: FrameDecoder;
  private frame: Uint8Array = new Uint8Array(0);
  private out: Uint8Array = new Uint8Array(0);

  constructor(decode: FrameDecoder) {
    this.decode = decode;
  }

  decompress(dictionary: Uint8Array, packed: Uint8Array, plain: Uint8Array): void {
    const lastBlock = findLastBlock(packed, plain.length);
    const outLength = dictionary.length + plain.length + SENTINEL.length;
    const frameLength = this.assemble(dictionary, packed, lastBlock, outLength);
    if (this.out.length < outLength) this.out = new Uint8Array(outLength);
    const out = this.out.subarray(0, outLength);
    out.fill(0, outLength - SENTINEL.length);
    try {
      this.decode(this.frame.subarray(0, frameLength), out);
    } catch (cause) {
      throw new InvalidPatch('BAD_SEGMENT', `zstd payload: ${cause instanceof Error ? cause.message : String(cause)}`, {
        cause,
      });
    }
    const end = outLength - SENTINEL.length;
    if (SENTINEL.some((byte, i) => out[end + i] !== byte)) {
      throw new InvalidPatch(
        'BAD_SEGMENT',
        `zstd payload: expected it to decode to ${plain.length} bytes, got another number`,
      );
    }
    plain.set(out.subarray(dictionary.length, end));
  }

  /** Frame header, dictionary as raw blocks, payload with its last-block flag cleared, sentinel block. */
  private assemble(dictionary: Uint8Array, packed: Uint8Array, lastBlock: number, contentBytes: number): number {
    const dictionaryBlocks = Math.ceil(dictionary.length / MAX_BLOCK_BYTES);
    const length =
      ZSTD_FRAME_HEADER_BYTES +
      dictionaryBlocks * BLOCK_HEADER_BYTES +
      dictionary.length +
      packed.length +
      BLOCK_HEADER_BYTES +
      SENTINEL.length;
    if (this.frame.length < length) this.frame = new Uint8Array(length);
    const { frame } = this;
    putFrameHeader(frame, contentBytes);
    let at = ZSTD_FRAME_HEADER_BYTES;
    for (let from = 0; from < dictionary.length; from += MAX_BLOCK_BYTES) {
      const run = dictionary.subarray(from, from + MAX_BLOCK_BYTES);
      at = putBlockHeader(frame, at, false, run.length);
      frame.set(run, at);
      at += run.length;
    }
    frame.set(packed, at);
    frame[at + lastBlock] = frame[at + lastBlock]! & 0xfe;
    at = putBlockHeader(frame, at + packed.length, true, SENTINEL.length);
    frame.set(SENTINEL, at);
    return length;
  }
}

/** RFC 8878, 3.1.1.1: single segment, so that the window covers all; 4-byte content size; no checksum, no dictionary id. */
export function putFrameHeader(frame: Uint8Array, contentBytes: number): void {
  writeU32(frame, 0, 0xfd2fb528);
  frame[4] = 0xa0;
  writeU32(frame, 5, contentBytes);
}

function putBlockHeader(frame: Uint8Array, at: number, last: boolean, length: number): number {
  const header = (length << 3) | (BLOCK_RAW << 1) | (last ? 1 : 0);
  frame[at] = header;
  frame[at + 1] = header >>> 8;
  frame[at + 2] = header >>> 16;
  return at + BLOCK_HEADER_BYTES;
}

/**
 * Walks the block headers; returns where the last one starts. Also bounds how many blocks there are: each may claim 128 KiB
 * of output, so a payload of millions of tiny blocks would otherwise keep a decoder busy for minutes.
 * @throws InvalidPatch BAD_SEGMENT
 */
function findLastBlock(packed: Uint8Array, plainLength: number): number {
  const mostBlocks = 8 + Math.floor(plainLength / 256);
  let at = 0;
  for (let blocks = 1; ; blocks++) {
    if (at + BLOCK_HEADER_BYTES > packed.length) throw badBlock(at, 'a block header', 'the end of the payload');
    if (blocks > mostBlocks) throw badBlock(at, `at most ${mostBlocks} blocks`, 'more');
    const header = packed[at]! | (packed[at + 1]! << 8) | (packed[at + 2]! << 16);
    const type = (header >> 1) & 3;
    const size = header >> 3;
    if (type > BLOCK_COMPRESSED) throw badBlock(at, 'block type 0 to 2', type);
    if (size > MAX_BLOCK_BYTES) throw badBlock(at, `at most ${MAX_BLOCK_BYTES} bytes in a block`, size);
    const next = at + BLOCK_HEADER_BYTES + (type === BLOCK_RLE ? 1 : size);
    if (next > packed.length) throw badBlock(at, `a block within ${packed.length} bytes`, next);
    if ((header & 1) === 1) {
      if (next !== packed.length) throw badBlock(next, 'the end of the payload', `${packed.length - next} more bytes`);
      return at;
    }
    at = next;
  }
}

function badBlock(at: number, expected: string, got: string | number): InvalidPatch {
  return new InvalidPatch('BAD_SEGMENT', `zstd payload at byte ${at}: expected ${expected}, got ${got}`);
}
