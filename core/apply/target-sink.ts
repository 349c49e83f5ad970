/**
 * Where the applier's output goes. Two kinds exist: a slot in flash, and a digest for `verify`, which keeps nothing.
 */

import type { ByteSink } from '../codec/op-runner.js';

export interface TargetSink extends ByteSink {
  /** Target bytes that are durable once `checkpoint` returns true, counted from the start. */
  readonly written: number;
  /** Goes on at `offset`, a value that `written` had at a checkpoint; what lies past it is erased again. */
  resume(offset: number): void;
  /** True when `written` lies on an erase-block end (or the target's end) and everything up to it is durable. */
  checkpoint(): boolean;
  /** All bytes were written: pads and makes them durable. */
  finish(): void;
  /** Digests a bounded part of the finished target; true once `digest` holds its SHA-256. */
  stepDigest(digest: Uint8Array): boolean;
}
