/** How the neural codec says which op comes next: kinds under the kind before, lengths and offsets as Exp-Golomb numbers. */

import { OP_CAST, OP_DELTA, OP_LITERAL } from '../patch/segment.js';
import type { BitCoder } from './bit-coder.js';
import { type CastParameters, isRescaled, isScaled } from './cast-op.js';
import { type ContextLayout, NUMBER_SIZES } from './context-layout.js';

const NO_OP = 4;
/** 2^53 - 1 has 53 bits. */
const MAX_BITS = 53;

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
  /** DELTA: 1 where unchanged blocks are flagged. */
  sparse: number;
}

export class OpModels {
  private readonly coder: BitCoder;
  private readonly layout: ContextLayout;
  private lastKind = NO_OP;

  constructor(coder: BitCoder, layout: ContextLayout) {
    this.coder = coder;
    this.layout = layout;
  }

  begin(): void {
    this.lastKind = NO_OP;
  }

  /** Codes `op` in place. */
  op(op: CodedOp): void {
    const { coder, layout } = this;
    const { columns, column } = op;
    op.kind = this.bits(layout.opKind + 4 * this.lastKind, 2, op.kind);
    this.lastKind = op.kind;
    op.type = this.bits(layout.opType + 8 * op.kind, 3, op.type);
    op.length = this.number(layout.opLength + NUMBER_SIZES * op.kind, op.length);
    if (op.kind === OP_LITERAL) op.shift = 0;
    else if (coder.bit(layout.opShifted + op.kind, op.shift === 0 ? 0 : 1) === 1)
      op.shift = this.signed(layout.opShift, op.shift);
    else op.shift = 0;
    op.columns = 1;
    op.column = 0;
    op.sparse = op.kind === OP_DELTA || op.kind === OP_CAST ? coder.bit(layout.opSparse + op.kind, op.sparse) : 0;
    if (op.kind === OP_CAST) this.cast(op);
    const isOfOneType = op.kind === OP_CAST && op.castTypes >> 4 === (op.castTypes & 15);
    if ((op.kind === OP_DELTA || isOfOneType) && layout.columns >= 0) {
      op.columns = 1 + this.number(layout.columns, columns - 1);
      op.column = this.number(layout.columns + NUMBER_SIZES, column);
    }
  }

  private cast(op: CodedOp): void {
    const { layout } = this;
    const { castNumbers } = layout;
    const strides = castNumbers + NUMBER_SIZES;
    const from = this.bits(layout.castFrom, 4, op.castTypes >> 4);
    op.castTypes = (from << 4) | this.bits(layout.castTo, 4, op.castTypes & 15);
    const scaled = isScaled(op.castTypes);
    const rescaled = isRescaled(op.castTypes);
    op.scaleCount = scaled ? this.number(castNumbers, op.scaleCount) : 0;
    op.crossCount = rescaled ? this.number(castNumbers, op.crossCount) : 0;
    const strided = scaled && (op.scaleCount > 1 || !rescaled);
    op.inner = strided ? this.number(strides, op.inner) : 1;
    op.group = strided && rescaled ? this.number(strides, op.group) : 1;
    op.outer = op.group > 1 ? this.number(strides, op.outer) : op.inner;
    op.crossInner = op.crossCount > 0 ? this.number(strides, op.crossInner) : 1;
    op.phase = strided || op.crossCount > 0 ? this.number(castNumbers + 2 * NUMBER_SIZES, op.phase) : 0;
  }

  private bits(context: number, count: number, value: number): number {
    let node = 1;
    for (let i = count - 1; i >= 0; i--) node = (node << 1) | this.coder.bit(context + node, (value >>> i) & 1);
    return node - (1 << count);
  }

  private signed(context: number, value: number): number {
    const zigzag = this.number(context, value >= 0 ? 2 * value : -2 * value - 1);
    return zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2;
  }

  /** Exp-Golomb (order 0): the number of bits modelled, the bits as they are. */
  private number(context: number, value: number): number {
    let bits = 0;
    while (
      bits < MAX_BITS - 1 &&
      this.coder.bit(context + Math.min(bits, NUMBER_SIZES - 1), value + 1 >= 2 ** (bits + 1) ? 1 : 0) === 1
    )
      bits++;
    let below = 0;
    for (let left = bits; left > 0; ) {
      const run = Math.min(left, 16);
      left -= run;
      below = below * 2 ** run + this.coder.direct(run, Math.floor((value + 1) / 2 ** left) % 2 ** run);
    }
    return 2 ** bits + below - 1;
  }
}
