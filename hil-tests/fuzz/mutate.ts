/** Mutations of an input, as American fuzzy lop's "havoc" stage has them, and inputs out of nothing. Seeded: all replay. */

import { writeU16, writeU32, writeU64 } from '../../core/bytes.js';
import type { Prng } from '../../targets/sim/prng.js';

/** One input in so many is garbage from end to end. */
const GARBAGE_SHARE = 16;
const LONGEST_GARBAGE = 400;
const MOST_EDITS = 6;
/** Splicing must not grow inputs without end. */
const LONGEST = 16_384;
/** Values that lengths and counts break at. */
const EDGES = [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xfe, 0xff];
const WIDE_EDGES = [0, 1, 0xff, 0x7fff, 0x8000, 0xffff, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];
const WIDEST_EDGES = [...WIDE_EDGES, 2 ** 32, 2 ** 48, 2 ** 53 - 1, 2 ** 53, 2 ** 63, 2 ** 64 - 2048];

/** @param seeds at least one */
export function mutated(seeds: readonly Uint8Array[], random: Prng): Uint8Array {
  if (random.below(GARBAGE_SHARE) === 0) {
    return Uint8Array.from({ length: random.below(LONGEST_GARBAGE) }, () => random.byte());
  }
  let bytes: Uint8Array = pick(seeds, random).slice();
  for (let edits = 1 + random.below(MOST_EDITS); edits > 0; edits--) bytes = edited(bytes, seeds, random);
  return bytes.subarray(0, LONGEST);
}

export function pick<T>(from: readonly T[], random: Prng): T {
  return from[random.below(from.length)]!;
}

/** May change `bytes` in place. */
function edited(bytes: Uint8Array, seeds: readonly Uint8Array[], random: Prng): Uint8Array {
  const at = random.below(bytes.length + 1);
  const length = 1 + random.below(16);
  switch (random.below(11)) {
    case 0:
      return replaced(bytes, at, random.byte());
    case 1:
      return replaced(bytes, at, (bytes[at] ?? 0) ^ (1 << random.below(8)));
    case 2:
      return replaced(bytes, at, pick(EDGES, random));
    case 3:
      return bytes.slice(0, at);
    case 4:
      return concat(bytes.subarray(0, at), bytes.subarray(at + length));
    case 5:
      return concat(
        bytes.subarray(0, at),
        Uint8Array.from({ length }, () => random.byte()),
        bytes.subarray(at),
      );
    case 6:
      return concat(bytes.subarray(0, at), tailOf(pick(seeds, random), random));
    case 7:
      // A run said twice.
      return concat(bytes.subarray(0, at + length), bytes.subarray(at));
    case 8: {
      // A run copied to another place.
      const from = random.below(bytes.length + 1);
      bytes.copyWithin(at, from, from + length);
      return bytes;
    }
    default:
      return withEdge(bytes, at, random);
  }
}

/** A size at one of its borders, in one of the widths sizes have, either way round. */
function withEdge(bytes: Uint8Array, at: number, random: Prng): Uint8Array {
  const width = pick([2, 4, 8], random);
  // Most formats keep their fields aligned.
  const start = random.below(4) === 0 ? at : at - (at % width);
  if (start + width > bytes.length) return bytes;
  const field = new Uint8Array(width);
  if (width === 2) writeU16(field, 0, pick(WIDE_EDGES, random) % 65536);
  else if (width === 4) writeU32(field, 0, pick(WIDE_EDGES, random));
  else writeU64(field, 0, pick(WIDEST_EDGES, random));
  bytes.set(random.below(4) === 0 ? field.reverse() : field, start);
  return bytes;
}

function replaced(bytes: Uint8Array, at: number, value: number): Uint8Array {
  if (at < bytes.length) bytes[at] = value;
  return bytes;
}

function tailOf(bytes: Uint8Array, random: Prng): Uint8Array {
  return bytes.subarray(random.below(bytes.length + 1));
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
