/**
 * Writes a target strictly in order into a flash region: erases each block just before its first program, programs in
 * aligned runs, pads the end, and reads the whole back for its hash.
 */

import { InvalidPatch, invariant } from '../errors.js';
import type { FlashDevice, FlashStatus, Hasher } from '../ports.js';
import type { TargetSink } from './target-sink.js';

export interface FlashTargetOptions {
  readonly flash: FlashDevice;
  readonly targetSize: number;
  readonly hasher: Hasher;
  /** Programs are gathered in here; its length is a multiple of writeAlign and divides blockLength or is divided by it. */
  readonly buffer: Uint8Array;
}

export class FlashTarget implements TargetSink {
  written = 0;
  private readonly flash: FlashDevice;
  private readonly status: FlashStatus;
  private targetSize: number;
  private readonly hasher: Hasher;
  private readonly buffer: Uint8Array;
  private buffered = 0;
  /** Where in the flash the target begins: a block's start. */
  private base = 0;
  /** Blocks before this one were erased by us. */
  private nextBlock = 0;
  private digested = -1;

  /** @throws InvalidPatch FLASH_EXCEEDED when the target does not fit. */
  constructor({ flash, targetSize, hasher, buffer }: FlashTargetOptions) {
    this.flash = flash;
    this.status = flash.status();
    this.targetSize = targetSize;
    this.hasher = hasher;
    const unit = Math.min(buffer.length, this.status.blockLength);
    this.buffer = buffer.subarray(0, unit);
    invariant(
      unit % this.status.writeAlign === 0 && this.status.blockLength % unit === 0,
      'program buffer fits the geometry',
    );
    if (targetSize > this.status.size) {
      throw new InvalidPatch(
        'FLASH_EXCEEDED',
        `target: expected at most the slot's ${this.status.size} bytes, got ${targetSize}`,
      );
    }
  }

  /** Turns to another target, which begins at a block of its own. */
  begin(base: number, targetSize: number): void {
    invariant(base % this.status.blockLength === 0 && targetSize <= this.status.size - base, 'a run of blocks');
    this.base = base;
    this.targetSize = targetSize;
    this.digested = -1;
    this.resume(0);
  }

  write(bytes: Uint8Array): void {
    let from = 0;
    while (from < bytes.length) {
      const take = Math.min(bytes.length - from, this.buffer.length - this.buffered);
      this.buffer.set(bytes.subarray(from, from + take), this.buffered);
      this.buffered += take;
      this.written += take;
      from += take;
      if (this.buffered === this.buffer.length) this.flush();
    }
  }

  resume(offset: number): void {
    this.buffered = 0;
    const blockEnd =
      offset === this.targetSize ? Math.ceil(offset / this.status.blockLength) : offset / this.status.blockLength;
    invariant(Number.isInteger(blockEnd), 'a checkpoint lies on a block end');
    this.written = offset;
    this.nextBlock = blockEnd;
  }

  checkpoint(): boolean {
    if (this.written % this.status.blockLength !== 0) return false;
    invariant(this.buffered === 0, 'the program buffer divides a block');
    this.flash.sync();
    return true;
  }

  finish(): void {
    if (this.buffered > 0) {
      const padded = Math.ceil(this.buffered / this.status.writeAlign) * this.status.writeAlign;
      this.buffer.fill(this.status.eraseValue, this.buffered, padded);
      this.program(padded);
    }
    this.flash.sync();
  }

  stepDigest(digest: Uint8Array): boolean {
    if (this.digested < 0) {
      this.hasher.reset();
      this.digested = 0;
    }
    const run = this.buffer.subarray(0, Math.min(this.buffer.length, this.targetSize - this.digested));
    if (run.length > 0) this.flash.read(this.base + this.digested, run);
    this.hasher.update(run);
    this.digested += run.length;
    if (this.digested < this.targetSize) return false;
    this.hasher.digest(digest);
    return true;
  }

  private flush(): void {
    this.program(this.buffer.length);
  }

  /** Programs the first `length` bytes of the buffer, which end at or past `written`. */
  private program(length: number): void {
    const offset = this.written - this.buffered;
    const { blockLength } = this.status;
    if (offset === this.nextBlock * blockLength) this.flash.eraseBlock(this.base / blockLength + this.nextBlock++);
    this.flash.program(this.base + offset, this.buffer.subarray(0, length));
    this.buffered = 0;
  }
}
