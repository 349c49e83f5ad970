/**
 * What the neural codec knows about weights (SPEC.md, "Models"): which context each bit of an element belongs to. The same
 * functions encode and decode (see bit-coder.ts): they read the target's value, which a decoder's coder ignores, and write
 * back the value that was coded.
 *
 * Floats: a weight's update has a size of its own, whatever the weight's exponent, so the useful context is how large recent
 * updates were against the exponent of the old weight (research/codec.md, 2). Integers: how large recent differences were.
 */

import { readI32, readU16, writeU16, writeU32 } from '../bytes.js';
import type { BitCoder } from './bit-coder.js';
import { activityOf, ByteDeltaMemory, decodeByteDeltas } from './byte-deltas.js';
import {
  type ContextLayout,
  EXPECTED,
  EXPECTED_SHIFT,
  EXPECTED_UNIT,
  SIZES,
  TOP_BITS,
  TOP_SIZES,
  UNARY,
  WORD_BYTES,
} from './context-layout.js';
import {
  ELEMENT_BFLOAT16,
  ELEMENT_BYTES,
  ELEMENT_FLOAT16,
  ELEMENT_FLOAT32,
  ELEMENT_INT8,
  fromOrdered16,
  fromOrdered32,
  toOrdered16,
  toOrdered32,
} from './elements.js';
import type { LiteralModel } from './literal-model.js';
import { type NarrowModel, NO_FRACTION } from './narrow-model.js';
import type { MixedModels } from './neural-runner.js';
import { SingleRateDecoder } from './range-decoder.js';
import type { BlockCoder } from './requantise.js';
import { FRACTIONS } from './rescale.js';
import { SparseModel } from './sparse-model.js';
import type { WideModel } from './wide-model.js';

export class ElementModels implements BlockCoder {
  private readonly coder: BitCoder;
  private readonly layout: ContextLayout;
  /** The coder, where it is the one that byte-deltas.ts has written out. */
  private readonly fast: SingleRateDecoder | null;
  private readonly decodeRest = (): number => this.rest(this.layout.byteRest, 0);
  /** Class 1 alone. */
  private readonly wide: WideModel | null;
  private readonly narrow: NarrowModel | null;
  private readonly literals: LiteralModel | null;
  /** Running mean of log2 of the update's absolute size, in 1/16. */
  private updateSize = 0;
  private lastWide = 0;
  private beforeWide = 0;
  private wideSign = 0;
  private readonly bytes = new ByteDeltaMemory();
  private isSparse = false;
  private readonly gaps: SparseModel;
  /** Unchanged elements before the next changed one; -1 where the gap is still to be coded. */
  private gapLeft = -1;
  private exponentMean = 0;

  constructor(coder: BitCoder, layout: ContextLayout, mixed: Omit<MixedModels, 'bytes'> | null) {
    this.wide = mixed?.wide ?? null;
    this.narrow = mixed?.narrow ?? null;
    this.literals = mixed?.literals ?? null;
    this.coder = coder;
    this.fast = coder instanceof SingleRateDecoder ? coder : null;
    this.layout = layout;
    this.gaps = new SparseModel(coder, layout);
  }

  /** A segment begins. */
  begin(): void {
    this.wide?.begin();
    this.narrow?.begin();
    this.literals?.begin();
    this.updateSize = 0;
    this.lastWide = 0;
    this.beforeWide = 0;
    this.wideSign = 0;
    this.bytes.begin();
    this.exponentMean = 0;
  }

  /** Differences of `target` to `source`: of every element, or of the changed ones behind the gaps between them. */
  delta(type: number, source: Uint8Array, target: Uint8Array): void {
    if (!this.isSparse) {
      this.dense(type, source, target, 0, target.length);
      return;
    }
    const width = ELEMENT_BYTES[type]!;
    // At once, and changed elements over it: a copy for each gap took longer than all else. An encoder has them there already.
    if (!this.coder.encodes) target.set(source);
    for (let at = 0; at < target.length; at += width) {
      if (this.gapLeft < 0)
        this.gapLeft = this.gaps.gap(this.coder.encodes ? unchangedElements(source, target, at, width) : 0);
      const same = Math.min(this.gapLeft, (target.length - at) / width);
      this.wide?.skip(same);
      this.narrow?.skip(same);
      this.gapLeft -= same;
      at += same * width;
      if (at === target.length) return;
      this.dense(type, source, target, at, at + width);
      this.gapLeft = -1;
    }
  }

