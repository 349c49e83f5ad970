/** What requantised blocks take in the neural codec, about: entropies of their numbers, those at each fraction of a rounding apart. */

import { toOrdered16 } from '../codec/elements.js';
import type { BlockCoder } from '../codec/requantise.js';
import { FRACTIONS } from '../codec/rescale.js';
import { codeBlocks } from './cast-residual.js';
import { countsBits } from './choose-piece.js';
import type { Piece } from './pieces.js';

const VALUES = 256;

class CountingCoder implements BlockCoder {
  /** Of scales, as Exp-Golomb codes. */
  scaleBits = 0;
  /** By fraction; parts apart behind them. */
  readonly counts = Array.from({ length: FRACTIONS + 1 }, () => new Uint32Array(VALUES));

  half(old: number, now: number): number {
    const difference = ((toOrdered16(now) - toOrdered16(old)) << 16) >> 16;
    this.scaleBits += 1 + 2 * (32 - Math.clz32((difference << 1) ^ (difference >> 31)));
    return now;
  }

  level(predicted: number, fraction: number, _bits: number, isQuant: boolean, now: number): number {
    this.counts[isQuant ? fraction : FRACTIONS]![(now - predicted) & (VALUES - 1)]!++;
    return now;
  }
}

/** The tables are mixed with one that knows no fractions, so a symbol of theirs costs less than one of a table's own. */
export function blockBits(piece: Piece, source: Uint8Array, target: Uint8Array): number {
  const coder = new CountingCoder();
  codeBlocks(piece, piece.cast!, source, target, coder);
  return coder.counts.reduce((bits, counts) => bits + countsBits(counts, 1), coder.scaleBits);
}
