/**
 * A regular file that behaves like flash: what the applier and the journal write to on a gateway. A file needs no erase, so
 * what an erase does is a choice of the caller:
 *
 * - `eager` writes eraseValue, as the port promises. For journals, which find their end by it and are small.
 * - `lazy` does nothing: reading an erased block that was not programmed gives unspecified bytes. For model slots, where
 *   filling gigabytes that are about to be overwritten would double the writes.
 */
import { closeSync, constants, fstatSync, fsyncSync, ftruncateSync, openSync } from 'node:fs';
import { IoError, invariant } from '../../core/errors.js';
import type { FlashDevice, FlashStatus } from '../../core/ports.js';
import { readFully, writeFully } from './file-io.js';
import { attempt } from './io-error.js';

export type EraseMode = 'eager' | 'lazy';

export interface FileFlashOptions {
  /** Bytes the caller needs; `status().size` is the next multiple of blockLength. */
  readonly size: number;
  readonly erase: EraseMode;
  /** Bytes, default 64 KiB. */
  readonly blockLength?: number;
  /** Default 0xFF. */
  readonly eraseValue?: number;
}

const DEFAULT_BLOCK_BYTES = 64 << 10;

export class FileFlash implements FlashDevice {
  readonly path: string;
  private readonly geometry: FlashStatus;
  private readonly mode: EraseMode;
  private readonly erased: Uint8Array;
  private fd: number;

  /**
   * Over an open read-write descriptor, which `close` closes; `path` only appears in messages. Eager: a file shorter than
   * the device is filled up with eraseValue. Throws IoError.
   */
  constructor(fd: number, path: string, options: FileFlashOptions) {
    const { size, erase, blockLength = DEFAULT_BLOCK_BYTES, eraseValue = 0xff } = options;
    invariant(Number.isSafeInteger(size) && size >= 0, `size is a byte count, got ${size}`);
    invariant(Number.isSafeInteger(blockLength) && blockLength > 0, `blockLength is a byte count, got ${blockLength}`);
    const blocks = Math.ceil(size / blockLength);
    this.geometry = { size: blocks * blockLength, blockLength, blocks, writeAlign: 1, eraseValue };
    this.mode = erase;
    this.erased = new Uint8Array(erase === 'eager' ? blockLength : 0).fill(eraseValue);
    this.path = path;
    this.fd = fd;
    if (erase === 'eager') this.fillUp();
  }

  /** Opens or creates `path`; keeps what it holds. A symbolic link or anything else but a regular file is an IoError. */
  static open(path: string, options: FileFlashOptions): FileFlash {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const fd = attempt(`cannot open ${path}`, () => openSync(path, flags, 0o644));
    try {
      const stats = attempt(`cannot read ${path}`, () => fstatSync(fd));
      if (!stats.isFile()) throw new IoError(`expected a regular file, got something else: ${path}`);
      return new FileFlash(fd, path, options);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  status(): FlashStatus {
    return this.geometry;
  }

  /** Bytes in the file now: on a lazy device less than `status().size` until its end was programmed. */
  length(): number {
    return attempt(`cannot read ${this.path}`, () => fstatSync(this.open()).size);
  }

  read(offset: number, into: Uint8Array): void {
    this.requireRange(offset, into.length);
    const count = readFully(this.open(), this.path, offset, into);
    into.fill(this.geometry.eraseValue, count);
  }

  eraseBlock(index: number): void {
    const { blocks, blockLength } = this.geometry;
    invariant(Number.isSafeInteger(index) && index >= 0 && index < blocks, `block ${index} is below ${blocks}`);
    const fd = this.open();
    if (this.mode === 'eager') writeFully(fd, this.path, index * blockLength, this.erased);
  }

  program(offset: number, bytes: Uint8Array): void {
    this.requireRange(offset, bytes.length);
    writeFully(this.open(), this.path, offset, bytes);
  }

  sync(): void {
    attempt(`cannot sync ${this.path}`, () => fsyncSync(this.open()));
  }

  /** Cuts the file to `size` bytes: the padding after the last byte of a model. */
  truncate(size: number): void {
    attempt(`cannot truncate ${this.path}`, () => ftruncateSync(this.open(), size));
  }

  /** Does not sync. May be called again. */
  close(): void {
    const { fd } = this;
    if (fd === -1) return;
    // Forgotten first: a descriptor number is reused, and a late write would land in somebody else's file.
    this.fd = -1;
    attempt(`cannot close ${this.path}`, () => closeSync(fd));
  }

  private fillUp(): void {
    const { size } = this.geometry;
    for (let end = this.length(); end < size; ) {
      const fill = this.erased.subarray(0, Math.min(size - end, this.erased.length));
      writeFully(this.fd, this.path, end, fill);
      end += fill.length;
    }
  }

  private open(): number {
    invariant(this.fd !== -1, `${this.path} is used while open`);
    return this.fd;
  }

  private requireRange(offset: number, length: number): void {
    const fits = Number.isSafeInteger(offset) && offset >= 0 && offset + length <= this.geometry.size;
    invariant(fits, `${length} bytes at ${offset} lie within the ${this.geometry.size} of ${this.path}`);
  }
}
