/**
 * The source of an in-place patch: what lies before `floor` is written over by the time it would be read. Refused wherever the
 * patch is applied, also where the source stays whole, so that a patch which passes anywhere works in place.
 */

import { InvalidPatch } from '../errors.js';
import type { ByteSource } from '../ports.js';

export class RemainingSource implements ByteSource {
  readonly size: number;
  /** First byte that is still there. */
  floor = 0;
  private readonly source: ByteSource;

  constructor(source: ByteSource, size: number) {
    this.source = source;
    this.size = size;
  }

  /** @throws InvalidPatch BAD_OP */
  read(offset: number, into: Uint8Array): void {
    if (offset < this.floor && into.length > 0) {
      throw new InvalidPatch('BAD_OP', `expected to read the source from byte ${this.floor} on, got ${offset}`);
    }
    this.source.read(offset, into);
  }
}
