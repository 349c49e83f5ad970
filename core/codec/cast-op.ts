/** A CAST op as it lies in a segment: its parameters, checked, and how many bytes it takes on each side. */

import type { VarintReader } from '../bytes.js';
import { Q8_0_LAYOUT } from './block-layout.js';
import { CAST_BLOCKS, CAST_F32, CAST_I8, CAST_I32, CAST_LAYOUTS, CAST_Q2_K, CAST_RUN, castRun } from './cast.js';
import { addDelta, ELEMENT_BYTE, ELEMENT_BYTES } from './elements.js';
import { type BlockCoder, BlockWalk, PLAIN_CODER } from './requantise.js';
import {
  type ChannelPlaces,
  findRatios,
  MAX_PLACE,
  rescaleFloat,
  rescaleInt8,
  rescaleInt32,
  ZERO_POINTS,
} from './rescale.js';

/** Bytes of the longest run on either side, a Q6_K block, as whole words: the least an I/O buffer may have. */
export const CAST_RUN_BYTES = 212;

export interface CastParameters extends ChannelPlaces {
  /** from << 4 | to. */
  readonly castTypes: number;
}

/** Of an op without scales. */
export const NO_SCALES: Omit<CastParameters, 'castTypes'> = {
  scaleCount: 0,
  inner: 1,
  group: 1,
  outer: 1,
  crossCount: 0,
  crossInner: 1,
  phase: 0,
  zero: 0,
  oldZero: 0,
};

export class CastOp {
  private from = 0;
  private to = 0;
  private places: ChannelPlaces = NO_SCALES;
  private readonly walk = new BlockWalk(Q8_0_LAYOUT);
  private readonly predicted: Uint8Array;
  /** Of the run that `predict` made last, for int8 from int8. */
  readonly fractions: Uint8Array;
  private readonly ratios: Float32Array;

  /** @param rescaledRun elements of int8 from int8 in a run, a multiple of CAST_RUN: they have no blocks, and short runs take longer to set up than to predict */
  constructor(rescaledRun: number) {
    this.predicted = new Uint8Array(Math.max(CAST_RUN_BYTES, rescaledRun));
    this.fractions = new Uint8Array(rescaledRun);
    this.ratios = new Float32Array(rescaledRun);
  }

  /** Reads what follows the op's length and shift. Null when the op is sound, else what was expected. */
  read(ops: VarintReader, type: number, targetBytes: number): string | null {
    const castTypes = ops.byte();
    const scaled = isScaled(castTypes);
    const rescaled = isRescaled(castTypes);
    const scaleCount = scaled ? ops.unsigned() : 0;
    const crossCount = rescaled ? ops.unsigned() : 0;
    const strided = scaled && (scaleCount > 1 || !rescaled);
    const inner = strided ? ops.unsigned() : 1;
    const group = strided && rescaled ? ops.unsigned() : 1;
    const outer = group > 1 ? ops.unsigned() : inner;
    const crossInner = crossCount > 0 ? ops.unsigned() : 1;
    const phase = strided || crossCount > 0 ? ops.unsigned() : 0;
    const zero = hasZero(castTypes) ? ops.unsigned() : 0;
    const oldZero = hasOldZero(castTypes) ? ops.unsigned() : 0;
    const places = { scaleCount, inner, group, outer, crossCount, crossInner, phase, zero, oldZero };
    return this.set({ castTypes, ...places }, type, targetBytes, Number.MAX_SAFE_INTEGER);
  }

  /** Takes parameters that were read otherwise. Null when they are sound, else what was expected. */
  set(parameters: CastParameters, type: number, targetBytes: number, mostScales: number): string | null {
    this.from = parameters.castTypes >> 4;
    this.to = parameters.castTypes & 15;
    this.places = parameters;
    const from = CAST_BLOCKS[this.from]!;
    const to = CAST_BLOCKS[this.to]!;
    const fromItselfAlone = (cast: number): boolean => cast >= CAST_Q2_K;
    if (this.from !== this.to && (isQuantised(this.from) || fromItselfAlone(this.from) || fromItselfAlone(this.to)))
      return 'known cast types';
    const fault = this.faultOfScales(mostScales);
    if (fault !== null) return fault;
    if (this.isRequantised && type !== ELEMENT_BYTE) return 'element type 0';
    if (to.bytes % ELEMENT_BYTES[type]! !== 0) return `an element type that divides ${to.bytes} bytes`;
    if (targetBytes % to.bytes !== 0) return `a multiple of ${to.bytes} bytes`;
    return this.elements(targetBytes) % from.elements === 0 ? null : `a multiple of ${from.elements} elements`;
  }

  private faultOfScales(mostScales: number): string | null {
    const { scaleCount, inner, group, outer, crossCount, crossInner, phase, zero, oldZero } = this.places;
    if (isScaled((this.from << 4) | this.to) && (scaleCount < 1 || inner < 1))
      return 'at least one scale for at least one element';
    if (scaleCount + crossCount > mostScales) return `at most ${mostScales} scales`;
    if (group < 1 || outer < 1 || crossInner < 1) return 'at least one element in each place';
    if (inner > MAX_PLACE || group > MAX_PLACE || outer > MAX_PLACE || crossInner > MAX_PLACE || phase > MAX_PLACE)
      return `places up to ${MAX_PLACE}`;
    if (zero >= ZERO_POINTS || oldZero >= ZERO_POINTS) return `zero points below ${ZERO_POINTS}`;
    return null;
  }

