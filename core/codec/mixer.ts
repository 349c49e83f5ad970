/**
 * Online logistic mixing of adaptive probabilities (Mahoney, "Adaptive weighing of context models for lossless data compression",
 * 2005; the arithmetic is that of lpaq1). Integers and exact divisions only: every machine gets the same bits.
 */

import type { BitCoder } from './bit-coder.js';

/** A map entry: a probability (22 bits of 1/2^22) above, the number of times it was used (10 bits) below. */
const COUNT_BITS = 10;
const COUNT_MASK = (1 << COUNT_BITS) - 1;
const COUNT_LIMIT = 1023;
export const WEIGHT_ONE = 65536;
/** In `states`: this input has nothing to say. */
export const SILENT = -1;
const NO_SET = -1;

/** squash(x) = 4096 / (1 + e^(-x/256)), at steps of 128 (lpaq1). */
const SQUASH = [
  1, 2, 3, 6, 10, 16, 27, 45, 73, 120, 194, 310, 488, 747, 1101, 1546, 2047, 2549, 2994, 3348, 3607, 3785, 3901, 3975,
  4022, 4050, 4068, 4079, 4085, 4089, 4092, 4093, 4094,
];

function squash(x: number): number {
  if (x > 2047) return 4095;
  if (x < -2047) return 1;
  const fraction = x & 127;
  const step = (x >> 7) + 16;
  return (SQUASH[step]! * (128 - fraction) + SQUASH[step + 1]! * fraction + 64) >> 7;
}

/** The inverse of squash, by probability in 1/4096. */
const STRETCH = new Int16Array(4096).fill(2047);
for (let x = -2047, p = 0; x <= 2047; x++) {
  for (const reached = squash(x); p <= reached; p++) STRETCH[p] = x;
}

/** A map's entry: that a 1 has this probability, as if seen so often. */
export function mapEntry(one: number, seen: number): number {
  return ((Math.floor(one * 0x3fffff) << COUNT_BITS) | seen) >>> 0;
}

/**
 * 1 / (n + 1.5), a little more: times a difference of 22 bits and cut off, it gives what the exact quotient cut off gives, since no
 * quotient that is not whole is nearer to the next whole number than 1/2049. A division of its own took as long as all else.
 */
export const SHARES = Float64Array.from({ length: COUNT_LIMIT + 1 }, (_, n) => (1 + 2 ** -40) / (n + 1.5));

export interface MixerOptions {
  readonly coder: BitCoder;
  /** Probabilities, by state. */
  readonly maps: Uint32Array;
  /** [sets, inputs], in 1/65536. */
  readonly weights: Int32Array;
  /** Inputs from maps. */
  readonly inputs: number;
  /** Further inputs that say a probability themselves; their weights come behind the others'. */
  readonly odds?: number;
  /** How often an entry counts at most, 1 to 1023: with fewer it forgets sooner. */
  readonly countLimit?: number;
  /** How fast weights learn. */
  readonly rate: number;
}

export class Mixer {
  /** The state of each input for the bit to come, an index into `maps`, or SILENT. */
  readonly states: Int32Array;
  /** For the bit to come, that it is 1, in 1/4096 below 4096; or SILENT. */
  readonly odds: Int32Array;
  private coder: BitCoder;
  private readonly maps: Uint32Array;
  private readonly weights: Int32Array;
  private rate: number;
  private readonly countLimit: number;
  private readonly stretched: Int32Array;

  constructor({ coder, maps, weights, inputs, odds = 0, rate, countLimit = COUNT_LIMIT }: MixerOptions) {
    this.coder = coder;
    this.maps = maps;
    this.weights = weights;
    this.rate = rate;
    this.countLimit = countLimit;
    this.states = new Int32Array(inputs);
    this.odds = new Int32Array(odds);
    this.stretched = new Int32Array(inputs + odds);
  }

  /** From now on weights learn so fast. */
  set learning(rate: number) {
    this.rate = rate;
  }

  /** From now on bits are coded by this coder. */
  set bits(coder: BitCoder) {
    this.coder = coder;
  }

  /**
   * Codes a bit from the states; the weights of all sets are added. One long body with few branches inside its loops: this is where
   * a neural patch spends its time.
   */
  bit(value: number, setA: number, setB: number, setC = NO_SET): number {
    const { states, odds, stretched, weights, maps, countLimit } = this;
    const inputs = stretched.length;
    const counted = states.length;
    const a = setA * inputs;
    const b = setB * inputs;
    const c = setC * inputs;
    let sum = 0;
    for (let i = 0; i < counted; i++) {
      const state = states[i]!;
      const s = state === SILENT ? 0 : STRETCH[maps[state]! >>> 20]!;
      stretched[i] = s;
      sum += s * (weights[a + i]! + weights[b + i]!);
    }
    for (let i = counted; i < inputs; i++) {
      const s = odds[i - counted] === SILENT ? 0 : STRETCH[odds[i - counted]!]!;
      stretched[i] = s;
      sum += s * (weights[a + i]! + weights[b + i]!);
    }
    if (setC !== NO_SET) for (let i = 0; i < inputs; i++) sum += stretched[i]! * weights[c + i]!;
    const one = Math.max(1, Math.min(4095, squash(Math.floor(sum / WEIGHT_ONE))));
    const bit = this.coder.mixed(4096 - one, value);
    // Of a silent input a step is 0.
    const error = ((bit << 12) - one) * this.rate;
    if (setC !== NO_SET)
      for (let i = 0; i < inputs; i++) weights[c + i] = weights[c + i]! + ((stretched[i]! * error + 0x8000) >> 16);
    const towards = bit === 1 ? 0x3fffff : 0;
    for (let i = 0; i < counted; i++) {
      const state = states[i]!;
      const step = (stretched[i]! * error + 0x8000) >> 16;
      weights[a + i] = weights[a + i]! + step;
      weights[b + i] = weights[b + i]! + step;
      if (state === SILENT) continue;
      const entry = maps[state]!;
      const seen = entry & COUNT_MASK;
      const p = entry >>> COUNT_BITS;
      const moved = p + (((towards - p) * SHARES[seen]!) | 0);
      maps[state] = (moved << COUNT_BITS) | (seen < countLimit ? seen + 1 : countLimit);
    }
    for (let i = counted; i < inputs; i++) {
      const step = (stretched[i]! * error + 0x8000) >> 16;
      weights[a + i] = weights[a + i]! + step;
      weights[b + i] = weights[b + i]! + step;
    }
    return bit;
  }
}
