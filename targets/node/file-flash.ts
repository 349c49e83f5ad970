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
import { FlashFile, requireBlock } from './flash-file.js';
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
  private readonly file: FlashFile;
  private readonly mode: EraseMode;
  private readonly erased: Uint8Array;

  /**
   * Over an open read-write descriptor, which `close` closes; `path` only appears in messages. Eager: a file shorter than
   * the device is filled up with eraseValue. Throws IoError.
   */
  constructor(fd: number, path: string, options: FileFlashOptions) {
    const { size, erase, blockLength = DEFAULT_BLOCK_BYTES, eraseValue = 0xff } = options;
    invariant(Number.isSafeInteger(size) && size >= 0, `size is a byte count, got ${size}`);
    invariant(Number.isSafeInteger(blockLength) && blockLength > 0, `blockLength is a byte count, got ${blockLength}`);
    const blocks = Math.ceil(size / blockLength);
    this.file = new FlashFile(fd, path, { size: blocks * blockLength, blockLength, blocks, writeAlign: 1, eraseValue });
    this.mode = erase;
    this.erased = new Uint8Array(erase === 'eager' ? blockLength : 0).fill(eraseValue);
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

  get path(): string {
    return this.file.path;
  }

  status(): FlashStatus {
    return this.file.geometry;
  }

  /** Bytes in the file now: on a lazy device less than `status().size` until its end was programmed. */
  length(): number {
    const { file } = this;
    return attempt(`cannot read ${file.path}`, () => fstatSync(file.descriptor()).size);
  }

  read(offset: number, into: Uint8Array): void {
    into.fill(this.file.geometry.eraseValue, this.file.read(offset, into));
  }

  eraseBlock(index: number): void {
    const { geometry } = this.file;
    requireBlock(geometry, index);
    this.file.descriptor();
    if (this.mode === 'eager') this.file.write(index * geometry.blockLength, this.erased);
  }

  program(offset: number, bytes: Uint8Array): void {
    this.file.write(offset, bytes);
  }

  sync(): void {
    const { file } = this;
    attempt(`cannot sync ${file.path}`, () => fsyncSync(file.descriptor()));
  }

  /** Cuts the file to `size` bytes: the padding after the last byte of a model. */
  truncate(size: number): void {
    const { file } = this;
    attempt(`cannot truncate ${file.path}`, () => ftruncateSync(file.descriptor(), size));
  }

  /** Does not sync. May be called again. */
  close(): void {
    this.file.close();
  }

  private fillUp(): void {
    const { size } = this.file.geometry;
    for (let end = this.length(); end < size; ) {
      const fill = this.erased.subarray(0, Math.min(size - end, this.erased.length));
      this.file.write(end, fill);
      end += fill.length;
    }
  }
}
