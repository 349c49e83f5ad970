/**
 * What a context of the microcontroller class knows, in 16 bits (SPEC.md, "Range decoder"). Odd: young, 11 bits of probability and
 * four of how many bits it has seen, so that the first ones count most (Mahoney's adaptive rate, at no byte more). Even: settled, 15
 * bits of probability that follow at one rate. A cold context then costs about 6 bits where one of fixed rate costs 27.
 */

/** Bits a context sees before it settles. */
export const YOUNG_BITS = 16;
/** Never sure of anything: what a settled context tends to, in 1/65536. */
export const LEAST = 32;
export const MOST = 65536 - LEAST;
/** How fast settled contexts learn, as a shift, where the patch says nothing else. */
export const SETTLED_SHIFT = 5;

/** 1 / (n + 1.5) in 1/32768, by bits seen. */
const YOUNG_RATES = Uint16Array.from({ length: YOUNG_BITS }, (_, n) => Math.floor(65536 / (2 * n + 3)));

/** A context that has seen `seen` bits, YOUNG_BITS of them if it is settled, and takes 0 for this probable, in 1/2048. */
export function contextState(zero: number, seen: number): number {
  return (zero << 5) | (seen < YOUNG_BITS ? 2 * seen + 1 : 0);
}

/** What comes after `state`, which is odd. */
export function grown(state: number, bit: number): number {
  const seen = (state >> 1) & (YOUNG_BITS - 1);
  const rate = YOUNG_RATES[seen]!;
  const zero = state >> 5;
  const moved = bit === 0 ? zero + (((2048 - zero) * rate + 16384) >> 15) : zero - ((zero * rate + 16384) >> 15);
  return contextState(moved < 1 ? 1 : moved > 2046 ? 2046 : moved, seen + 1);
}

/** What comes after `state`, which is even. */
export function settled(state: number, bit: number, shift: number): number {
  const round = (2 << shift) - 1;
  return bit === 0
    ? state + (((MOST + round - state) >> (shift + 1)) << 1)
    : state - (((state + round - LEAST) >> (shift + 1)) << 1);
}