  /** Whether the op's blocks are coded number by number, by codeBlocks, and not predicted whole. */
  get isRequantised(): boolean {
    return this.from === this.to && CAST_LAYOUTS[this.to] !== null;
  }

  /** Bytes of scales that come before the op's residual. */
  get scaleBytes(): number {
    return 4 * (this.places.scaleCount + this.places.crossCount);
  }

  /** Target bytes of one run. */
  get runBytes(): number {
    return this.from === CAST_I8 ? this.fractions.length : runBytes(this.to);
  }

  /** Elements of a block of the new type. */
  get blockElements(): number {
    return CAST_BLOCKS[this.to]!.elements;
  }

  sourceBytes(targetBytes: number): number {
    const { elements, bytes } = CAST_BLOCKS[this.from]!;
    return (this.elements(targetBytes) / elements) * bytes;
  }

  /** Most target bytes that, like their source, fit in `capacity` bytes; whole runs. */
  targetBytesFor(capacity: number): number {
    const { runBytes: run } = this;
    return Math.floor(capacity / Math.max(runBytes(this.from), run)) * run;
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
    const { runBytes: runTarget } = this;
    const runSource = this.sourceBytes(runTarget);
    for (let at = 0, from = 0; at < targetBytes; at += runTarget, from += runSource) {
      const length = Math.min(runTarget, targetBytes - at);
      const run = source.subarray(from, from + runSource);
      if (this.isRequantised) {
        const bytes = this.scratch(length);
        bytes.set(op.planes.subarray(op.done + at, op.done + at + length));
        this.codeBlocks(run, bytes, PLAIN_CODER);
        write(bytes);
        continue;
      }
      const bytes = this.predict(run, length, op.done + at, op.scales);
      addDelta(op.type, bytes, op.planes, op.planeLength, (op.done + at) / width);
      write(bytes);
    }
  }

  /** Memory for a run of target bytes; a view, valid until the next call of `scratch` or `predict`. */
  scratch(targetBytes: number): Uint8Array {
    return this.predicted.subarray(0, targetBytes);
  }

  /** Codes whole blocks: see BlockWalk. */
  codeBlocks(source: Uint8Array, target: Uint8Array, coder: BlockCoder, residual: Uint8Array | null = null): void {
    const layout = CAST_LAYOUTS[this.to]!;
    const { bytes } = CAST_BLOCKS[this.to]!;
    for (let at = 0; at < target.length; at += bytes) {
      const out = residual === null ? null : residual.subarray(at, at + bytes);
      this.walk.code(layout, source.subarray(at, at + bytes), target.subarray(at, at + bytes), coder, out);
    }
  }

  /**
   * What the cast makes of one run, without a residual; a view, valid until the next call.
   * @param done target bytes of the op before this run
   */
  predict(source: Uint8Array, targetBytes: number, done: number, scaleBytes: Uint8Array): Uint8Array {
    const bytes = this.scratch(targetBytes);
    const { places } = this;
    const first = places.phase + this.elements(done);
    if (this.from !== this.to || !isRescaled((this.from << 4) | this.to)) {
      const scales =
        places.scaleCount > 0
          ? { bytes: scaleBytes.subarray(0, this.scaleBytes), inner: places.inner, zero: places.zero }
          : null;
      castRun({ from: this.from, to: this.to }, source, bytes, scales, first);
      return bytes;
    }
    const ratios = this.ratios.subarray(0, this.elements(targetBytes));
    findRatios(places, scaleBytes, first, ratios);
    if (this.to === CAST_I8) rescaleInt8(source, bytes, ratios, places, this.fractions);
    else if (this.to === CAST_I32) rescaleInt32(source, bytes, ratios);
    else rescaleFloat(source, bytes, ratios);
    return bytes;
  }

  /** Whether `predict` tells fractions too. */
  get hasFractions(): boolean {
    return this.from === CAST_I8;
  }

  private elements(targetBytes: number): number {
    const { elements, bytes } = CAST_BLOCKS[this.to]!;
    return (targetBytes / bytes) * elements;
  }
}

function runBytes(type: number): number {
  const { elements, bytes } = CAST_BLOCKS[type]!;
  return Math.max(1, CAST_RUN / elements) * bytes;
}

function isQuantised(type: number): boolean {
  return type === CAST_I8 || type === CAST_I32;
}

/** Of from << 4 | to: whether the patch carries ratios of new scales to old ones. */
export function isRescaled(castTypes: number): boolean {
  const to = castTypes & 15;
  return castTypes >> 4 === to && (isQuantised(to) || to === CAST_F32);
}

/** Of from << 4 | to: whether the new type, and the old one, have a zero point. */
export function hasZero(castTypes: number): boolean {
  return (castTypes & 15) === CAST_I8;
}

export function hasOldZero(castTypes: number): boolean {
  return castTypes >> 4 === CAST_I8 && hasZero(castTypes);
}

/** Of from << 4 | to: whether the patch carries scales, or ratios of them. */
export function isScaled(castTypes: number): boolean {
  return isRescaled(castTypes) || isQuantised(castTypes & 15);
}
