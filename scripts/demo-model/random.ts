/**
 * Seeded randomness for the demo's training, so that everyone who runs the demo trains the same two models, byte for
 * byte. Nothing in this folder may call Math.random.
 */

export interface Random {
  /** Uniform in [0, 1), a multiple of 2^-32. */
  next(): number;
}

/**
 * Mulberry32 (Tommy Ettinger, public domain): 32 bits of state, integer operations only, hence the same on every
 * engine.
 */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  return {
    next() {
      state = (state + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
    },
  };
}

/** Uniform in [low, high). */
export function uniform(random: Random, low: number, high: number): number {
  return low + (high - low) * random.next();
}

/**
 * Roughly normal, mean 0 and deviation 1: the sum of twelve uniforms less six (Irwin-Hall). Box-Muller would need
 * Math.log and Math.cos, whose last bits differ between engines; tails past six deviations do not matter here.
 */
export function gaussian(random: Random): number {
  let sum = -6;
  for (let i = 0; i < 12; i++) sum += random.next();
  return sum;
}

/** 0 .. count - 1 in a random order (Fisher-Yates). */
export function shuffledIndices(random: Random, count: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  for (let last = count - 1; last > 0; last--) {
    const pick = Math.floor(random.next() * (last + 1));
    const held = order[last]!;
    order[last] = order[pick]!;
    order[pick] = held;
  }
  return order;
}