  /** Of the elements in bytes [from, to). */
  private dense(type: number, source: Uint8Array, target: Uint8Array, from: number, to: number): void {
    switch (ELEMENT_BYTES[type]) {
      case 1:
        if (this.fast !== null)
          decodeByteDeltas(this.fast, this.layout, this.bytes, source, target, from, to, this.decodeRest);
        else
          for (let i = from; i < to; i++)
            target[i] = source[i]! + this.byteDelta(((target[i]! - source[i]!) << 24) >> 24, source[i]!, NO_FRACTION);
        return;
      case 2:
        if (this.wide === null) this.delta16(type, source, target, from, to);
        else
          for (let i = from; i < to; i += 2)
            writeU16(target, i, this.wide.element(type, readU16(source, i), readU16(target, i)));
        return;
      default:
        if (this.wide === null) this.delta32(type, source, target, from, to);
        else
          for (let i = from; i < to; i += 4)
            writeU32(target, i, this.wide.element(type, readI32(source, i), readI32(target, i)));
    }
  }

  private delta16(type: number, source: Uint8Array, target: Uint8Array, from: number, to: number): void {
    const ordered = type === ELEMENT_FLOAT16 || type === ELEMENT_BFLOAT16;
    const exponentShift = type === ELEMENT_BFLOAT16 ? 7 : 10;
    const exponentMask = type === ELEMENT_BFLOAT16 ? 0xff : type === ELEMENT_FLOAT16 ? 0x1f : 0;
    for (let i = from; i < to; i += 2) {
      const old = source[i]! | (source[i + 1]! << 8);
      const now = target[i]! | (target[i + 1]! << 8);
      const raw = ordered ? toOrdered16(now) - toOrdered16(old) : now - old;
      const difference = this.wideDelta((raw << 16) >> 16, (old >>> exponentShift) & exponentMask);
      const value = ordered ? fromOrdered16(toOrdered16(old) + difference) : old + difference;
      target[i] = value;
      target[i + 1] = value >>> 8;
    }
  }

  private delta32(type: number, source: Uint8Array, target: Uint8Array, from: number, to: number): void {
    const ordered = type === ELEMENT_FLOAT32;
    for (let i = from; i < to; i += 4) {
      const old = readI32(source, i);
      const now = readI32(target, i);
      const raw = ordered ? (toOrdered32(now) - toOrdered32(old)) | 0 : (now - old) | 0;
      const difference = this.wideDelta(raw, ordered ? (old >>> 23) & 0xff : 0);
      writeU32(target, i, ordered ? fromOrdered32((toOrdered32(old) + difference) | 0) : (old + difference) | 0);
    }
  }

  /** Differences of int8 to what rescaling predicts; where they are sparse, without a look at the fractions. */
  rescaled(type: number, predicted: Uint8Array, fractions: Uint8Array, target: Uint8Array): void {
    if (this.isSparse) {
      this.delta(type, predicted, target);
      return;
    }
    for (let i = 0; i < target.length; i++) {
      const now = predicted[i]!;
      target[i] = now + this.byteDelta(((target[i]! - now) << 24) >> 24, now, fractions[i]!);
    }
  }

  half(old: number, now: number): number {
    if (this.wide !== null) return this.wide.element(ELEMENT_FLOAT16, old, now);
    const raw = toOrdered16(now) - toOrdered16(old);
    const difference = this.wideDelta((raw << 16) >> 16, (old >>> 10) & 0x1f);
    return fromOrdered16(toOrdered16(old) + difference);
  }

  level(predicted: number, fraction: number, bits: number, isQuant: boolean, now: number): number {
    const difference = ((now - predicted) << (32 - bits)) >> (32 - bits);
    // The models know weights of eight bits.
    const weight = (predicted << (8 - bits)) & 0xff;
    return (
      predicted + (isQuant ? this.byteDelta(difference, weight, fraction) : this.plainByteDelta(difference, fraction))
    );
  }

