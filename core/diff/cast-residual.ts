/** What a CAST op leaves over: the encoder's side of core/codec/cast-op.ts, over whole pieces. */

import { CAST_BLOCKS, CAST_I8, CAST_LAYOUTS, type CastTypes } from '../codec/cast.js';
import { CastOp, NO_SCALES } from '../codec/cast-op.js';
import { type BlockCoder, KNOWING_CODER } from '../codec/requantise.js';
import type { RunScales } from './cast-scales.js';
import { rescaleBytes } from './rescale-bytes.js';
import { scratchBytes } from './scratch.js';
import { takeDelta } from './take-delta.js';

export interface CastPiece extends CastTypes {
  readonly scales: RunScales | null;
}

/** What of a piece its residual hangs on. */
interface Op {
  /** Element type. */
  readonly type: number;
  /** Target bytes. */
  readonly length: number;
}

/** As the format has it: from << 4 | to. */
export function castTypesOf(cast: CastTypes): number {
  return (cast.from << 4) | cast.to;
}

const op = new CastOp(4096);
const NO_BYTES = new Uint8Array(0);

function setUp(piece: Op, cast: CastPiece): void {
  const places = { ...(cast.scales ?? NO_SCALES), castTypes: castTypesOf(cast) };
  op.set(places, piece.type, piece.length, Number.MAX_SAFE_INTEGER);
}

/** The residual as plain bytes have it, into `planes`. */
export function takeResidual(
  piece: Op,
  cast: CastPiece,
  source: Uint8Array,
  target: Uint8Array,
  planes: Uint8Array,
): void {
  setUp(piece, cast);
  if (op.isRequantised) op.codeBlocks(source, target, KNOWING_CODER, planes);
  else takeDelta(piece.type, predictCast(piece, cast, source, { wantsFractions: false }).bytes, target, planes);
}

/** Whether the piece's blocks are coded number by number: see BlockWalk. */
export function isRequantised(cast: CastPiece | undefined): boolean {
  return cast !== undefined && cast.from === cast.to && CAST_LAYOUTS[cast.to] !== null;
}

/** Walks the piece's blocks. The coder gives the numbers back as they are, so that `target` stays what it is. */
export function codeBlocks(
  piece: Op,
  cast: CastPiece,
  source: Uint8Array,
  target: Uint8Array,
  coder: BlockCoder,
): void {
  setUp(piece, cast);
  op.codeBlocks(source, target, coder);
}

/** Elements of the piece that one of its wide differences is a scale of. */
export function perScaleOf(cast: CastPiece | undefined): number {
  return cast === undefined ? 1 : CAST_BLOCKS[cast.to]!.elements;
}

/** Bytes, with the roundings' fractions where the cast tells them. */
export interface Predicted {
  readonly bytes: Uint8Array;
  readonly fractions: Uint8Array | null;
}

const bytesScratch = scratchBytes();
const fractionScratch = scratchBytes();

/**
 * What a cast that predicts bytes makes of the piece's source; views, valid until the next call.
 * @param options.done target bytes of the op before, whole runs
 * @param options.wantsFractions false spares the time
 */
export function predictCast(
  piece: Op,
  cast: CastPiece,
  source: Uint8Array,
  { done = 0, wantsFractions = true } = {},
): Predicted {
  const bytes = bytesScratch.take(piece.length);
  if (cast.from === CAST_I8 && cast.to === CAST_I8 && cast.scales !== null) {
    const fractions = wantsFractions ? fractionScratch.take(piece.length) : null;
    rescaleBytes(cast.scales, source, bytes, done, fractions);
    return { bytes, fractions };
  }
  setUp(piece, cast);
  const run = op.runBytes;
  const runSource = op.sourceBytes(run);
  for (let at = 0, read = 0; at < bytes.length; at += run, read += runSource) {
    const length = Math.min(run, bytes.length - at);
    bytes.set(
      op.predict(source.subarray(read, read + runSource), length, done + at, cast.scales?.bytes ?? NO_BYTES),
      at,
    );
  }
  return { bytes, fractions: null };
}
