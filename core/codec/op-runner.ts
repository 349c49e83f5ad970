/**
 * Runs the ops of one coded segment: reads the source, writes the target, a bounded run at a time. Holds two fixed I/O
 * buffers and views of the segment's plain bytes; allocates nothing while it runs.
 */

import { VarintReader } from '../bytes.js';
import { InvalidPatch, invariant } from '../errors.js';
import { OP_CAST, OP_COPY, OP_DELTA, OP_LITERAL } from '../patch/segment.js';
import type { ByteSource } from '../ports.js';
import { CastOp } from './cast-op.js';
import { addDelta, ELEMENT_BYTES, joinPlanes } from './elements.js';

/** Where target bytes go. */
export interface ByteSink {
  write(bytes: Uint8Array): void;
}

export interface OpRunnerOptions {
  readonly source: ByteSource;
  readonly sink: ByteSink;
  /** Length is a multiple of 4, so that elements never straddle a run, and at least CAST_RUN_BYTES. */
  readonly io: Uint8Array;
}

export class OpRunner {
  private readonly source: ByteSource;
  private readonly sink: ByteSink;
  private readonly io: Uint8Array;
  private readonly ops = new VarintReader();
  private plain: Uint8Array = new Uint8Array(0);
  private targetOffset = 0;
  /** Target bytes of the segment that no op has been read for yet. */
  private unclaimed = 0;
  /** Source offset that the next op counts from. */
  private cursor = 0;
  /** Next byte of data in `plain`. */
  private data = 0;
  // The op being run.
  private kind = 0;
  private type = 0;
  private opBytes = 0;
  private done = 0;
  private opSource = 0;
  private opData = 0;
  private readonly cast: CastOp;
  private readonly writeTarget = (bytes: Uint8Array): void => this.sink.write(bytes);

  constructor({ source, sink, io }: OpRunnerOptions) {
    this.source = source;
    this.sink = sink;
    this.io = io;
    this.cast = new CastOp(io.length / 4);
  }

  /**
   * @param plain the segment's ops and data
   * @throws InvalidPatch BAD_OP
   */
  begin(plain: Uint8Array, targetOffset: number, targetBytes: number): void {
    this.plain = plain;
    this.targetOffset = targetOffset;
    this.cursor = targetOffset;
    this.unclaimed = targetBytes;
    this.ops.reset(plain, 0, plain.length);
    const opBytes = this.ops.unsigned();
    const start = this.ops.position;
    if (this.ops.failed || this.ops.short || opBytes > plain.length - start) {
      throw this.bad(`ops within the segment's ${plain.length} bytes`, opBytes);
    }
    this.ops.reset(plain, start, start + opBytes);
    this.data = start + opBytes;
    this.done = 0;
    this.opBytes = 0;
    // No ops at all is the shortest way to say: one literal.
    if (opBytes === 0) this.claim(OP_LITERAL, 0, targetBytes, 0);
  }

  /**
   * Produces up to `io.length` target bytes: ops as long as whole ones fit, since giving back control after each took longer
   * than running it where they are short.
   * @returns true when the segment is complete
   */
  step(): boolean {
    for (let room = this.io.length; ; ) {
      if (this.done === this.opBytes) {
        if (this.unclaimed === 0) {
          this.finish();
          return true;
        }
        this.nextOp();
      }
      if (room < this.io.length && this.opBytes - this.done > room) return false;
      const run = this.kind === OP_CAST ? this.castRun() : this.plainRun();
      this.done += run;
      room -= run;
    }
  }

  /** A run of any op but CAST; returns its bytes. */
  private plainRun(): number {
    const run = Math.min(this.io.length, this.opBytes - this.done);
    const bytes = this.io.subarray(0, run);
    if (this.kind === OP_LITERAL) this.literal(bytes);
    else {
      this.source.read(this.opSource + this.done, bytes);
      if (this.kind === OP_DELTA) {
        const width = ELEMENT_BYTES[this.type]!;
        addDelta(this.type, bytes, this.opPlanes(), this.opBytes / width, this.done / width);
      }
      this.sink.write(bytes);
    }
    return run;
  }

