/** A CAST op as it lies in a segment: its parameters, checked, and how many bytes it takes on each side. */

import type { VarintReader } from '../bytes.js';
import { CAST_BLOCKS, CAST_I8, CAST_I32, CAST_RUN, castRun, type Scales } from './cast.js';
import { addDelta, ELEMENT_BYTES } from './elements.js';

/** Bytes of the longest run on either side, CAST_RUN binary32 values: the least an I/O buffer may have. */
export const CAST_RUN_BYTES = 4 * CAST_RUN;

export interface CastParameters {
  /** from << 4 | to. */
  readonly castTypes: number;
  readonly scaleCount: number;
  /** Elements that share a scale, one after another. */
  readonly inner: number;
  /** The op's first element counts as this one when a scale is looked up. */
  readonly phase: number;
}

export class CastOp {
  private from = 0;
  private to = 0;
  private scaleCount = 0;
  private inner = 1;
  private phase = 0;
  private readonly predicted = new Uint8Array(CAST_RUN_BYTES);

  /** Reads what follows the op's length and shift. Null when the op is sound, else what was expected. */
  read(ops: VarintReader, type: number, targetBytes: number): string | null {
    const castTypes = ops.byte();
    const scaled = isScaled(castTypes & 15);
    const scaleCount = scaled ? ops.unsigned() : 0;
    const inner = scaled ? ops.unsigned() : 1;
    const phase = scaled ? ops.unsigned() : 0;
    return this.set({ castTypes, scaleCount, inner, phase }, type, targetBytes, Number.MAX_SAFE_INTEGER);
  }

  /** Takes parameters that were read otherwise. Null when they are sound, else what was expected. */
  set(parameters: CastParameters, type: number, targetBytes: number, mostScales: number): string | null {
    this.from = parameters.castTypes >> 4;
    this.to = parameters.castTypes & 15;
    this.scaleCount = parameters.scaleCount;
    this.inner = parameters.inner;
    this.phase = parameters.phase;
    const from = CAST_BLOCKS[this.from];
    const to = CAST_BLOCKS[this.to];
    if (from === undefined || to === undefined || isScaled(this.from)) return 'known cast types';
    if (isScaled(this.to) && (this.scaleCount < 1 || this.inner < 1))
      return 'at least one scale for at least one element';
    if (this.scaleCount > mostScales) return `at most ${mostScales} scales`;
    if (to.bytes % ELEMENT_BYTES[type]! !== 0) return `an element type that divides ${to.bytes} bytes`;
    if (targetBytes % to.bytes !== 0) return `a multiple of ${to.bytes} bytes`;
    return this.elements(targetBytes) % from.elements === 0 ? null : `a multiple of ${from.elements} elements`;
  }

  /** Bytes of scales that come before the op's residual. */
  get scaleBytes(): number {
    return 4 * this.scaleCount;
  }

  /** Target bytes of one run. */
  get runBytes(): number {
    return runBytes(this.to);
  }

  sourceBytes(targetBytes: number): number {
    const { elements, bytes } = CAST_BLOCKS[this.from]!;
    return (this.elements(targetBytes) / elements) * bytes;
  }

  /** Most target bytes that, like their source, fit in `capacity` bytes; whole runs. */
  targetBytesFor(capacity: number): number {
    const longer = Math.max(runBytes(this.from), runBytes(this.to));
    return Math.floor(capacity / longer) * runBytes(this.to);
  }

  /**
   * Predicts, corrects and writes `targetBytes` bytes.
   * @param source exactly sourceBytes(targetBytes) long
   * @param planes residual of the whole op, in planes of `planeLength` bytes
   * @param done target bytes of the op written before
   */
  run(
    source: Uint8Array,
    targetBytes: number,
    op: { type: number; scales: Uint8Array; planes: Uint8Array; planeLength: number; done: number },
    write: (bytes: Uint8Array) => void,
  ): void {
    const width = ELEMENT_BYTES[op.type]!;
    const runTarget = runBytes(this.to);
    const runSource = this.sourceBytes(runTarget);
    for (let at = 0, from = 0; at < targetBytes; at += runTarget, from += runSource) {
      const length = Math.min(runTarget, targetBytes - at);
      const bytes = this.predict(source.subarray(from, from + runSource), length, op.done + at, op.scales);
      addDelta(op.type, bytes, op.planes, op.planeLength, (op.done + at) / width);
      write(bytes);
    }
  }

  /**
   * What the cast makes of one run, without a residual; a view, valid until the next call.
   * @param done target bytes of the op before this run
   */
  predict(source: Uint8Array, targetBytes: number, done: number, scaleBytes: Uint8Array): Uint8Array {
    const scales: Scales | null =
      this.scaleCount > 0 ? { bytes: scaleBytes.subarray(0, this.scaleBytes), inner: this.inner } : null;
    const bytes = this.predicted.subarray(0, targetBytes);
    castRun({ from: this.from, to: this.to }, source, bytes, scales, this.phase + this.elements(done));
    return bytes;
  }

  private elements(targetBytes: number): number {
    const { elements, bytes } = CAST_BLOCKS[this.to]!;
    return (targetBytes / bytes) * elements;
  }
}

function runBytes(type: number): number {
  const { elements, bytes } = CAST_BLOCKS[type]!;
  return (CAST_RUN / elements) * bytes;
}

export function isScaled(type: number): boolean {
  return type === CAST_I8 || type === CAST_I32;
}
