/**
 * What contexts should be taken to know at the begin of a segment, learnt from the bits that were coded under them (SPEC.md,
 * "Priors"). Contexts do not influence one another, so the best prior of each is found by trying them all on its bits.
 */

import { CONTEXT_LAYOUTS } from '../codec/context-layout.js';
import { contextState, grown, SETTLED_SHIFT, settled } from '../codec/context-state.js';
import { DEFAULT_PRIORS } from '../codec/default-priors.js';
import { LEAST_SHIFT, MOST_SHIFT, PRIOR_UNKNOWN, priorState } from '../codec/priors.js';

const PRIORS = PRIOR_UNKNOWN + 1;
/** Behind so many bits a context knows more than any prior told it. */
const HORIZON = 40;
/** Costs are in 1/256 bit. */
const UNIT = 256;
const BYTE_COST = 8 * UNIT;
/** Most bytes of a header's priors. */
const MAX_OWN_BYTES = 250;
/** Longest stretch of contexts that one byte of a list leaves out. */
const MAX_SKIP = 255 - PRIOR_UNKNOWN;
/** Priors of a header must gain so much: what was measured on some segments need not hold in all. */
const LEAST_GAIN = 8 * BYTE_COST;

/** -log2(i / 4096), from integer arithmetic alone: a patch must be the same on every machine. */
const COSTS = Int32Array.from({ length: 4096 }, (_, i) => {
  let value = 4096 / Math.max(1, i);
  let whole = 0;
  for (; value >= 2; value /= 2) whole++;
  let fraction = 0;
  for (let bit = UNIT / 2; bit >= 1; bit /= 2) {
    value *= value;
    if (value < 2) continue;
    value /= 2;
    fraction += bit;
  }
  return whole * UNIT + fraction;
});

/** What comes after a state and a bit, for contexts of the usual rate: 2 x state + bit. */
const NEXT = Uint16Array.from({ length: 2 * 65536 }, (_, step) =>
  (step & 2) !== 0 ? grown(step >> 1, step & 1) : settled(step >> 1, step & 1, SETTLED_SHIFT),
);

function costOf(state: number, bit: number): number {
  const zero = state >> 4;
  return COSTS[bit === 0 ? zero : 4096 - zero]!;
}

export class PriorTrainer {
  /** [contexts, PRIORS]: what the bits coded so far would have cost from each prior on. */
  readonly costs: Int32Array;
  private readonly contexts: number;
  /** By shift from LEAST_SHIFT on, what all bits would have cost. */
  private readonly shiftCosts = new Float64Array(MOST_SHIFT - LEAST_SHIFT + 1);
  /** The first bits of each context in a segment, and how many there were. */
  private readonly heads: Uint8Array;
  private readonly counts: Uint32Array;
  private readonly touched: number[] = [];
  private readonly state: Uint16Array;

  constructor(contexts: number) {
    this.contexts = contexts;
    this.costs = new Int32Array(contexts * PRIORS);
    this.heads = new Uint8Array(contexts * HORIZON);
    this.counts = new Uint32Array(contexts);
    this.state = new Uint16Array(contexts);
  }

  /**
   * Takes in a segment.
   * @param trace 2 x context + bit, in the order they were coded
   */
  add(trace: Uint32Array): void {
    this.gather(trace);
    for (const context of this.touched) this.tryAll(context);
    for (let shift = LEAST_SHIFT; shift <= MOST_SHIFT; shift++)
      this.shiftCosts[shift - LEAST_SHIFT]! += this.costWith(shift, trace);
  }

  /**
   * What the header should say, empty where that would not pay.
   * @param defaults a prior for each context
   * @param scale how many segments there are for each one taken in
   */
  train(defaults: Uint8Array, scale: number): Uint8Array {
    const shift = this.bestShift();
    let list = this.bestList(defaults, scale, BYTE_COST);
    for (let price = BYTE_COST * 1.5; list.bytes.length >= MAX_OWN_BYTES; price *= 1.5)
      list = this.bestList(defaults, scale, price);
    const faster = (this.shiftCost(SETTLED_SHIFT) - this.shiftCost(shift)) * scale;
    if (list.gain + faster < LEAST_GAIN) return new Uint8Array(0);
    return Uint8Array.from([shift, ...list.bytes]);
  }

  /** What all bits would have cost at the usual rate from nothing known. */
  get total(): number {
    return this.shiftCost(SETTLED_SHIFT);
  }

