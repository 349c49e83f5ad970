/** Random reads of bytes that are already in memory. */
import { IoError } from './errors.js';
import type { ByteSource } from './ports.js';

export class MemorySource implements ByteSource {
  readonly size: number;
  private readonly bytes: Uint8Array;

  /** Keeps a reference to `bytes`, no copy: they must not change while the source is in use. */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.size = bytes.length;
  }

  read(offset: number, into: Uint8Array): void {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + into.length > this.size) {
      throw new IoError(`expected a read within ${this.size} bytes, got ${into.length} bytes at ${offset}`);
    }
    into.set(this.bytes.subarray(offset, offset + into.length));
  }
}
