/**
 * How the neural codec says which op comes next: kinds under the kind before, lengths as Exp-Golomb numbers, where in the source by
 * the distance from where ops went before: tables that moved are left and come back to (LZMA's repeated distances, made inexact).
 */

import { OP_CAST, OP_COPY, OP_DELTA, OP_LITERAL } from '../patch/segment.js';
import type { BitCoder } from './bit-coder.js';
import { type CastParameters, hasOldZero, hasZero, isRescaled, isScaled } from './cast-op.js';
import type { ContextLayout } from './context-layout.js';
import { ELEMENT_BYTE } from './elements.js';

const NO_OP = 4;
/** Distances that were left, of which the last ones are remembered. */
const BASES = 3;
/** Numbers of so many bits or fewer are modelled to the last. */
const SHORT_BITS = 2;
/** 2^53 - 1 has 53 bits. */
const MAX_BITS = 53;

const NOT_MODELLED = -1;
/** By kind: whose lengths its are modelled with. */
const LENGTH_LIKE: readonly number[] = [OP_COPY, OP_DELTA, OP_LITERAL, OP_DELTA];

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** An op as it is coded: see SPEC.md, "Ops". The parameters of CAST count for that alone. */
export interface CodedOp extends Mutable<CastParameters> {
  kind: number;
  type: number;
  length: number;
  /** Source offset minus the cursor; 0 for a literal. */
  shift: number;
  /** DELTA, and CAST from a type to itself, of class 1: elements in a row of the tensor, and which of them is the first. */
  columns: number;
  column: number;
  /** DELTA, of class 1: elements in a row of the source where that is transposed, else 0. */
  stride: number;
  /** LITERAL of bytes in class 1: 1 where the byte model learns the source's bytes under them first. */
  learns: number;
  /** DELTA: 1 where unchanged blocks are flagged. */
  sparse: number;
}

export class OpModels {
  private readonly coder: BitCoder;
  private readonly layout: ContextLayout;
  private lastKind = NO_OP;
  /** How far cursors were ahead of the target when an op went elsewhere, the latest first. */
  private readonly left = new Float64Array(BASES);

  constructor(coder: BitCoder, layout: ContextLayout) {
    this.coder = coder;
    this.layout = layout;
  }

  begin(): void {
    this.lastKind = NO_OP;
    this.left.fill(0);
  }

  /**
   * Codes `op` in place.
   * @param ahead how far the cursor is ahead of the segment's target bytes so far
   */
  op(op: CodedOp, ahead: number): void {
    const { coder, layout } = this;
    const { columns, column, stride } = op;
    op.kind = this.bits(layout.opKind + 4 * this.lastKind, 2, op.kind);
    this.lastKind = op.kind;
    op.type = op.kind === OP_COPY ? ELEMENT_BYTE : this.bits(layout.opType + 8 * (op.kind - 1), 3, op.type);
    op.length = 1 + this.number(layout.opLength, layout.opLengthLow, LENGTH_LIKE[op.kind]!, op.length - 1);
    if (op.kind === OP_LITERAL) op.shift = 0;
    else if (coder.bit(layout.opShifted + op.kind, op.shift === 0 ? 0 : 1) === 1)
      op.shift = this.shift(op.shift, ahead);
    else op.shift = 0;
    const mayLearn = op.kind === OP_LITERAL && op.type === ELEMENT_BYTE && layout.opLearns >= 0;
    op.learns = mayLearn ? coder.bit(layout.opLearns, op.learns) : 0;
    op.columns = 1;
    op.column = 0;
    op.stride = 0;
    op.sparse = op.kind === OP_DELTA || op.kind === OP_CAST ? coder.bit(layout.opSparse + op.kind, op.sparse) : 0;
    if (op.kind === OP_CAST) this.cast(op);
    const isOfOneType = op.kind === OP_CAST && op.castTypes >> 4 === (op.castTypes & 15);
    if ((op.kind === OP_DELTA || isOfOneType) && layout.columns >= 0) {
      op.columns = 1 + this.number(layout.columns, NOT_MODELLED, 0, columns - 1);
      op.column = this.number(layout.columns, NOT_MODELLED, 1, column);
      if (op.kind === OP_DELTA) op.stride = this.number(layout.columns, NOT_MODELLED, 2, stride);
    }
  }

