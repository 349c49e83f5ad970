/**
 * Hashes a slot in bounded steps, to find decay before a model runs: on a slow part it takes minutes, so that a watchdog
 * must be fed and a peer answered in between.
 */
import { equalBytes } from '../bytes.js';
import { invariant } from '../errors.js';
import type { ByteSource, Hasher } from '../ports.js';

export interface SlotCheckOptions {
  readonly source: ByteSource;
  /** What the slot's record says it holds. */
  readonly sha256: Uint8Array;
  readonly hasher: Hasher;
  /** Read into, one buffer a step. */
  readonly buffer: Uint8Array;
}

export class SlotCheck {
  private readonly options: SlotCheckOptions;
  private readonly digest = new Uint8Array(32);
  private hashed = 0;

  constructor(options: SlotCheckOptions) {
    invariant(options.buffer.length > 0, 'a buffer to read into');
    this.options = options;
    options.hasher.reset();
  }

  /** Throws IoError when the part cannot be read. Not to be called again once it told. */
  step(): 'pending' | 'whole' | 'rotten' {
    const { source, sha256, hasher, buffer } = this.options;
    const run = buffer.subarray(0, Math.min(buffer.length, source.size - this.hashed));
    source.read(this.hashed, run);
    hasher.update(run);
    this.hashed += run.length;
    if (this.hashed < source.size) return 'pending';
    hasher.digest(this.digest);
    return equalBytes(this.digest, sha256) ? 'whole' : 'rotten';
  }
}
