/**
 * Candidate plans for one segment of the target. Several are tried because no rule tells beforehand whether zstd does better
 * with typed differences or with the source itself as its dictionary; the encoder keeps the smallest result.
 */

import { CAST_BLOCKS, type CastTypes } from '../codec/cast.js';
import { ELEMENT_BYTE, ELEMENT_BYTES } from '../codec/elements.js';
import { MAX_PLACE } from '../codec/rescale.js';
import type { Tensor } from '../formats/model.js';
import { OP_COPY, OP_DELTA } from '../patch/segment.js';
import { castScales } from './cast-scales.js';
import { chooseCast, chooseCopy, chooseTyped, elementTypeOf } from './choose-piece.js';
import { chooseRescaled, chooseRescaledWords, type RescaleRun } from './choose-rescale.js';
import type { ByteMatcher } from './match-bytes.js';
import { castTypes, rescaleType } from './match-casts.js';
import type { TensorPart } from './match-slices.js';
import { transposedPlaces } from './match-transposed.js';
import { delta, literal, type Piece, type ReadSource, readBase } from './pieces.js';

/** Share of a tensor without a base that must be copied from somewhere for the byte-level delta to be worth its ops. */
const LEAST_EXPLAINED = 0.1;

/** Index of a vector of scales. */
const NO_TENSOR = -1;

export interface Segment {
  /** Offset in the target. */
  readonly start: number;
  readonly bytes: Uint8Array;
  /** No op may read the source before this offset: it is written over by then. 0 where the source stays whole. */
  readonly floor: number;
}

export interface PlannerOptions {
  /**
   * Target tensors in file order, not overlapping, each with the source tensor it is a new version or a cast of, or null; of a
   * tensor that grew or shrank its parts.
   */
  readonly tensors: readonly (readonly TensorPart[])[];
  /** null for a stand-alone patch. */
  readonly matcher: ByteMatcher | null;
  readonly readSource: ReadSource;
  /** Vectors of scales outside the tensors, in file order, with the old ones. */
  readonly scaleVectors: readonly TensorPart[];
  /** Most scales an op may carry. */
  readonly mostScales: number;
  readonly isNeural: boolean;
  /** Whether pieces may read a tensor by its columns. */
  readonly canTranspose: boolean;
  /** Shapes name the axis that varies fastest first, as GGUF's do, and not last. */
  readonly firstAxisIsRow: boolean;
}

/** A target tensor or part of one, its base, and the tensor's place in the list; -1 for a vector of scales. */
interface TensorPair extends TensorPart {
  readonly index: number;
}

interface Region {
  /** Indices into the segment. */
  readonly start: number;
  readonly end: number;
  readonly pair: TensorPair | null;
  /** Of a vector of scales: what it is covered with. */
  readonly piece?: Piece;
}

export class SegmentPlanner {
  private readonly options: PlannerOptions;
  /** Tensors and vectors of scales, in file order. */
  private readonly pairs: readonly TensorPair[];
  /** First tensor that may reach into the next segment: segments come in order. */
  private nextTensor = 0;
  /** Where the last region with a base lay, relative to the target: the likeliest place for what follows it. */
  private drift = 0;
  /** By index into `tensors`: a byte of it differs from its base, or it has none. */
  readonly modified: Uint8Array;

  constructor(options: PlannerOptions) {
    this.options = options;
    this.modified = new Uint8Array(options.tensors.length);
    const tensors = options.tensors.flatMap((parts, index) => parts.map((part) => ({ ...part, index })));
    const vectors = options.scaleVectors.map((pair) => ({ ...pair, index: NO_TENSOR }));
    this.pairs = [...tensors, ...vectors].sort((a, b) => a.tensor.offset - b.tensor.offset);
  }

  /** Where in the source the segment's counterpart probably begins. */
  get expectedDrift(): number {
    return this.drift;
  }

