/** Encodes plans as neural segments: the mirror of core/codec/neural-runner.ts, over whole pieces. */

import type { ByteModel } from '../codec/byte-model.js';
import { CONTEXT_LAYOUTS } from '../codec/context-layout.js';
import { ElementModels, SPARSE_BLOCK } from '../codec/element-models.js';
import { ELEMENT_BYTE, ELEMENT_BYTES, ELEMENT_FLOAT32 } from '../codec/elements.js';
import { createMixedModels } from '../codec/mixed-models.js';
import { NEURAL_CONTEXT_BYTES } from '../codec/neural-runner.js';
import { type CodedOp, OpModels } from '../codec/op-models.js';
import { OP_COPY, OP_DELTA, OP_LITERAL } from '../patch/segment.js';
import { type Piece, predictCast, type ReadSource, sourceBytesOf } from './pieces.js';
import { RangeEncoder } from './range-encoder.js';

/** Unchanged blocks are flagged where at least one in so many is. */
const SPARSE_SHARE = 2;

export interface NeuralDictionary {
  readonly bytes: Uint8Array;
  readonly offset: number;
}

export class NeuralEncoder {
  private readonly coder: RangeEncoder;
  private readonly ops: OpModels;
  private readonly elements: ElementModels;
  private readonly bytes: ByteModel | null;

  /** @param decodeClass 0 for microcontrollers, 1 with the byte model */
  constructor(decodeClass: number) {
    const layout = CONTEXT_LAYOUTS[decodeClass]!;
    const memory = new ArrayBuffer(NEURAL_CONTEXT_BYTES[decodeClass]!);
    this.coder = new RangeEncoder(
      new Uint16Array(memory, 0, (layout.twoRates ? 2 : 1) * layout.contexts),
      layout.twoRates,
    );
    this.ops = new OpModels(this.coder, layout);
    const mixed = decodeClass === 0 ? null : createMixedModels(this.coder, memory, layout.bytes);
    this.bytes = mixed?.bytes ?? null;
    this.elements = new ElementModels(this.coder, layout, mixed);
  }

  /** The payload; a view, valid until the next call. `pieces` are merged and cover `target`. */
  encode(
    pieces: readonly Piece[],
    target: Uint8Array,
    targetOffset: number,
    readSource: ReadSource,
    dictionary: NeuralDictionary,
  ): Uint8Array {
    this.coder.begin();
    this.ops.begin();
    this.elements.begin();
    this.bytes?.begin({ dictionary: dictionary.bytes, dictionaryOffset: dictionary.offset, history: target });
    let cursor = targetOffset;
    let at = 0;
    for (const piece of pieces) {
      const bytes = target.subarray(at, at + piece.length);
      const op = codedOp(piece, cursor);
      if (piece.kind === OP_DELTA) op.sparse = isSparse(piece, readSource(piece.source, piece.length), bytes) ? 1 : 0;
      this.ops.op(op);
      this.elements.beginOp(op.columns, op.column, op.sparse === 1);
      cursor += op.shift + sourceBytesOf(piece);
      this.piece(piece, bytes, at, cursor - sourceBytesOf(piece), readSource);
      at += piece.length;
    }
    return this.coder.finish();
  }

  private piece(piece: Piece, target: Uint8Array, at: number, source: number, readSource: ReadSource): void {
    if (piece.kind === OP_COPY) return;
    if (piece.kind === OP_LITERAL) {
      if (piece.type === ELEMENT_BYTE && this.bytes !== null) this.bytes.code(at, piece.length, source);
      else this.elements.literal(piece.type, target);
      return;
    }
    const base = readSource(source, sourceBytesOf(piece));
    if (piece.cast === undefined) {
      this.elements.delta(piece.type, base, target);
      return;
    }
    if (piece.cast.scales !== null) this.elements.literal(ELEMENT_FLOAT32, piece.cast.scales.bytes);
    this.elements.delta(piece.type, predictCast(piece.cast, base, piece.length), target);
  }
}

/** Whether enough blocks are unchanged for a flag each to pay. */
function isSparse(piece: Piece, source: Uint8Array, target: Uint8Array): boolean {
  const block = SPARSE_BLOCK * ELEMENT_BYTES[piece.type]!;
  let same = 0;
  for (let start = 0; start < target.length; start += block) {
    let i = start;
    const end = Math.min(target.length, start + block);
    while (i < end && source[i] === target[i]) i++;
    if (i === end) same++;
  }
  return same * SPARSE_SHARE > target.length / block;
}

function codedOp(piece: Piece, cursor: number): CodedOp {
  const scales = piece.cast?.scales ?? null;
  return {
    kind: piece.kind,
    type: piece.type,
    length: piece.length,
    shift: piece.kind === OP_LITERAL ? 0 : piece.source - cursor,
    castTypes: piece.cast === undefined ? 0 : (piece.cast.from << 4) | piece.cast.to,
    scaleCount: scales === null ? 0 : scales.bytes.length / 4,
    inner: scales?.inner ?? 1,
    phase: scales?.phase ?? 0,
    columns: piece.columns ?? 1,
    column: piece.column ?? 0,
    sparse: 0,
  };
}
