/**
 * Pieces: the encoder's ops. A plan is a list of pieces that cover a segment's target bytes in order; this file turns a plan
 * into the plain bytes of a segment.
 */

import { CAST_BLOCKS, CAST_F32 } from '../codec/cast.js';
import { hasOldZero, hasZero, isRescaled } from '../codec/cast-op.js';
import {
  ELEMENT_BYTE,
  ELEMENT_BYTES,
  ELEMENT_FLOAT16,
  ELEMENT_FLOAT32,
  ELEMENT_INT16,
  ELEMENT_INT32,
} from '../codec/elements.js';
import { readTransposed } from '../codec/transposed-read.js';
import { OP_CAST, OP_COPY, OP_DELTA, OP_LITERAL } from '../patch/segment.js';
import { ByteBuilder } from './byte-builder.js';
import { type CastPiece, castTypesOf, takeResidual } from './cast-residual.js';
import { takeDelta } from './take-delta.js';

export interface Piece {
  readonly kind: typeof OP_COPY | typeof OP_DELTA | typeof OP_LITERAL | typeof OP_CAST;
  /** Element type (core/codec/elements.ts). */
  readonly type: number;
  readonly length: number;
  /** Ignored for a literal. */
  readonly source: number;
  /** Of a cast alone. */
  readonly cast?: CastPiece;
  /** Of a tensor's delta: elements in a row, and which of them is the first. */
  readonly columns?: number;
  readonly column?: number;
  /** Of a delta from a transposed tensor: elements in a row of that (core/codec/transposed-read.ts). For the neural codec of gateways alone. */
  readonly stride?: number;
}

export function literal(length: number, type = ELEMENT_BYTE): Piece {
  return { kind: OP_LITERAL, type, length, source: 0 };
}

export function copy(length: number, source: number): Piece {
  return { kind: OP_COPY, type: ELEMENT_BYTE, length, source };
}

export function delta(length: number, source: number, type: number): Piece {
  return { kind: OP_DELTA, type, length, source };
}

/** The residual's element type goes by the cast's target: whole elements where it has no blocks. */
export function castPiece(length: number, source: number, cast: CastPiece): Piece {
  const { elements, bytes } = CAST_BLOCKS[cast.to]!;
  const isFloat = cast.from === CAST_F32 && cast.to === CAST_F32;
  const words = isFloat ? ELEMENT_FLOAT32 : ELEMENT_INT32;
  const type = elements > 1 || bytes === 1 ? ELEMENT_BYTE : bytes === 2 ? ELEMENT_INT16 : words;
  return { kind: OP_CAST, type, length, source, cast };
}

/** Source bytes that a piece's target bytes come from. */
export function sourceBytesOf(piece: Piece): number {
  if (piece.cast === undefined) return piece.length;
  const from = CAST_BLOCKS[piece.cast.from]!;
  const to = CAST_BLOCKS[piece.cast.to]!;
  return (((piece.length / to.bytes) * to.elements) / from.elements) * from.bytes;
}

/** Reads source bytes; the result is a view, valid until the next call. */
export type ReadSource = (offset: number, length: number) => Uint8Array;

/** What a piece's differences are taken from. */
export function readBase(piece: Piece, readSource: ReadSource): Uint8Array {
  const { columns = 1, column = 0, stride } = piece;
  if (stride === undefined) return readSource(piece.source, sourceBytesOf(piece));
  const source = { read: (offset: number, into: Uint8Array) => into.set(readSource(offset, into.length)) };
  const base = new Uint8Array(piece.length);
  readTransposed(source, piece.source, { columns, column, stride, width: ELEMENT_BYTES[piece.type]! }, 0, base);
  return base;
}

/**
 * Joins neighbours that one op can say: what follows on in the source, literals of one type.
 * @param keepTensors leaves the deltas of tensors apart, for a coder that looks at their rows
 */
export function mergePieces(pieces: readonly Piece[], keepTensors = false): Piece[] {
  const merged: Piece[] = [];
  for (const piece of pieces) {
    const last = merged.at(-1);
    if (last !== undefined && canMerge(last, piece, keepTensors)) {
      merged[merged.length - 1] = { ...last, length: last.length + piece.length };
    } else if (piece.length > 0) merged.push(piece);
  }
  return merged;
}

function canMerge(last: Piece, piece: Piece, keepTensors: boolean): boolean {
  if (last.kind !== piece.kind || last.type !== piece.type || piece.kind === OP_CAST) return false;
  if (keepTensors && (piece.columns !== undefined || last.stride !== undefined)) return false;
  return piece.kind === OP_LITERAL || last.source + last.length === piece.source;
}