  /** Plans to try, each pieces that cover the segment, not merged. */
  plan(segment: Segment): Piece[][] {
    const matched: Piece[] = [];
    const typed: Piece[] = [];
    const turned: Piece[] = [];
    let isTurned = false;
    for (const region of this.regionsOf(segment)) {
      const bytes = segment.bytes.subarray(region.start, region.end);
      const offset = segment.start + region.start;
      if (region.piece !== undefined) {
        matched.push(region.piece);
        typed.push(region.piece);
        turned.push(region.piece);
        continue;
      }
      if (region.pair !== null) {
        const transposed = this.coverTransposed(region.pair, offset, bytes, segment.floor);
        const pair = region.pair.isTransposed === true ? { ...region.pair, base: null } : region.pair;
        const pieces = this.coverTensor(pair, offset, bytes, segment.floor);
        typed.push(...pieces);
        const found = pair.base === null ? this.coverUnmatched(offset, bytes, segment.floor, pieces) : pieces;
        matched.push(...found);
        turned.push(...(transposed ?? found));
        isTurned ||= transposed !== null;
        continue;
      }
      const found = this.options.matcher?.cover(bytes, offset + this.drift, segment.floor) ?? [literal(bytes.length)];
      matched.push(...found);
      turned.push(...found);
      typed.push(literal(bytes.length));
    }
    const plans = isTurned ? [matched, turned] : [matched];
    if (!samePieces(matched, typed)) plans.push(typed);
    plans.push([literal(segment.bytes.length)]);
    return plans;
  }

  private regionsOf(segment: Segment): Region[] {
    const { pairs } = this;
    const end = segment.start + segment.bytes.length;
    const regions: Region[] = [];
    let at = segment.start;
    for (let i = this.nextTensor; i < pairs.length && pairs[i]!.tensor.offset < end; i++) {
      const pair = pairs[i]!;
      const { tensor } = pair;
      const tensorEnd = tensor.offset + tensor.length;
      if (tensorEnd <= segment.start) {
        this.nextTensor = i + 1;
        continue;
      }
      const from = Math.max(at, tensor.offset);
      const to = Math.min(end, tensorEnd);
      const piece = pair.index === NO_TENSOR ? this.coverScales(pair, segment) : undefined;
      if (piece === null) continue;
      if (from > at) regions.push({ start: at - segment.start, end: from - segment.start, pair: null });
      const region = { start: from - segment.start, end: to - segment.start, pair };
      regions.push(piece === undefined ? region : { ...region, piece });
      at = to;
    }
    if (at < end) regions.push({ start: at - segment.start, end: end - segment.start, pair: null });
    return regions;
  }

  /** Only where a ratio tells them: else they are bytes like those around them. */
  private coverScales({ tensor, base }: TensorPair, segment: Segment): Piece | null {
    const start = tensor.offset - segment.start;
    const end = start + tensor.length;
    if (base === null || base.offset < segment.floor || start < 0 || end > segment.bytes.length) return null;
    const source = this.options.readSource(base.offset, tensor.length);
    const run = { base, tensor, sourceOffset: base.offset, start: 0, mostScales: 1, isNeural: this.options.isNeural };
    return chooseRescaledWords({ ...run, source, target: segment.bytes.subarray(start, end) });
  }

