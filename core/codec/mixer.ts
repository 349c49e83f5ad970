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

  /** Codes a bit from the states; the weights of all sets are added. */
  bit(value: number, setA: number, setB: number, setC = NO_SET): number {
    const { states, odds, stretched, weights, maps, countLimit } = this;
    const c = setC * stretched.length;
    const counted = states.length;
    const inputs = stretched.length;
    const a = setA * inputs;
    const b = setB * inputs;
    let sum = 0;
    for (let i = 0; i < inputs; i++) {
      let s = 0;
      if (i < counted) {
        const state = states[i]!;
        if (state !== SILENT) s = STRETCH[maps[state]! >>> 20]!;
      } else if (odds[i - counted] !== SILENT) s = STRETCH[odds[i - counted]!]!;
      stretched[i] = s;
      sum += s * (weights[a + i]! + weights[b + i]! + (setC === NO_SET ? 0 : weights[c + i]!));
    }
    const one = Math.max(1, Math.min(4095, squash(Math.floor(sum / WEIGHT_ONE))));
    const bit = this.coder.mixed(4096 - one, value);
    const error = ((bit << 12) - one) * this.rate;
    for (let i = 0; i < inputs; i++) {
      // Of a silent input this is 0.
      const step = (stretched[i]! * error + 0x8000) >> 16;
      weights[a + i] = weights[a + i]! + step;
      weights[b + i] = weights[b + i]! + step;
      if (setC !== NO_SET) weights[c + i] = weights[c + i]! + step;
      if (i >= counted || states[i] === SILENT) continue;
      const state = states[i]!;
      const entry = maps[state]!;
      const seen = entry & COUNT_MASK;
      const p = entry >>> COUNT_BITS;
      const moved = p + Math.trunc(((bit === 1 ? 0x3fffff : 0) - p) / (seen + 1.5));
      maps[state] = ((moved << COUNT_BITS) | Math.min(seen + 1, countLimit)) >>> 0;
    }
    return bit;
  }
}
