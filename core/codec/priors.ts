/**
 * What contexts of the microcontroller class are taken to know when a segment begins: defaults learnt from real models, fixed in
 * SPEC.md, and on top of them what a patch's header says (SPEC.md, "Priors"). Segments of 16 KiB start afresh, so this is worth
 * more there than anywhere.
 */

import { InvalidPatch } from '../errors.js';
import { contextState, SETTLED_SHIFT, YOUNG_BITS } from './context-state.js';

/** Probabilities of a 0 that a prior can name, in 1/2048; the rest mirror them. */
const LOWER_LEVELS = [2, 5, 13, 26, 51, 102, 171, 293, 430, 614, 819];
export const PRIOR_LEVELS: readonly number[] = [
  ...LOWER_LEVELS,
  1024,
  ...LOWER_LEVELS.map((level) => 2048 - level).reverse(),
];
/** Bits that a context is taken to have seen. */
export const PRIOR_SEEN: readonly number[] = [1, 4, 10, YOUNG_BITS];
/** Nothing is known. Priors below are level + 23 x place in PRIOR_SEEN. */
export const PRIOR_UNKNOWN = PRIOR_LEVELS.length * PRIOR_SEEN.length;
export const LEAST_SHIFT = 4;
export const MOST_SHIFT = 7;

const STATES = Uint16Array.from({ length: PRIOR_UNKNOWN + 1 }, (_, prior) =>
  prior === PRIOR_UNKNOWN
    ? contextState(1024, 0)
    : contextState(PRIOR_LEVELS[prior % PRIOR_LEVELS.length]!, PRIOR_SEEN[Math.floor(prior / PRIOR_LEVELS.length)]!),
);

/** The state that a prior stands for, 0 to PRIOR_UNKNOWN. */
export function priorState(prior: number): number {
  return STATES[prior]!;
}

export class Priors {
  /** How fast settled contexts learn. */
  readonly shift: number;
  private readonly defaults: Uint8Array;
  private readonly own: Uint8Array;

  /**
   * @param defaults list of priors, as in a header behind its first byte
   * @param own a header's priors, for which checkPriors found no fault; empty where there are none
   */
  constructor(defaults: Uint8Array, own: Uint8Array) {
    this.shift = own.length === 0 ? SETTLED_SHIFT : own[0]!;
    this.defaults = defaults;
    this.own = own.subarray(1);
  }

  /** Contexts as they are when a segment begins. Worked out anew each time: a device has no memory to keep them in. */
  fill(state: Uint16Array): void {
    state.fill(STATES[PRIOR_UNKNOWN]!);
    applyList(this.defaults, state);
    applyList(this.own, state);
  }
}

/** Up to PRIOR_UNKNOWN a byte is the prior of the next context, above it says how many are left as they are. */
function applyList(list: Uint8Array, state: Uint16Array): void {
  for (let i = 0, context = 0; i < list.length; i++) {
    const byte = list[i]!;
    if (byte <= PRIOR_UNKNOWN) state[context++] = STATES[byte]!;
    else context += byte - PRIOR_UNKNOWN;
  }
}

/** @throws InvalidPatch BAD_HEADER */
export function checkPriors(own: Uint8Array, contexts: number): void {
  if (own.length === 0) return;
  const shift = own[0]!;
  if (shift < LEAST_SHIFT || shift > MOST_SHIFT)
    throw new InvalidPatch('BAD_HEADER', `rate of the priors: expected ${LEAST_SHIFT} to ${MOST_SHIFT}, got ${shift}`);
  let context = 0;
  for (let i = 1; i < own.length; i++) context += Math.max(1, own[i]! - PRIOR_UNKNOWN);
  if (context > contexts)
    throw new InvalidPatch('BAD_HEADER', `priors: expected at most ${contexts} contexts, got ${context}`);
}