/** Bytes of a plan that the byte model codes, a megabyte a second. */
export function byteLiterals(plan: readonly Piece[]): number {
  return plan.reduce(
    (sum, { kind, type, length }) => sum + (kind === OP_LITERAL && type === ELEMENT_BYTE ? length : 0),
    0,
  );
}

/** Encodes plans one after another into the same memory. */
export class PlainEncoder {
  private readonly ops = new ByteBuilder();
  private readonly data = new ByteBuilder();
  private readonly plain = new ByteBuilder();

  /**
   * The plain bytes of a segment: length of the ops, ops, data (SPEC.md, "Ops"). A view, valid until the next call.
   * @param pieces merged
   */
  encode(pieces: readonly Piece[], target: Uint8Array, targetOffset: number, readSource: ReadSource): Uint8Array {
    const { ops, data, plain } = this;
    for (const builder of [ops, data, plain]) builder.clear();
    let cursor = targetOffset;
    let at = 0;
    for (const piece of pieces) {
      const shift = piece.kind === OP_LITERAL ? 0 : piece.source - cursor;
      const sourceBytes = sourceBytesOf(piece);
      ops.byte(piece.kind | (piece.type << 2) | (shift === 0 ? 0 : 0x20));
      ops.unsigned(piece.length);
      if (shift !== 0) ops.signed(shift);
      cursor += shift + sourceBytes;
      const bytes = target.subarray(at, at + piece.length);
      if (piece.kind === OP_LITERAL) splitPlanes(ELEMENT_BYTES[piece.type]!, bytes, data.extend(piece.length));
      else if (piece.cast !== undefined)
        appendCast(piece, piece.cast, readSource(piece.source, sourceBytes), bytes, ops, data);
      else if (piece.kind === OP_DELTA)
        takeDelta(piece.type, readSource(piece.source, sourceBytes), bytes, data.extend(piece.length));
      at += piece.length;
    }
    const onlyLiteral = pieces.length === 1 && pieces[0]!.kind === OP_LITERAL && pieces[0]!.type === ELEMENT_BYTE;
    if (onlyLiteral) ops.clear();
    plain.unsigned(ops.length);
    plain.append(ops.view());
    plain.append(data.view());
    return plain.view();
  }
}

/** As PlainEncoder's, in memory of its own. */
export function encodePlain(
  pieces: readonly Piece[],
  target: Uint8Array,
  targetOffset: number,
  readSource: ReadSource,
): Uint8Array {
  return new PlainEncoder().encode(pieces, target, targetOffset, readSource);
}

function appendCast(
  piece: Piece,
  cast: CastPiece,
  source: Uint8Array,
  target: Uint8Array,
  ops: ByteBuilder,
  data: ByteBuilder,
): void {
  const { scales } = cast;
  const rescaled = isRescaled(castTypesOf(cast));
  ops.byte(castTypesOf(cast));
  if (scales !== null) {
    const strided = scales.scaleCount > 1 || !rescaled;
    ops.unsigned(scales.scaleCount);
    if (rescaled) ops.unsigned(scales.crossCount);
    if (strided) ops.unsigned(scales.inner);
    if (strided && rescaled) ops.unsigned(scales.group);
    if (scales.group > 1) ops.unsigned(scales.outer);
    if (scales.crossCount > 0) ops.unsigned(scales.crossInner);
    if (strided || scales.crossCount > 0) ops.unsigned(scales.phase);
    if (hasZero(castTypesOf(cast))) ops.unsigned(scales.zero);
    if (hasOldZero(castTypesOf(cast))) ops.unsigned(scales.oldZero);
    data.append(scales.bytes);
  }
  takeResidual(piece, cast, source, target, data.extend(target.length));
}

/** Byte planes of `bytes`, most significant first, into `planes`. */
export function splitPlanes(elementBytes: number, bytes: Uint8Array, planes: Uint8Array): void {
  if (elementBytes === 1) {
    planes.set(bytes);
    return;
  }
  const count = bytes.length / elementBytes;
  for (let byte = 0; byte < elementBytes; byte++) {
    const plane = (elementBytes - 1 - byte) * count;
    for (let i = 0; i < count; i++) planes[plane + i] = bytes[i * elementBytes + byte]!;
  }
}

/** Types a delta can be tried with when nothing says what the bytes are. */
export const GUESSED_TYPES: readonly number[] = [ELEMENT_BYTE, ELEMENT_INT16, ELEMENT_FLOAT16, ELEMENT_FLOAT32];
