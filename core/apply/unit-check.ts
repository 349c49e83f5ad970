/**
 * A target that also hashes each unit of an in-place patch, for whoever applies one elsewhere than in place and wants to
 * know that it would work there: `verify`, and the encoder of itself.
 */

import { equalBytes } from '../bytes.js';
import { UNIT_HASH_BYTES } from '../patch/unit.js';
import type { Hasher } from '../ports.js';
import type { TargetSink } from './target-sink.js';

export class UnitCheck implements TargetSink {
  private readonly sink: TargetSink;
  private readonly hasher: Hasher;
  private readonly unitBytes: number;
  private readonly digest = new Uint8Array(32);

  /** The hasher must be shared with nothing. */
  constructor(sink: TargetSink, hasher: Hasher, unitBytes: number) {
    this.sink = sink;
    this.hasher = hasher;
    this.unitBytes = unitBytes;
  }

  get written(): number {
    return this.sink.written;
  }

  /** Runs that end in another unit than they begin in are of kept units alone, which have no hash. */
  write(bytes: Uint8Array): void {
    if (this.sink.written % this.unitBytes === 0) this.hasher.reset();
    this.hasher.update(bytes);
    this.sink.write(bytes);
  }

  /** Whether the unit that was just written has this hash. */
  matches(unitHash: Uint8Array): boolean {
    this.hasher.digest(this.digest);
    return equalBytes(this.digest.subarray(0, UNIT_HASH_BYTES), unitHash);
  }

  resume(): void {
    throw new Error('units are checked from their start on');
  }

  checkpoint(): boolean {
    return this.sink.checkpoint();
  }

  finish(): void {
    this.sink.finish();
  }

  stepDigest(digest: Uint8Array): boolean {
    return this.sink.stepDigest(digest);
  }
}