  private gather(trace: Uint32Array): void {
    this.counts.fill(0);
    this.touched.length = 0;
    for (const step of trace) {
      const context = step >> 1;
      const seen = this.counts[context]!++;
      if (seen === 0) this.touched.push(context);
      if (seen < HORIZON) this.heads[context * HORIZON + seen] = step & 1;
    }
  }

  private tryAll(context: number): void {
    const length = Math.min(HORIZON, this.counts[context]!);
    const first = context * HORIZON;
    for (let prior = 0; prior < PRIORS; prior++) {
      let state = priorState(prior);
      let cost = 0;
      for (let i = first; i < first + length; i++) {
        const bit = this.heads[i]!;
        cost += costOf(state, bit);
        state = NEXT[2 * state + bit]!;
      }
      this.costs[context * PRIORS + prior]! += cost;
    }
  }

  private costWith(shift: number, trace: Uint32Array): number {
    this.state.fill(contextState(1024, 0));
    let cost = 0;
    for (const step of trace) {
      const bit = step & 1;
      const state = this.state[step >> 1]!;
      cost += costOf(state, bit);
      this.state[step >> 1] = (state & 1) === 1 ? NEXT[2 * state + bit]! : settled(state, bit, shift);
    }
    return cost;
  }

  private shiftCost(shift: number): number {
    return this.shiftCosts[shift - LEAST_SHIFT]!;
  }

  private bestShift(): number {
    let best = SETTLED_SHIFT;
    for (let shift = LEAST_SHIFT; shift <= MOST_SHIFT; shift++)
      if (this.shiftCost(shift) < this.shiftCost(best)) best = shift;
    return best;
  }

  private bestList(defaults: Uint8Array, scale: number, price: number): PriorList {
    const best = new Uint8Array(this.contexts);
    const gains = new Float64Array(this.contexts);
    for (let context = 0; context < this.contexts; context++) {
      const at = context * PRIORS;
      let prior = defaults[context]!;
      for (let other = 0; other < PRIORS; other++) if (this.costs[at + other]! < this.costs[at + prior]!) prior = other;
      best[context] = prior;
      gains[context] = (this.costs[at + defaults[context]!]! - this.costs[at + prior]!) * scale;
    }
    return listOf(best, gains, price);
  }
}

/** The default prior of each context of decode class 0. */
export function defaultPriors(): Uint8Array {
  const priors = new Uint8Array(CONTEXT_LAYOUTS[0]!.contexts).fill(PRIOR_UNKNOWN);
  let context = 0;
  for (const byte of DEFAULT_PRIORS) {
    if (byte <= PRIOR_UNKNOWN) priors[context++] = byte;
    else context += byte - PRIOR_UNKNOWN;
  }
  return priors;
}

export interface PriorList {
  /** As in a header, behind its first byte. */
  readonly bytes: number[];
  /** What it gains, less its price. */
  readonly gain: number;
}

/**
 * The list that gains most less its bytes' price, by dynamic programming over the contexts.
 * @param best the prior that each context may be given
 * @param gains what each would gain
 */
export function listOf(best: Uint8Array, gains: Float64Array, price: number): PriorList {
  const contexts = best.length;
  const reached = new Float64Array(contexts + 1).fill(Number.NEGATIVE_INFINITY);
  /** Contexts that the byte which reaches here leaves out; 0 where it sets one. */
  const skips = new Uint8Array(contexts + 1);
  reached[0] = 0;
  let end = 0;
  for (let at = 0; at < contexts; at++) {
    const set = reached[at]! + gains[at]! - price;
    if (set > reached[at + 1]!) {
      reached[at + 1] = set;
      skips[at + 1] = 0;
      if (set > reached[end]!) end = at + 1;
    }
    for (let skip = 1; skip <= MAX_SKIP && at + skip < contexts; skip++) {
      if (reached[at]! - price <= reached[at + skip]!) continue;
      reached[at + skip] = reached[at]! - price;
      skips[at + skip] = skip;
    }
  }
  const bytes: number[] = [];
  for (let at = end; at > 0; ) {
    const skip = skips[at]!;
    bytes.push(skip === 0 ? best[at - 1]! : PRIOR_UNKNOWN + skip);
    at -= Math.max(1, skip);
  }
  return { bytes: bytes.reverse(), gain: reached[end]! };
}
