/** The frame chain on its own, without decoding anything: is the file what its header says it is? */

import { InvalidPatch } from '../../core/errors.js';
import { FrameGeometry, FrameReader, HASH_BYTES } from '../../core/patch/frames.js';
import type { ByteSource } from '../../core/ports.js';
import { NodeHasher } from './hashing.js';
import type { Preamble } from './inputs.js';
import type { Task } from './task.js';

/** How long the file has to be. */
export function expectedPatchSize({ header, preambleBytes }: Preamble): number {
  return preambleBytes + new FrameGeometry(header.frameBytes, header.bodyBytes).wireBytes;
}

/** @throws InvalidPatch TRUNCATED or TRAILING_BYTES */
export function requirePatchSize(patch: ByteSource, preamble: Preamble): void {
  const expected = expectedPatchSize(preamble);
  if (patch.size === expected) return;
  const code = patch.size < expected ? 'TRUNCATED' : 'TRAILING_BYTES';
  throw new InvalidPatch(code, `patch file: expected ${expected} bytes, got ${patch.size}`);
}

/** Calls `use` with each frame as it lies in the file, once it matched the chain. @throws InvalidPatch */
export function forEachFrame(
  patch: ByteSource,
  preamble: Preamble,
  use: (frame: Uint8Array, index: number) => void,
): void {
  requirePatchSize(patch, preamble);
  const { header, preambleBytes } = preamble;
  const geometry = new FrameGeometry(header.frameBytes, header.bodyBytes);
  const reader = new FrameReader(geometry, new Uint8Array(header.frameBytes), new NodeHasher(), header.firstFrameHash);
  const buffer = new Uint8Array(header.frameBytes);
  for (let index = 0; index < geometry.count; index++) {
    const frame = buffer.subarray(0, geometry.lengthOf(index));
    patch.read(preambleBytes + geometry.wireOffset(index), frame);
    reader.gather(frame, 0);
    if (!reader.verify()) {
      throw new InvalidPatch('BAD_FRAME', `frame ${index} does not match the hash chain: damaged or forged`);
    }
    use(frame, index);
    reader.drop(reader.payload.length);
  }
}

/** Null when every frame matches and nothing follows the last. @throws IoError, Aborted */
export function frameChainFault(patch: ByteSource, preamble: Preamble, task: Task): InvalidPatch | null {
  try {
    forEachFrame(patch, preamble, (frame, index) => {
      task.checkpoint('verifying', index * frame.length, patch.size);
    });
    return null;
  } catch (error) {
    if (error instanceof InvalidPatch) return error;
    throw error;
  }
}

/** The body without the hashes between its frames, to be read at random; the chain is to be checked before. */
export class BodySource implements ByteSource {
  readonly size: number;
  private readonly patch: ByteSource;
  private readonly geometry: FrameGeometry;
  private readonly preambleBytes: number;

  constructor(patch: ByteSource, { header, preambleBytes }: Preamble) {
    this.patch = patch;
    this.geometry = new FrameGeometry(header.frameBytes, header.bodyBytes);
    this.preambleBytes = preambleBytes;
    this.size = header.bodyBytes;
  }

  read(offset: number, into: Uint8Array): void {
    let done = 0;
    while (done < into.length) {
      const frame = this.geometry.frameAt(offset + done);
      const within = offset + done - this.geometry.bodyOffset(frame) + (this.geometry.isLast(frame) ? 0 : HASH_BYTES);
      const length = Math.min(into.length - done, this.geometry.lengthOf(frame) - within);
      this.patch.read(
        this.preambleBytes + this.geometry.wireOffset(frame) + within,
        into.subarray(done, done + length),
      );
      done += length;
    }
  }
}