  private coverTensor(pair: TensorPair, offset: number, bytes: Uint8Array, floor: number): Piece[] {
    const { tensor, base, index } = pair;
    const cast = base === null ? null : castTypes(base, tensor);
    if (base !== null && cast !== null) {
      this.modified[index] = 1;
      return this.coverCast(tensor, base, cast, offset, bytes, floor);
    }
    const type = elementTypeOf(tensor.dtype);
    const { head, body } = wholeUnits(ELEMENT_BYTES[type]!, offset - tensor.offset, bytes.length);
    const middle = bytes.subarray(head, head + body);
    const around = (piece: Piece): Piece[] => [literal(head), piece, literal(bytes.length - head - body)];
    if (base === null) {
      this.modified[index] = 1;
      return around(chooseTyped(type, null, 0, middle));
    }
    this.drift = base.offset - tensor.offset;
    const source = offset + this.drift;
    const whole = chooseCopy(this.options.readSource(source, bytes.length), source, bytes);
    if (whole === null) this.modified[index] = 1;
    if (source < floor) return this.coverBehind(pair, offset, bytes, floor - source);
    if (whole !== null) return [whole];
    const rescaled = this.coverRescaled(tensor, base, offset, bytes);
    if (rescaled !== null) return rescaled;
    const piece = chooseTyped(type, this.options.readSource(source + head, body), source + head, middle);
    const columns = tensor.shape.at(this.options.firstAxisIsRow ? 0 : -1) ?? 1;
    const first = (offset + head - tensor.offset) / ELEMENT_BYTES[type]!;
    return around(piece.kind === OP_DELTA && columns > 0 ? { ...piece, columns, column: first % columns } : piece);
  }

  /** As a tensor that was quantised again; null where it was not, or plain differences are as good. */
  private coverRescaled(tensor: Tensor, base: Tensor, offset: number, bytes: Uint8Array): Piece[] | null {
    const type = rescaleType(tensor);
    if (type === null) return null;
    const block = CAST_BLOCKS[type]!;
    const { head, body } = wholeUnits(block.bytes, offset - tensor.offset, bytes.length);
    if (body === 0) return null;
    const start = offset + head - tensor.offset;
    const sourceOffset = base.offset + start;
    const run: RescaleRun = {
      ...{ base, tensor, sourceOffset, start, mostScales: this.options.mostScales, isNeural: this.options.isNeural },
      source: this.options.readSource(sourceOffset, body),
      target: bytes.subarray(head, head + body),
    };
    const pieces = chooseRescaled(type, run);
    if (pieces === null) return null;
    const columns = Math.max(1, tensor.shape.at(this.options.firstAxisIsRow ? 0 : -1) ?? 1);
    let first = (start / block.bytes) * block.elements;
    const placed = pieces.map((piece) => {
      const column = first % columns;
      first += (piece.length / block.bytes) * block.elements;
      return { ...piece, columns, column };
    });
    const tail = bytes.length - head - body;
    return [delta(head, sourceOffset - head, ELEMENT_BYTE), ...placed, delta(tail, sourceOffset + body, ELEMENT_BYTE)];
  }

  /** Differences from a transposed tensor; null where there is none, none that may be read, or a literal looks cheaper. */
  private coverTransposed(pair: TensorPair, offset: number, bytes: Uint8Array, floor: number): Piece[] | null {
    const { tensor, base } = pair;
    if (pair.isTransposed !== true || !this.options.canTranspose || base === null || base.offset < floor) return null;
    const type = elementTypeOf(tensor.dtype);
    const width = ELEMENT_BYTES[type]!;
    const { head, body } = wholeUnits(width, offset - tensor.offset, bytes.length);
    if (body === 0) return null;
    const places = transposedPlaces(pair, (offset + head - tensor.offset) / width);
    const { columns, column, stride, source } = places;
    const piece: Piece = { ...delta(body, source, type), columns, column, stride };
    const old = readBase(piece, this.options.readSource);
    const chosen = chooseTyped(type, old, source, bytes.subarray(head, head + body));
    return chosen.kind === OP_DELTA ? [literal(head), piece, literal(bytes.length - head - body)] : null;
  }

  /** The first `lost` bytes have a base no more. */
  private coverBehind(pair: TensorPair, offset: number, bytes: Uint8Array, lost: number): Piece[] {
    const { tensor } = pair;
    const type = elementTypeOf(tensor.dtype);
    const width = ELEMENT_BYTES[type]!;
    // Up to the next whole element, so that what follows begins with one.
    const cut = Math.min(bytes.length, lost + ((width - ((offset + lost - tensor.offset) % width)) % width));
    const { head, body } = wholeUnits(width, offset - tensor.offset, cut);
    const typed = chooseTyped(type, null, 0, bytes.subarray(head, head + body));
    const pieces = [literal(head), typed, literal(cut - head - body)];
    if (cut === bytes.length) return pieces;
    return [...pieces, ...this.coverTensor(pair, offset + cut, bytes.subarray(cut), 0)];
  }

