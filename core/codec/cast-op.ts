/** A CAST op as it lies in a segment: its parameters, checked, and how many bytes it takes on each side. */

import type { VarintReader } from '../bytes.js';
import { CAST_BLOCKS, CAST_I8, CAST_I32, CAST_RUN, castRun, type Scales } from './cast.js';
import { addDelta, ELEMENT_BYTES } from './elements.js';

/** Bytes of the longest run on either side, CAST_RUN binary32 values: the least an I/O buffer may have. */
export const CAST_RUN_BYTES = 4 * CAST_RUN;

export class CastOp {
  private from = 0;
  private to = 0;
  private scaleCount = 0;
  private inner = 1;
  private phase = 0;
  private readonly predicted = new Uint8Array(CAST_RUN_BYTES);

  /** Reads what follows the op's length and shift. Null when the op is sound, else what was expected. */
  read(ops: VarintReader, type: number, targetBytes: number): string | null {
    const types = ops.byte();
    this.from = types >> 4;
    this.to = types & 15;
    const scaled = isScaled(this.to);
    this.scaleCount = scaled ? ops.unsigned() : 0;
    this.inner = scaled ? ops.unsigned() : 1;
    this.phase = scaled ? ops.unsigned() : 0;
    const from = CAST_BLOCKS[this.from];
    const to = CAST_BLOCKS[this.to];
    if (from === undefined || to === undefined || isScaled(this.from)) return 'known cast types';
    if (scaled && (this.scaleCount < 1 || this.inner < 1)) return 'at least one scale for at least one element';
    if (to.bytes % ELEMENT_BYTES[type]! !== 0) return `an element type that divides ${to.bytes} bytes`;
    if (targetBytes % to.bytes !== 0) return `a multiple of ${to.bytes} bytes`;
    return this.elements(targetBytes) % from.elements === 0 ? null : `a multiple of ${from.elements} elements`;
  }

  /** Bytes of scales that come before the op's residual. */
  get scaleBytes(): number {
    return 4 * this.scaleCount;
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
    const scales: Scales | null = this.scaleCount > 0 ? { bytes: op.scales, inner: this.inner } : null;
    const width = ELEMENT_BYTES[op.type]!;
    const runTarget = runBytes(this.to);
    const runSource = this.sourceBytes(runTarget);
    for (let at = 0, from = 0; at < targetBytes; at += runTarget, from += runSource) {
      const bytes = this.predicted.subarray(0, Math.min(runTarget, targetBytes - at));
      const first = this.phase + this.elements(op.done + at);
      castRun({ from: this.from, to: this.to }, source.subarray(from, from + runSource), bytes, scales, first);
      addDelta(op.type, bytes, op.planes, op.planeLength, (op.done + at) / width);
      write(bytes);
    }
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
