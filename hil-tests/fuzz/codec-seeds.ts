/** Segments for the codec's fuzz target: ops of every kind and type, few bytes each, so that edits reach all of them. */

import { CAST_F16, CAST_F32, CAST_I8, CAST_Q8_0 } from '../../core/codec/cast.js';
import { NO_SCALES } from '../../core/codec/cast-op.js';
import { ELEMENT_BYTES } from '../../core/codec/elements.js';
import { NeuralEncoder } from '../../core/diff/neural-encoder.js';
import { castPiece, copy, delta, literal, type Piece, sourceBytesOf } from '../../core/diff/pieces.js';
import type { Prng } from '../../targets/sim/prng.js';

export interface SeedSegment {
  readonly targetBytes: number;
  readonly payload: Uint8Array;
}

/** Segments of a decode class, with a header's priors. */
export function seedSegments(decodeClass: number, priors: Uint8Array, source: Uint8Array, random: Prng): SeedSegment[] {
  const bytes = new Uint8Array(Float32Array.of(0.5, 0.01, -2).buffer);
  const scales = { ...NO_SCALES, bytes, scaleCount: 3, inner: 5, outer: 5, phase: 1 };
  const plans: Piece[][] = [
    [literal(90)],
    [copy(40, 100), copy(30, 500), literal(20), copy(50, 104), delta(60, 300, 0)],
    [castPiece(64, 40, { from: CAST_F32, to: CAST_F16, scales: null })],
    [castPiece(45, 0, { from: CAST_F32, to: CAST_I8, scales }), copy(20, 7)],
    [castPiece(34, 0, { from: CAST_F32, to: CAST_Q8_0, scales: null }), literal(9)],
    ...ELEMENT_BYTES.map((bytes, type) => [
      delta(bytes * 150, 8, type),
      literal(bytes * 20, type),
      { ...delta(bytes * 120, 400, type), columns: 7, column: 3 },
      ...(decodeClass === 0 ? [] : [{ ...delta(bytes * 40, 20, type), columns: 6, column: 2, stride: 9 }]),
    ]),
  ];
  const encoder = new NeuralEncoder(decodeClass, priors);
  // As the target's device has it: the whole source, in class 1.
  const dictionary = { bytes: decodeClass === 0 ? source.subarray(0, 0) : source, offset: 0 };
  return plans.map((pieces) => {
    const target = targetOf(pieces, source, random);
    const read = (offset: number, length: number): Uint8Array => source.slice(offset, offset + length);
    return { targetBytes: target.length, payload: encoder.encode(pieces, target, 0, read, dictionary).slice() };
  });
}

/** Copies are copies; of the others one byte in four is not the source's, in some stretches none. */
function targetOf(pieces: readonly Piece[], source: Uint8Array, random: Prng): Uint8Array {
  const target: number[] = [];
  for (const piece of pieces) {
    const base = source.subarray(piece.source, piece.source + sourceBytesOf(piece));
    for (let i = 0; i < piece.length; i++) {
      const changed = piece.kind !== 0 && (i & 64) === 0 && random.below(4) === 0;
      target.push(changed ? random.byte() : (base[i % base.length] ?? 0));
    }
  }
  return Uint8Array.from(target);
}