  /**
   * An op begins: of a tensor with rows of `columns` elements, at `column`.
   * @param perScale elements that share one of the wide differences, where the op has both
   */
  beginOp(columns: number, column: number, sparse: boolean, perScale = 1): void {
    this.isSparse = sparse;
    this.gapLeft = -1;
    this.gaps.begin();
    this.wide?.beginOp(Math.ceil(columns / perScale), Math.floor(column / perScale));
    this.narrow?.beginOp(columns, column);
    this.literals?.beginOp();
  }

  /** A difference of 16 or 32 bits to a weight of this exponent. */
  private wideDelta(difference: number, exponent: number): number {
    const { coder, layout } = this;
    const bucket = ((this.updateSize - 16 * exponent) >> EXPECTED_SHIFT) + EXPECTED_UNIT;
    const expected = Math.max(0, Math.min(EXPECTED - 1, bucket));
    const around = 3 * this.lastWide + this.beforeWide;
    this.beforeWide = this.lastWide;
    if (coder.bit(layout.wideZero + 9 * expected + around, difference === 0 ? 1 : 0) === 1) {
      // A zero only says that the update was below the weight's resolution.
      this.updateSize += (Math.min(this.updateSize, 16 * exponent - 16) - this.updateSize) >> 4;
      this.lastWide = 0;
      return 0;
    }
    const sign = coder.bit(layout.wideSign + this.wideSign, difference < 0 ? 1 : 0);
    this.wideSign = 1 + sign;
    const magnitude = difference < 0 ? -difference : difference;
    const size = this.tree(layout.wideSize + SIZES * expected, 5, (31 - Math.clz32(magnitude)) & 31);
    this.updateSize += (16 * (size + 1 + exponent) - this.updateSize) >> 4;
    this.lastWide = ((16 * size) >> EXPECTED_SHIFT) + EXPECTED_UNIT > expected ? 2 : 1;
    const below = size === 31 ? magnitude ^ 0x80000000 : magnitude - (size === 31 ? 0 : 1 << size);
    const value = this.mantissa(size, below) + 2 ** size;
    return sign === 1 ? -value | 0 : value | 0;
  }

  /** `count` bits below the leading one: the top ones modelled, the rest as they are. */
  private mantissa(count: number, bits: number): number {
    const context = this.layout.wideTop + (Math.min(count, TOP_SIZES - 1) << TOP_BITS);
    const modelled = Math.min(TOP_BITS, count);
    const rest = count - modelled;
    const top = this.tree(context, modelled, (bits >>> rest) & ((1 << modelled) - 1));
    if (rest === 0) return top;
    const high = rest > 16 ? this.coder.direct(rest - 16, (bits >>> 16) & ((1 << (rest - 16)) - 1)) : 0;
    const low = this.coder.direct(Math.min(rest, 16), bits & ((1 << Math.min(rest, 16)) - 1));
    return top * 2 ** rest + high * 65536 + low;
  }

  private byteDelta(difference: number, old: number, fraction: number): number {
    return this.narrow === null
      ? this.plainByteDelta(difference, fraction)
      : this.narrow.difference(difference, old, fraction);
  }

  private plainByteDelta(difference: number, fraction: number): number {
    const { coder, layout, bytes } = this;
    const activity = activityOf(bytes.size);
    const around = 3 * Math.min(2, bytes.last) + Math.min(2, bytes.before);
    bytes.before = bytes.last;
    let value = 0;
    let zero = layout.byteZero + 9 * activity + around;
    let negative = layout.byteSign + bytes.sign;
    if (fraction !== NO_FRACTION) {
      // As sure below the middle between two roundings as above it.
      zero = layout.fractionZero + (FRACTIONS / 2) * activity + Math.min(fraction, FRACTIONS - 1 - fraction);
      negative = layout.fractionSign + fraction;
    }
    if (coder.bit(zero, difference === 0 ? 1 : 0) === 0) {
      const sign = coder.bit(negative, difference < 0 ? 1 : 0);
      bytes.sign = 1 + sign;
      const magnitude = difference < 0 ? -difference : difference;
      let size = 1;
      while (
        size <= UNARY &&
        coder.bit(layout.byteUnary + (UNARY + 1) * activity + size, magnitude > size ? 1 : 0) === 1
      )
        size++;
      if (size > UNARY) size += this.rest(layout.byteRest, magnitude - size);
      value = sign === 1 ? -size : size;
    }
    bytes.last = value < 0 ? -value : value;
    bytes.size += (64 * Math.min(64, bytes.last) - bytes.size) >> 4;
    return value;
  }

