/** Encodes plans as neural segments: the mirror of core/codec/neural-runner.ts, over whole pieces. */

import type { ByteModel } from '../codec/byte-model.js';
import { NO_SCALES } from '../codec/cast-op.js';
import { CONTEXT_LAYOUTS } from '../codec/context-layout.js';
import { DEFAULT_PRIORS } from '../codec/default-priors.js';
import { ElementModels } from '../codec/element-models.js';
import { ELEMENT_BYTE, ELEMENT_BYTES, ELEMENT_FLOAT32 } from '../codec/elements.js';
import { createMixedModels } from '../codec/mixed-models.js';
import { NEURAL_CONTEXT_BYTES } from '../codec/neural-runner.js';
import { type CodedOp, OpModels } from '../codec/op-models.js';
import { Priors } from '../codec/priors.js';
import { invariant } from '../errors.js';
import { OP_COPY, OP_LITERAL } from '../patch/segment.js';
import { castTypesOf, codeBlocks, isRequantised, type Predicted, perScaleOf, predictCast } from './cast-residual.js';
import { byteLiterals, type Piece, type ReadSource, readBase, sourceBytesOf } from './pieces.js';
import { RangeEncoder } from './range-encoder.js';
import { TracedEncoder } from './traced-encoder.js';

/** Gaps between changed elements are coded where at most one element in so many changed. */
const SPARSE_SHARE = 32;

/** With so few bytes in literals the model learns the source's first: it takes as long again, a tenth of a second. */
const LEARNT_BYTES = 128 << 10;

export interface NeuralDictionary {
  readonly bytes: Uint8Array;
  readonly offset: number;
}

export class NeuralEncoder {
  private readonly coder: RangeEncoder;
  private readonly ops: OpModels;
  private readonly elements: ElementModels;
  private readonly bytes: ByteModel | null;

  /**
   * @param decodeClass 0 for microcontrollers, 1 with the byte model
   * @param priors the header's
   * @param traced whether `trace` is wanted, in class 0
   */
  constructor(decodeClass: number, priors: Uint8Array = new Uint8Array(0), traced = false) {
    const layout = CONTEXT_LAYOUTS[decodeClass]!;
    const memory = new ArrayBuffer(NEURAL_CONTEXT_BYTES[decodeClass]!);
    this.coder = new (traced ? TracedEncoder : RangeEncoder)(
      new Uint16Array(memory, 0, (layout.counted ? 2 : 1) * layout.contexts),
      layout.counted ? null : new Priors(DEFAULT_PRIORS, priors),
    );
    this.ops = new OpModels(this.coder, layout);
    const mixed = decodeClass === 0 ? null : createMixedModels(this.coder, memory, layout.bytes);
    this.bytes = mixed?.bytes ?? null;
    this.elements = new ElementModels(this.coder, layout, mixed);
  }

  /** Bits and contexts of the latest payload, for PriorTrainer; a view, valid until the next call. */
  get trace(): Uint32Array {
    invariant(this.coder instanceof TracedEncoder, 'a trace was asked for');
    return this.coder.trace;
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
    this.bytes?.begin({
      dictionary: dictionary.bytes,
      dictionaryOffset: dictionary.offset,
      history: target,
      targetBytes: target.length,
    });
    const learns = byteLiterals(pieces) <= LEARNT_BYTES && dictionary.bytes.length > 0;
    let cursor = targetOffset;
    let at = 0;
    for (const piece of pieces) {
      const bytes = target.subarray(at, at + piece.length);
      const predicted = predict(piece, readSource);
      const op = codedOp(piece, cursor);
      if (learns && piece.kind === OP_LITERAL && piece.type === ELEMENT_BYTE) op.learns = 1;
      if (predicted !== null) op.sparse = isSparse(piece.type, predicted.bytes, bytes) ? 1 : 0;
      this.ops.op(op, cursor - targetOffset - at);
      this.elements.beginOp(op.columns, op.column, op.sparse === 1, perScaleOf(piece.cast));
      if (piece.cast?.scales) this.elements.literal(ELEMENT_FLOAT32, piece.cast.scales.bytes, 0, 0);
      if (piece.cast !== undefined && isRequantised(piece.cast))
        codeBlocks(piece, piece.cast, readSource(piece.source, sourceBytesOf(piece)), bytes, this.elements);
      else this.piece(piece, target, predicted, at, cursor + op.shift, op.learns === 1);
      cursor += op.shift + sourceBytesOf(piece);
      at += piece.length;
    }
    return this.coder.finish();
  }

  private piece(
    piece: Piece,
    segment: Uint8Array,
    predicted: Predicted | null,
    at: number,
    source: number,
    learns: boolean,
  ): void {
    if (piece.kind === OP_COPY) return;
    const target = segment.subarray(at, at + piece.length);
    if (predicted !== null && predicted.fractions !== null)
      this.elements.rescaled(piece.type, predicted.bytes, predicted.fractions, target);
    else if (predicted !== null) this.elements.delta(piece.type, predicted.bytes, target);
    else if (piece.type === ELEMENT_BYTE && this.bytes !== null) {
      if (learns) this.bytes.learn(source, piece.length);
      this.bytes.code(at, piece.length, source);
    } else this.elements.literal(piece.type, target, at, at === 0 ? 0 : segment[at - 1]!);
  }
}

/** What a delta or a cast starts from; null for pieces that predict nothing, or number by number. */
function predict(piece: Piece, readSource: ReadSource): Predicted | null {
  if (piece.kind === OP_COPY || piece.kind === OP_LITERAL || isRequantised(piece.cast)) return null;
  const base = readBase(piece, readSource);
  return piece.cast === undefined ? { bytes: base, fractions: null } : predictCast(piece, piece.cast, base);
}

/** Whether so few elements differ that the gaps between them say it best, which is also the quickest to decode. */
function isSparse(type: number, predicted: Uint8Array, target: Uint8Array): boolean {
  const width = ELEMENT_BYTES[type]!;
  const most = target.length / width / SPARSE_SHARE;
  let changed = 0;
  for (let i = 0; i < target.length && changed <= most; i++) {
    if (predicted[i] === target[i]) continue;
    changed++;
    i += width - 1 - (i % width);
  }
  return changed <= most;
}

function codedOp(piece: Piece, cursor: number): CodedOp {
  const scales = piece.cast?.scales ?? null;
  return {
    kind: piece.kind,
    type: piece.type,
    length: piece.length,
    shift: piece.kind === OP_LITERAL ? 0 : piece.source - cursor,
    ...(scales ?? NO_SCALES),
    castTypes: piece.cast === undefined ? 0 : castTypesOf(piece.cast),
    columns: piece.columns ?? 1,
    column: piece.column ?? 0,
    stride: piece.stride ?? 0,
    learns: 0,
    sparse: 0,
  };
}
