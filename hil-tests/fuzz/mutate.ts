/** Mutations of an input, as American fuzzy lop's "havoc" stage has them, and inputs out of nothing. Seeded: all replay. */

import type { Prng } from '../../targets/sim/prng.js';

/** One input in so many is garbage from end to end. */
const GARBAGE_SHARE = 16;
const LONGEST_GARBAGE = 400;
const MOST_EDITS = 6;
/** Values that lengths and counts break at. */
const EDGES = [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xfe, 0xff];

/** @param seeds at least one */
export function mutated(seeds: readonly Uint8Array[], random: Prng): Uint8Array {
  if (random.below(GARBAGE_SHARE) === 0)
    return Uint8Array.from({ length: random.below(LONGEST_GARBAGE) }, () => random.byte());
  let bytes = [...seeds[random.below(seeds.length)]!];
  for (let edits = 1 + random.below(MOST_EDITS); edits > 0; edits--) bytes = edited(bytes, seeds, random);
  return Uint8Array.from(bytes);
}

function edited(bytes: number[], seeds: readonly Uint8Array[], random: Prng): number[] {
  const at = random.below(bytes.length + 1);
  const length = 1 + random.below(16);
  switch (random.below(7)) {
    case 0:
      return bytes.map((byte, i) => (i === at ? random.byte() : byte));
    case 1:
      return bytes.map((byte, i) => (i === at ? byte ^ (1 << random.below(8)) : byte));
    case 2:
      return bytes.map((byte, i) => (i === at ? EDGES[random.below(EDGES.length)]! : byte));
    case 3:
      return bytes.slice(0, at);
    case 4:
      return [...bytes.slice(0, at), ...bytes.slice(at + length)];
    case 5:
      return [...bytes.slice(0, at), ...Array.from({ length }, () => random.byte()), ...bytes.slice(at)];
    default: {
      const other = seeds[random.below(seeds.length)]!;
      return [...bytes.slice(0, at), ...other.subarray(random.below(other.length + 1))];
    }
  }
}