  /** Exp-Golomb (order 0), its prefix modelled. */
  private rest(context: number, value: number): number {
    let bits = 0;
    while (bits < 7 && this.coder.bit(context + bits, value + 1 >= 2 << bits ? 1 : 0) === 1) bits++;
    return (1 << bits) - 1 + this.coder.direct(bits, value + 1 - (1 << bits));
  }

  /**
   * Elements with nothing to predict them from.
   * @param position of the first in the segment
   * @param before the byte before it, 0 at the segment's begin
   */
  literal(type: number, target: Uint8Array, position: number, before: number): void {
    switch (type) {
      case ELEMENT_FLOAT32:
        for (let i = 0; i < target.length; i += 4) writeU32(target, i, this.float(readI32(target, i), 8, 23));
        return;
      case ELEMENT_FLOAT16:
        for (let i = 0; i < target.length; i += 2)
          writeU16(target, i, this.float(target[i]! | (target[i + 1]! << 8), 5, 10));
        return;
      case ELEMENT_BFLOAT16:
        for (let i = 0; i < target.length; i += 2)
          writeU16(target, i, this.float(target[i]! | (target[i + 1]! << 8), 8, 7));
        return;
      default:
        if (this.literals === null) this.plainBytes(type, target, position, before);
        else for (let i = 0; i < target.length; i++) target[i] = this.literals.byte(type, target[i]!);
    }
  }

  private plainBytes(type: number, target: Uint8Array, position: number, before: number): void {
    const { byteHigh, byteLow } = this.layout;
    for (let i = 0, last = before; i < target.length; i++) {
      const place = (position + i) % WORD_BYTES;
      const set = type === ELEMENT_INT8 ? 2 * WORD_BYTES : 2 * place + (last === 0 ? 0 : 1);
      const value = target[i]!;
      const high = this.tree(byteHigh + 16 * set, 4, value >> 4);
      last = (high << 4) | this.tree(byteLow + 16 * high, 4, value & 15);
      target[i] = last;
    }
  }

  private float(bits: number, exponentBits: number, fractionBits: number): number {
    const { coder, layout } = this;
    const exponent = this.tree(
      layout.floatExponent + 256 * ((this.exponentMean >> 3) & (layout.levels - 1)),
      exponentBits,
      (bits >>> fractionBits) & ((1 << exponentBits) - 1),
    );
    this.exponentMean += (16 * exponent - this.exponentMean) >> 4;
    const sign = coder.bit(layout.floatSign, (bits >>> (exponentBits + fractionBits)) & 1);
    let fraction = this.tree(
      layout.floatTop + (layout.fractionByExponent ? 8 * exponent : 0),
      3,
      (bits >>> (fractionBits - 3)) & 7,
    );
    for (let bit = fractionBits - 4; bit >= 0; bit--)
      fraction = (fraction << 1) | coder.bit(layout.floatLow + bit, (bits >>> bit) & 1);
    return (sign << (exponentBits + fractionBits)) | (exponent << fractionBits) | fraction;
  }

  /** `count` bits, each under the context of those before it. */
  private tree(context: number, count: number, value: number): number {
    let node = 1;
    for (let i = count - 1; i >= 0; i--) node = (node << 1) | this.coder.bit(context + node, (value >>> i) & 1);
    return node - (1 << count);
  }
}

function unchangedElements(source: Uint8Array, target: Uint8Array, start: number, width: number): number {
  let at = start;
  while (at < target.length && source[at] === target[at]) at++;
  return Math.floor((at - start) / width);
}
