/** CAST ops of every kind for tests: pairs of types, places of scales, what is predicted. No tests of its own. */

import fc from 'fast-check';
import { castTypesOf, predictCast } from '../diff/cast-residual.js';
import type { RunScales } from '../diff/cast-scales.js';
import { castPiece, type Piece } from '../diff/pieces.js';
import { CAST_BLOCKS, CAST_LAYOUTS, type CastTypes } from './cast.js';
import { hasOldZero, hasZero, isRescaled, isScaled, NO_SCALES } from './cast-op.js';
import { ZERO_POINTS } from './rescale.js';

const FIRST_FROM_ITSELF = 10;
const SCALED_TO = [3, 9];

/** All pairs of types that a CAST may have. */
export const CAST_PAIRS: readonly CastTypes[] = CAST_BLOCKS.flatMap((_, from) =>
  CAST_BLOCKS.map((__, to) => ({ from, to })).filter(
    ({ to }) => from === to || !(from >= FIRST_FROM_ITSELF || to >= FIRST_FROM_ITSELF || SCALED_TO.includes(from)),
  ),
);

const ratios = fc.array(fc.oneof(fc.float({ noNaN: false }), fc.float({ min: 0.25, max: 4, noNaN: true })), {
  minLength: 1,
  maxLength: 5,
});

export const anyPlaces = fc.record({
  ratios,
  cross: fc.array(fc.float({ noNaN: false }), { maxLength: 4 }),
  inner: fc.integer({ min: 1, max: 70 }),
  group: fc.integer({ min: 1, max: 3 }),
  outer: fc.integer({ min: 1, max: 90 }),
  crossInner: fc.integer({ min: 1, max: 70 }),
  phase: fc.nat(400),
  zero: fc.nat(ZERO_POINTS - 1),
  oldZero: fc.nat(ZERO_POINTS - 1),
});
type Places = typeof anyPlaces extends fc.Arbitrary<infer Fields> ? Fields : never;

/** As an op of these types carries them: what it does not say is as if it were not there. */
export function scalesFor(cast: CastTypes, places: Places): RunScales | null {
  const types = castTypesOf(cast);
  if (!isScaled(types)) return null;
  const { ratios: list, inner, phase } = places;
  const cross = isRescaled(types) ? places.cross : [];
  const bytes = new Uint8Array(Float32Array.from([...list, ...cross]).buffer);
  const strided = list.length > 1 || !isRescaled(types);
  const group = strided && isRescaled(types) ? places.group : 1;
  const stride = strided ? inner : 1;
  return {
    ...NO_SCALES,
    ...{ bytes, scaleCount: list.length, crossCount: cross.length, inner: stride, group },
    outer: group > 1 ? places.outer : stride,
    crossInner: cross.length > 0 ? places.crossInner : 1,
    phase: strided || cross.length > 0 ? phase : 0,
    zero: hasZero(types) ? places.zero : 0,
    oldZero: hasOldZero(types) ? places.oldZero : 0,
  };
}

/** A cast of about `elements` elements: of whole blocks. */
export function castOfElements(elements: number, source: number, cast: CastTypes, places: Places): Piece {
  const [from, to] = [CAST_BLOCKS[cast.from]!, CAST_BLOCKS[cast.to]!];
  const unit = Math.max(from.elements, to.elements);
  const whole = Math.ceil(elements / unit) * unit;
  return castPiece((whole / to.elements) * to.bytes, source, { ...cast, scales: scalesFor(cast, places) });
}

/** What the piece predicts of its target; of requantised blocks the old ones, for that hangs on the new. */
export function predictedBytes(piece: Piece, source: Uint8Array): Uint8Array {
  const cast = piece.cast!;
  const isRequantised = cast.from === cast.to && CAST_LAYOUTS[cast.to] !== null;
  return isRequantised ? source : predictCast(piece, cast, source).bytes;
}
