/**
 * `fingerprint`: reads at most 68 KiB, asynchronously, and hashes it in this thread: that takes 0.1 ms, starting a worker 40.
 */

import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { IoError } from '../../core/errors.js';
import { type Fingerprint, fingerprintOf } from '../../core/fingerprint.js';
import { MemorySource } from '../../core/memory-source.js';
import type { ByteSource } from '../../core/ports.js';
import type { Input } from './api-types.js';
import { isSystemError } from './io-error.js';

/** What fingerprintOf reads (core/fingerprint.ts). */
const HEAD_BYTES = 65536;
const TAIL_BYTES = 4096;

/** @throws IoError */
export async function fingerprintInput(input: Input): Promise<Fingerprint> {
  const source = typeof input === 'string' ? await readEnds(input) : new MemorySource(input);
  return fingerprintOf(source, (bytes) => new Uint8Array(createHash('md5').update(bytes).digest()));
}

async function readEnds(path: string): Promise<ByteSource> {
  try {
    // O_NONBLOCK: opening a FIFO nobody writes to would otherwise never come back.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      return await readEndsOf(file, path);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isSystemError(error)) throw new IoError(`cannot read ${path}: ${error.message}`, { cause: error });
    throw error;
  }
}

async function readEndsOf(file: FileHandle, path: string): Promise<ByteSource> {
  const stats = await file.stat();
  if (!stats.isFile()) throw new IoError(`expected a regular file, got something else: ${path}`);
  const head = await readRange(file, path, 0, Math.min(HEAD_BYTES, stats.size));
  const tail = await readRange(file, path, Math.max(0, stats.size - TAIL_BYTES), Math.min(TAIL_BYTES, stats.size));
  return new TwoEnds(stats.size, head, tail);
}

async function readRange(file: FileHandle, path: string, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(bytes, done, length - done, offset + done);
    if (bytesRead === 0) throw new IoError(`expected ${length} bytes at ${offset}; the file shrank: ${path}`);
    done += bytesRead;
  }
  return bytes;
}

/** A file of which only the first and the last bytes are at hand. */
class TwoEnds implements ByteSource {
  readonly size: number;
  private readonly head: MemorySource;
  private readonly tail: MemorySource;

  constructor(size: number, head: Uint8Array, tail: Uint8Array) {
    this.size = size;
    this.head = new MemorySource(head);
    this.tail = new MemorySource(tail);
  }

  read(offset: number, into: Uint8Array): void {
    if (offset + into.length <= this.head.size) this.head.read(offset, into);
    else this.tail.read(offset - (this.size - this.tail.size), into);
  }
}