  private castRun(): number {
    const run = Math.min(this.cast.targetBytesFor(this.io.length), this.opBytes - this.done);
    invariant(run > 0, 'the I/O buffer holds a run');
    const source = this.io.subarray(0, this.cast.sourceBytes(run));
    this.source.read(this.opSource + this.cast.sourceBytes(this.done), source);
    const { type, done } = this;
    const scales = this.plain.subarray(this.opData - this.cast.scaleBytes, this.opData);
    const planeLength = this.opBytes / ELEMENT_BYTES[type]!;
    this.cast.run(source, run, { type, scales, planes: this.opPlanes(), planeLength, done }, this.writeTarget);
    return run;
  }

  private literal(bytes: Uint8Array): void {
    const width = ELEMENT_BYTES[this.type]!;
    if (width === 1) {
      const start = this.opData + this.done;
      this.sink.write(this.plain.subarray(start, start + bytes.length));
      return;
    }
    joinPlanes(width, this.opPlanes(), this.opBytes / width, this.done / width, bytes);
    this.sink.write(bytes);
  }

  private opPlanes(): Uint8Array {
    return this.plain.subarray(this.opData, this.opData + this.opBytes);
  }

  /** Op byte: bits 0-1 kind, 2-4 element type, 5 set when the source offset is not where the cursor stands. */
  private nextOp(): void {
    const head = this.ops.byte();
    const length = this.ops.unsigned();
    const shift = head & 0x20 ? this.ops.signed() : 0;
    if (this.ops.short || this.ops.failed) throw this.bad('an op', 'the end of the ops or a malformed varint');
    if ((head & 0xc0) !== 0) throw this.bad('op bits 6 and 7 clear', head);
    this.claim(head & 3, (head >> 2) & 7, length, shift);
  }

  private claim(kind: number, type: number, length: number, shift: number): void {
    const width = ELEMENT_BYTES[type];
    if (width === undefined) throw this.bad('a known element type', type);
    if (length < 1 || length > this.unclaimed) throw this.bad(`1 to ${this.unclaimed} target bytes`, length);
    if (length % width !== 0) throw this.bad(`a multiple of ${width} bytes`, length);
    if (kind === OP_COPY && type !== 0) throw this.bad('element type 0 for a copy', type);
    if (kind === OP_LITERAL && shift !== 0) throw this.bad('no source offset for a literal', shift);
    const scaleBytes = kind === OP_CAST ? this.claimCast(type, length) : 0;
    if (kind !== OP_COPY) this.claimData(scaleBytes, length);
    const sourceBytes = kind === OP_CAST ? this.cast.sourceBytes(length) : length;
    this.opSource = this.cursor + shift;
    if (kind !== OP_LITERAL && (this.opSource < 0 || sourceBytes > this.source.size - this.opSource)) {
      throw this.bad(`a range inside the source's ${this.source.size} bytes`, `${this.opSource}+${sourceBytes}`);
    }
    this.cursor = this.opSource + sourceBytes;
    this.kind = kind;
    this.type = type;
    this.opBytes = length;
    this.done = 0;
    this.unclaimed -= length;
  }

  /** Returns the bytes of scales that come first in the op's data. */
  private claimCast(type: number, length: number): number {
    const expected = this.cast.read(this.ops, type, length);
    if (this.ops.short || this.ops.failed) throw this.bad('a cast op', 'the end of the ops or a malformed varint');
    if (expected !== null) throw this.bad(expected, `a cast of ${length} bytes`);
    return this.cast.scaleBytes;
  }

  private claimData(scaleBytes: number, length: number): void {
    const left = this.plain.length - this.data;
    if (scaleBytes > left || length > left - scaleBytes) throw this.bad(`${left} bytes of data`, scaleBytes + length);
    this.opData = this.data + scaleBytes;
    this.data = this.opData + length;
  }

  private finish(): void {
    if (this.ops.remaining > 0)
      throw this.bad('no ops after the last target byte', `${this.ops.remaining} bytes of them`);
    if (this.data !== this.plain.length)
      throw this.bad('no data after the last op', `${this.plain.length - this.data} bytes`);
  }

  private bad(expected: string, got: string | number): InvalidPatch {
    return new InvalidPatch('BAD_OP', `segment at target byte ${this.targetOffset}: expected ${expected}, got ${got}`);
  }
}