  private cast(op: CodedOp): void {
    const { layout } = this;
    const from = this.bits(layout.castFrom, 4, op.castTypes >> 4);
    op.castTypes = (from << 4) | this.bits(layout.castTo, 4, op.castTypes & 15);
    const scaled = isScaled(op.castTypes);
    const rescaled = isRescaled(op.castTypes);
    op.scaleCount = scaled ? this.castNumber(op.scaleCount) : 0;
    op.crossCount = rescaled ? this.castNumber(op.crossCount) : 0;
    const strided = scaled && (op.scaleCount > 1 || !rescaled);
    op.inner = strided ? this.castNumber(op.inner) : 1;
    op.group = strided && rescaled ? this.castNumber(op.group) : 1;
    op.outer = op.group > 1 ? this.castNumber(op.outer) : op.inner;
    op.crossInner = op.crossCount > 0 ? this.castNumber(op.crossInner) : 1;
    op.phase = strided || op.crossCount > 0 ? this.castNumber(op.phase) : 0;
    op.zero = hasZero(op.castTypes) ? this.castNumber(op.zero) : 0;
    op.oldZero = hasOldZero(op.castTypes) ? this.castNumber(op.oldZero) : 0;
  }

  private castNumber(value: number): number {
    return this.number(this.layout.castNumbers, NOT_MODELLED, 0, value);
  }

  private bits(context: number, count: number, value: number): number {
    let node = 1;
    for (let i = count - 1; i >= 0; i--) node = (node << 1) | this.coder.bit(context + node, (value >>> i) & 1);
    return node - (1 << count);
  }

  /** A shift that is not 0, as the distance from the nearest of the places that were left, or from this one. */
  private shift(shift: number, ahead: number): number {
    const { coder, layout, left } = this;
    let base = 0;
    let distance = shift;
    for (let i = 0; i < BASES; i++) {
      const other = ahead + shift - left[i]!;
      if (Math.abs(other) < Math.abs(distance)) {
        base = i + 1;
        distance = other;
      }
    }
    base = this.bits(layout.opBase, 2, base);
    const elsewhere = base === 0 ? 0 : 1;
    const sign = coder.bit(layout.opShiftSign + elsewhere, distance < 0 ? 1 : 0);
    const magnitude = Math.abs(distance);
    const low = this.bits(layout.opShiftLow + 4 * elsewhere, 2, magnitude % 4);
    const coded = 4 * this.number(layout.opShift, NOT_MODELLED, elsewhere, Math.floor(magnitude / 4)) + low;
    const now = (base === 0 ? ahead : left[base - 1]!) + (sign === 1 ? -coded : coded);
    // What was gone back to takes the place of what is left; what is new, that of the oldest.
    for (let i = coded === 0 && base > 0 ? base - 1 : BASES - 1; i > 0; i--) left[i] = left[i - 1]!;
    left[0] = ahead;
    return now - ahead;
  }

  /**
   * Exp-Golomb (order 0): the number of bits modelled, the bits as they are or, of short numbers under `low`, modelled.
   * @param sort which of the sets of contexts
   */
  private number(context: number, low: number, sort: number, value: number): number {
    const { numberSizes } = this.layout;
    const first = context + numberSizes * sort;
    let bits = 0;
    while (
      bits < MAX_BITS - 1 &&
      this.coder.bit(first + Math.min(bits, numberSizes - 1), value + 1 >= 2 ** (bits + 1) ? 1 : 0) === 1
    )
      bits++;
    if (low !== NOT_MODELLED && bits <= SHORT_BITS)
      return 2 ** bits - 1 + this.bits(low + 8 * sort + 2 ** bits, bits, value + 1 - 2 ** bits);
    let below = 0;
    for (let left = bits; left > 0; ) {
      const run = Math.min(left, 16);
      left -= run;
      below = below * 2 ** run + this.coder.direct(run, Math.floor((value + 1) / 2 ** left) % 2 ** run);
    }
    return 2 ** bits + below - 1;
  }
}
