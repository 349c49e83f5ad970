/**
 * Walks the front of a GGUF file field by field, each once: the position only grows. What lies between fields (strings,
 * arrays of numbers) is stepped over, not read. Knows how GGUF writes counts and strings, not what they mean.
 */

import { ModelFormatError } from '../errors.js';
import type { ByteSource } from '../ports.js';
import { decodeUtf8 } from '../utf8.js';
import { WindowedSource } from './windowed-source.js';

export class GgufCursor {
  readonly file: WindowedSource;
  /** Byte of the next field. */
  position = 0;
  /** Bytes of each count, length and dimension: 4 in version 1, 8 since. */
  countBytes = 8;

  /** `budgetBytes`: a ModelFormatError ends the walk that would read more from `source`. */
  constructor(source: ByteSource, budgetBytes: number) {
    this.file = new WindowedSource(new BudgetedSource(source, budgetBytes));
  }

  u32(what: string): number {
    const value = this.file.u32(this.position, what);
    this.position += 4;
    return value;
  }

  u64(what: string): number {
    const value = this.file.u64(this.position, what);
    this.position += 8;
    return value;
  }

  /** Throws ModelFormatError above 2^53 - 1. */
  count(what: string): number {
    return this.countBytes === 4 ? this.u32(what) : this.u64(what);
  }

  /** A count of items of which each takes at least `minBytes`, so that no loop begins that cannot end inside the file. */
  countOf(what: string, minBytes: number, maxCount: number = Number.MAX_SAFE_INTEGER): number {
    const at = this.position;
    const count = this.count(what);
    const most = Math.min(maxCount, Math.floor((this.file.size - this.position) / minBytes));
    if (count <= most) return count;
    throw new ModelFormatError(`expected at most ${most} ${what}, got ${count}`, at);
  }

  /** UTF-8, malformed sequences replaced by U+FFFD. */
  text(what: string, maxBytes: number): string {
    const at = this.position;
    const length = this.count(what);
    if (length > maxBytes)
      throw new ModelFormatError(`expected at most ${maxBytes} bytes of ${what}, got ${length}`, at);
    const bytes = this.file.bytes(this.position, length, what);
    this.position += length;
    return decodeUtf8(bytes);
  }

  skipText(what: string): void {
    this.skip(this.count(what), what);
  }

  skip(bytes: number, what: string): void {
    this.file.require(this.position, bytes, what);
    this.position += bytes;
  }
}

/** Serves at most so many bytes. Real metadata is a few megabytes; a hostile file's can be the whole file. */
class BudgetedSource implements ByteSource {
  readonly size: number;
  private readonly source: ByteSource;
  private left: number;

  constructor(source: ByteSource, budgetBytes: number) {
    this.source = source;
    this.size = source.size;
    this.left = budgetBytes;
  }

  read(offset: number, into: Uint8Array): void {
    this.left -= into.length;
    if (this.left < 0) throw new ModelFormatError('expected metadata of less than the read budget, got more', offset);
    this.source.read(offset, into);
  }
}