  /** A tensor without a base may still hold rows of an old one: it grew, shrank, or was put together anew. */
  private coverUnmatched(offset: number, bytes: Uint8Array, floor: number, typed: Piece[]): Piece[] {
    const pieces = this.options.matcher?.cover(bytes, offset + this.drift, floor) ?? [];
    const explained = pieces.reduce((sum, piece) => sum + (piece.kind === OP_COPY ? piece.length : 0), 0);
    return explained >= LEAST_EXPLAINED * bytes.length ? pieces : typed;
  }

  private coverCast(
    tensor: Tensor,
    base: Tensor,
    cast: CastTypes,
    offset: number,
    bytes: Uint8Array,
    floor: number,
  ): Piece[] {
    const from = CAST_BLOCKS[cast.from]!;
    const to = CAST_BLOCKS[cast.to]!;
    // Whole blocks on both sides.
    const unit = Math.max(1, from.elements / to.elements) * to.bytes;
    const whole = wholeUnits(unit, offset - tensor.offset, bytes.length);
    // Source bytes behind a target offset, and behind one more unit.
    const sourceAt = (at: number): number =>
      base.offset + ((((at - tensor.offset) / to.bytes) * to.elements) / from.elements) * from.bytes;
    const step = sourceAt(offset + whole.head + unit) - sourceAt(offset + whole.head);
    const lostUnits = Math.ceil(Math.max(0, floor - sourceAt(offset + whole.head)) / step);
    const lost = Math.min(whole.body, lostUnits * unit);
    const head = whole.head + lost;
    const body = whole.body - lost;
    const pieces = [
      literal(whole.head),
      chooseTyped(elementTypeOf(tensor.dtype), null, 0, bytes.subarray(whole.head, head)),
    ];
    let at = head;
    while (at < head + body) {
      const first = ((offset + at - tensor.offset) / to.bytes) * to.elements;
      const count = this.elementsOfCast(tensor, cast, first, ((head + body - at) / to.bytes) * to.elements);
      const length = (count / to.elements) * to.bytes;
      const source = sourceAt(offset + at);
      const run = bytes.subarray(at, at + length);
      const old = this.options.readSource(source, (count / from.elements) * from.bytes);
      const scales = castScales(tensor, cast.to, first, count);
      const fits = scales === null || (scales.scaleCount <= this.options.mostScales && scales.inner <= MAX_PLACE);
      pieces.push(
        fits
          ? chooseCast({ ...cast, scales }, old, source, run)
          : chooseTyped(elementTypeOf(tensor.dtype), null, 0, run),
      );
      at += length;
    }
    return [...pieces, literal(bytes.length - head - body)];
  }

  /** As many of `count` elements as one op has scales for, where channels lie one behind the other. */
  private elementsOfCast(tensor: Tensor, cast: CastTypes, first: number, count: number): number {
    const { mostScales } = this.options;
    const scales = castScales(tensor, cast.to, first, count);
    if (scales === null || scales.scaleCount <= mostScales) return count;
    const most = scales.inner * mostScales - (first % scales.inner);
    const unit = CAST_BLOCKS[cast.from]!.elements;
    return most % unit === 0 && scales.inner > 1 ? Math.min(count, most) : count;
  }
}

function samePieces(a: readonly Piece[], b: readonly Piece[]): boolean {
  return a.length === b.length && a.every((piece, i) => piece === b[i]);
}

/** A segment may begin and end inside an element or block: what lies between, and before it. */
function wholeUnits(unit: number, position: number, length: number): { head: number; body: number } {
  const head = Math.min(length, (unit - (position % unit)) % unit);
  return { head, body: Math.floor((length - head) / unit) * unit };
}
