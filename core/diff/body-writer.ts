/**
 * Writes segments to the spool: joins copies that follow one another, and for an in-place patch (SPEC.md, "In place") ends
 * them where units end and puts each unit's hash behind it.
 */

import { SEGMENT_COPY } from '../patch/segment.js';
import { isKeptRun, isUnitEnd, UNIT_HASH_BYTES } from '../patch/unit.js';
import { ByteBuilder } from './byte-builder.js';
import type { InPlaceUnits, Spool } from './encode-body.js';

export interface BodyWriterOptions {
  readonly spool: Spool;
  readonly targetSize: number;
  readonly inPlace: InPlaceUnits | null;
}

export class BodyWriter {
  private readonly spool: Spool;
  private readonly inPlace: InPlaceUnits | null;
  private readonly units: { readonly unitBytes: number; readonly targetSize: number };
  private readonly digest = new Uint8Array(32);
  // A copy that further segments may still lengthen.
  private copyStart = 0;
  private copySource = 0;
  private copyLength = 0;

  constructor({ spool, targetSize, inPlace }: BodyWriterOptions) {
    this.spool = spool;
    this.inPlace = inPlace;
    this.units = { unitBytes: inPlace?.unitBytes ?? 0, targetSize };
  }

  /** `length` target bytes from `start` on are those of the source at `source`. */
  copy(start: number, source: number, length: number): void {
    const follows = this.copyLength > 0 && source === this.copySource + this.copyLength;
    if (!follows) {
      this.endCopy();
      this.copyStart = start;
      this.copySource = source;
    }
    this.copyLength += length;
  }

  coded(header: Uint8Array, payload: Uint8Array): void {
    this.endCopy();
    this.spool.append(header);
    this.spool.append(payload);
  }

  /** To be called behind each run of segments that ends on the grid, with the target bytes that they make. */
  endRun(start: number, bytes: Uint8Array): void {
    if (this.inPlace === null) return;
    const { unitBytes, hasher } = this.inPlace;
    if (start % unitBytes === 0) hasher.reset();
    hasher.update(bytes);
    const end = start + bytes.length;
    if (!isUnitEnd(end, this.units)) return;
    hasher.digest(this.digest);
    if (isKeptRun(this.copyStart, this.copySource, this.copyLength, this.units)) return;
    this.endCopy();
    this.spool.append(this.digest.subarray(0, UNIT_HASH_BYTES));
  }

  endCopy(): void {
    if (this.copyLength === 0) return;
    const { unitBytes } = this.units;
    const end = this.copyStart + this.copyLength;
    // Units that are kept whole come first: what follows of the next one belongs to that.
    const rest = unitBytes === 0 || isUnitEnd(end, this.units) ? 0 : end % unitBytes;
    if (rest > 0 && rest < this.copyLength) {
      this.append(this.copyStart, this.copySource, this.copyLength - rest);
      this.append(end - rest, this.copySource + this.copyLength - rest, rest);
    } else this.append(this.copyStart, this.copySource, this.copyLength);
    this.copyLength = 0;
  }

  private append(start: number, source: number, length: number): void {
    const header = new ByteBuilder(32);
    header.byte(SEGMENT_COPY);
    header.unsigned(length);
    header.signed(source - start);
    this.spool.append(header.view());
  }
}
