/** A target that is hashed and thrown away: what `verify` and the encoder's self-check need. */

import type { Hasher } from '../ports.js';
import type { TargetSink } from './target-sink.js';

export class DigestTarget implements TargetSink {
  written = 0;
  private readonly hasher: Hasher;

  /** The hasher is used until the digest is out and must not be shared with the applier. */
  constructor(hasher: Hasher) {
    this.hasher = hasher;
    hasher.reset();
  }

  write(bytes: Uint8Array): void {
    this.hasher.update(bytes);
    this.written += bytes.length;
  }

  resume(): void {
    throw new Error('a digest cannot be resumed');
  }

  checkpoint(): boolean {
    return false;
  }

  finish(): void {
    // Nothing is buffered.
  }

  stepDigest(digest: Uint8Array): boolean {
    this.hasher.digest(digest);
    return true;
  }
}
