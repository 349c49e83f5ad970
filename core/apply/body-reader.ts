/**
 * The body of a patch as it comes in: frames, each let out once it matched the chain, and where in the body that is. Knows
 * what a resume has to ask for.
 */

import { InvalidPatch } from '../errors.js';
import { FrameGeometry, FrameReader, HASH_BYTES } from '../patch/frames.js';
import type { PatchHeader } from '../patch/header.js';
import type { Hasher } from '../ports.js';
import type { Checkpoint } from './journal.js';

export class BodyReader {
  readonly geometry: FrameGeometry;
  /** Bytes used so far. */
  offset = 0;
  /** Where a resume goes on: a body offset, and the frame that holds it, with its hash. Set by `mark`. */
  markedOffset = 0;
  markedFrame = 0;
  readonly markedFrameHash = new Uint8Array(HASH_BYTES);
  private readonly frames: FrameReader;
  /** Hash of the frame whose payload is out, kept because the reader already expects the next one. */
  private readonly currentFrameHash = new Uint8Array(HASH_BYTES);
  private readonly frameRetries: number;
  private retriesLeft: number;

  /** `buffer` holds a frame. A frame that does not match is asked for again `frameRetries` times. */
  constructor(header: PatchHeader, buffer: Uint8Array, hasher: Hasher, frameRetries: number) {
    this.geometry = new FrameGeometry(header.frameBytes, header.bodyBytes);
    this.frames = new FrameReader(this.geometry, buffer, hasher, header.firstFrameHash);
    this.frameRetries = frameRetries;
    this.retriesLeft = frameRetries;
  }

  /** The frame that is gathered or used. */
  get frameIndex(): number {
    return this.frames.index;
  }

  /** Where behind the preamble that frame begins. */
  get frameOffset(): number {
    return this.geometry.wireOffset(this.frames.index);
  }

  /** Body bytes not used yet. */
  get left(): number {
    return this.geometry.bodyBytes - this.offset;
  }

  /** Verified bytes that are there: more are to be gathered where there are none. */
  get hasPayload(): boolean {
    return this.frames.hasPayload;
  }

  get payload(): Uint8Array {
    return this.frames.payload;
  }

  /** Takes bytes from `chunk` at `start`; returns how many. */
  gather(chunk: Uint8Array, start: number): number {
    return this.frames.gather(chunk, start);
  }

  /** Whether a frame is gathered whole, to be verified. */
  get complete(): boolean {
    return this.frames.complete;
  }

  /** Checks a gathered frame; false asks for it again. A resumed segment begins inside its first frame. @throws InvalidPatch BAD_FRAME */
  verify(): boolean {
    const index = this.frames.index;
    this.currentFrameHash.set(this.frames.expectedHash);
    if (!this.frames.verify()) {
      if (this.retriesLeft-- > 0) return false;
      throw new InvalidPatch('BAD_FRAME', `frame ${index} does not match the hash chain: damaged or forged`);
    }
    this.retriesLeft = this.frameRetries;
    const skip = this.offset - this.geometry.bodyOffset(index);
    if (skip > 0) this.frames.drop(skip);
    return true;
  }

  /** Takes up to `wanted` of the verified bytes, `into` its start; returns how many there were. */
  take(into: Uint8Array, wanted: number): number {
    const { payload } = this.frames;
    const count = Math.min(payload.length, wanted);
    into.set(payload.subarray(0, count));
    this.use(count);
    return count;
  }

  use(count: number): void {
    this.frames.drop(count);
    this.offset += count;
  }

  mark(): void {
    this.markedOffset = this.offset;
    this.markedFrame = this.frames.index;
    this.markedFrameHash.set(this.frames.hasPayload ? this.currentFrameHash : this.frames.expectedHash);
  }

  restart({ bodyOffset, frameIndex, frameHash }: Checkpoint): void {
    this.offset = bodyOffset;
    this.frames.restart(frameIndex, frameHash);
  }
}
