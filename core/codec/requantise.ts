/**
 * A quantised block whose new version has other scales (SPEC.md, "Requantised blocks"): the scales come first, and with both at
 * hand each old quant tells where the new one should be and how near it lies to the next (research/codec.md, 3). One walk over
 * a block's numbers serves encoders and decoders, of the neural codec and of plain bytes.
 */

import { readU16, writeU16 } from '../bytes.js';
import { type BlockLayout, getNumber, getPart, type Numbers, partCount, putNumber, putPart } from './block-layout.js';
import { fromOrdered16, toOrdered16 } from './elements.js';
import { halfValue } from './half.js';
import { FRACTIONS } from './rescale.js';

/** How the numbers of a block are coded. `now` is the new value, which decoders of the neural codec do not know yet. */
export interface BlockCoder {
  /** A binary16 scale; returns the new one. */
  half(old: number, now: number): number;
  /** A number of `bits` bits. @param isQuant false for a sub-block's scale or factor */
  level(predicted: number, fraction: number, bits: number, isQuant: boolean, now: number): number;
}

/** Fixed point of ratios and offsets, and the largest of each: their sum over a byte stays within 31 bits. */
const ONE = 65536;
const MOST_RATIO = 2 ** 22;
const MOST_OFFSET = 2 ** 29;

/** Predicts a number from an old one: ratio and offset in 1/65536, and what came of the last. */
class Prediction {
  private ratio = ONE;
  private offset = 0;
  value = 0;
  fraction = 0;

  /** What makes no sense, as where a scale is 0, infinite or NaN, counts as unchanged. */
  set(ratio: number, offset: number): void {
    const sound = ratio !== 0 && Number.isFinite(ratio) && Number.isFinite(offset);
    this.ratio = sound ? limited(Math.floor(ratio * ONE + 0.5), MOST_RATIO) : ONE;
    this.offset = sound ? limited(Math.floor(offset * ONE + 0.5), MOST_OFFSET) : 0;
  }

  take(old: number, { bits, zero, signed }: Numbers): void {
    const exact = this.ratio * (old - zero) + this.offset + zero * ONE + ONE / 2;
    const least = signed ? -(1 << (bits - 1)) : 0;
    this.value = Math.max(least, Math.min(least + (1 << bits) - 1, exact >> 16));
    this.fraction = (exact >> 12) & (FRACTIONS - 1);
  }
}

function limited(value: number, most: number): number {
  return Math.max(-most, Math.min(most, value));
}

/** Walks a block's numbers; holds what one block needs. */
export class BlockWalk {
  private readonly prediction = new Prediction();
  private layout: BlockLayout;
  private source: Uint8Array = new Uint8Array(0);
  private target: Uint8Array = new Uint8Array(0);
  private out: Uint8Array = new Uint8Array(0);
  private oldScale = 1;
  private newScale = 1;
  private oldShift = 0;
  private newShift = 0;

  constructor(layout: BlockLayout) {
    this.layout = layout;
  }

  /**
   * Codes one block.
   * @param target the new block, as far as the coder wants to know it; written with what the coder returns
   * @param residual receives the differences, in the block's layout, in place of that; null for none
   */
  code(
    layout: BlockLayout,
    source: Uint8Array,
    target: Uint8Array,
    coder: BlockCoder,
    residual: Uint8Array | null,
  ): void {
    this.layout = layout;
    this.source = source;
    this.target = target;
    this.out = residual ?? target;
    this.scales(coder);
    if (layout.parts !== null) {
      this.parts(coder, 0, layout.parts);
      if (layout.shift >= 0) this.parts(coder, 1, layout.parts);
    }
    this.quants(coder);
  }

  private scales(coder: BlockCoder): void {
    const { scale, shift } = this.layout;
    this.oldScale = scale < 0 ? 1 : halfValue(readU16(this.source, scale));
    this.newScale = scale < 0 ? 1 : this.half(scale, coder);
    this.oldShift = shift < 0 ? 0 : halfValue(readU16(this.source, shift));
    this.newShift = shift < 0 ? 0 : this.half(shift, coder);
  }

  private half(at: number, coder: BlockCoder): number {
    const old = readU16(this.source, at);
    const now = coder.half(old, readU16(this.target, at));
    writeU16(this.out, at, this.out === this.target ? now : halfDifference(old, now));
    return halfValue(now);
  }

  /** Scales of the sub-blocks, or for `kind` 1 their factors of the shift. */
  private parts(coder: BlockCoder, kind: number, field: Numbers): void {
    const { layout, source, target, out, prediction } = this;
    const ratio = kind === 0 ? this.oldScale / this.newScale : this.oldShift / this.newShift;
    prediction.set(ratio, 0);
    for (let part = 0; part < partCount(layout); part++) {
      prediction.take(getPart(source, layout, kind, part), field);
      const { value, fraction } = prediction;
      const now = coder.level(value, fraction, field.bits, false, getPart(target, layout, kind, part));
      putPart(out, layout, kind, part, out === target ? now : levelDifference(value, now, field.bits));
    }
  }

  private quants(coder: BlockCoder): void {
    const { layout, source, target, out, prediction } = this;
    const { quants } = layout;
    const parts = partCount(layout);
    const perPart = quants.count / parts;
    for (let i = 0; i < quants.count; i++) {
      if (i % perPart === 0) this.predictPart(i / perPart);
      prediction.take(getNumber(source, quants, i), quants);
      const { value, fraction } = prediction;
      const now = coder.level(value, fraction, quants.bits, true, getNumber(target, quants, i));
      putNumber(out, quants, i, out === target ? now : levelDifference(value, now, quants.bits));
    }
  }

  /** What the quants of one sub-block stood for, and do now. Parts of the new block are known by then. */
  private predictPart(part: number): void {
    const { layout, source, target } = this;
    let [oldScale, newScale, oldShift, newShift] = [this.oldScale, this.newScale, this.oldShift, this.newShift];
    if (layout.parts !== null) {
      const { zero } = layout.parts;
      oldScale *= getPart(source, layout, 0, part) - zero;
      newScale *= getPart(target, layout, 0, part) - zero;
      if (layout.shift >= 0) {
        oldShift *= getPart(source, layout, 1, part);
        newShift *= getPart(target, layout, 1, part);
      }
    }
    this.prediction.set(oldScale / newScale, (layout.shiftSign * (oldShift - newShift)) / newScale);
  }
}

/** As DELTA's of type 3: ordered integers, zigzag. */
function halfDifference(old: number, now: number): number {
  const difference = ((toOrdered16(now) - toOrdered16(old)) << 16) >> 16;
  return ((difference << 1) ^ (difference >> 31)) & 0xffff;
}

/** Zigzag: small differences leave the high bits, which lie elsewhere, alone. */
function levelDifference(predicted: number, now: number, bits: number): number {
  const difference = ((now - predicted) << (32 - bits)) >> (32 - bits);
  return (difference << 1) ^ (difference >> 31);
}

/** Adds to predictions the differences of a block of plain bytes; `now` is what stands in their place. */
export const PLAIN_CODER: BlockCoder = {
  half: (old, difference) => fromOrdered16(toOrdered16(old) + ((difference >>> 1) ^ -(difference & 1))),
  level(predicted, _fraction, bits, _isQuant, difference) {
    const zigzag = difference & ((1 << bits) - 1);
    return predicted + ((zigzag >>> 1) ^ -(zigzag & 1));
  },
};

/** Takes every number as it is: with a residual, that is what makes it. */
export const KNOWING_CODER: BlockCoder = {
  half: (_old, now) => now,
  level: (_predicted, _fraction, _bits, _isQuant, now) => now,
};
