/** Random reads of a regular file through one descriptor, by position, so that nothing else moves its offset. */
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { IoError, invariant } from '../../core/errors.js';
import type { ByteSource } from '../../core/ports.js';
import { readFully } from './file-io.js';
import { attempt } from './io-error.js';

/** Ops read a few bytes here and there, mostly in order: a system call for each took longer than decoding them (measured). */
const WINDOW_BYTES = 32768;

export interface FileSourceOptions {
  /** Refuse a path that is a symbolic link itself. Default false: a user may well name a model through one. */
  readonly noFollow?: boolean;
}

export class FileSource implements ByteSource {
  readonly path: string;
  /** Bytes at the time of opening. */
  readonly size: number;
  private fd: number;
  /** What was read last, and where from. */
  private readonly buffer: Uint8Array;
  private window: Uint8Array;
  private windowOffset = 0;

  /** Throws IoError when the file cannot be opened or is not a regular file. */
  constructor(path: string, options: FileSourceOptions = {}) {
    this.path = path;
    // O_NONBLOCK: opening a FIFO nobody writes to would otherwise hang before its type could be looked at.
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | (options.noFollow ? constants.O_NOFOLLOW : 0);
    this.fd = attempt(`cannot open ${path}`, () => openSync(path, flags));
    try {
      const stats = attempt(`cannot read ${path}`, () => fstatSync(this.fd));
      if (!stats.isFile()) throw new IoError(`expected a regular file, got something else: ${path}`);
      this.size = stats.size;
      this.buffer = new Uint8Array(Math.min(WINDOW_BYTES, stats.size));
      this.window = this.buffer.subarray(0, 0);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get closed(): boolean {
    return this.fd === -1;
  }

  /** Throws IoError outside [0, size], when the medium fails, and when the file was cut short since it was opened. */
  read(offset: number, into: Uint8Array): void {
    invariant(this.fd !== -1, `${this.path} is read while open`);
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + into.length > this.size) {
      throw new IoError(`expected a read within ${this.size} bytes, got ${into.length} at ${offset}: ${this.path}`);
    }
    if (into.length >= this.buffer.length) {
      this.readRun(offset, into);
      return;
    }
    if (offset < this.windowOffset || offset + into.length > this.windowOffset + this.window.length) this.move(offset);
    const from = offset - this.windowOffset;
    into.set(this.window.subarray(from, from + into.length));
  }

  private move(offset: number): void {
    const run = this.buffer.subarray(0, Math.min(this.buffer.length, this.size - offset));
    // Forgotten first: a read that throws leaves something of both.
    this.window = this.buffer.subarray(0, 0);
    this.readRun(offset, run);
    this.window = run;
    this.windowOffset = offset;
  }

  private readRun(offset: number, into: Uint8Array): void {
    const count = readFully(this.fd, this.path, offset, into);
    if (count === into.length) return;
    throw new IoError(`expected ${into.length} bytes at ${offset}, got ${count}; the file shrank: ${this.path}`);
  }

  /** May be called again. */
  close(): void {
    const { fd } = this;
    if (fd === -1) return;
    // Forgotten first: a descriptor number is reused, and closing it twice would close somebody else's file.
    this.fd = -1;
    attempt(`cannot close ${this.path}`, () => closeSync(fd));
  }
}
