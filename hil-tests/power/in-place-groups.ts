/** The groups of in-place updates: as those of A/B updates, over the same flash parts. */
import { GEOMETRIES, type Geometry } from './geometries.js';
import type { Group } from './groups.js';
import { CODECS, type Codec } from './images.js';
import {
  encodedInPlaceCuts,
  inPlaceCuts,
  inPlaceDecay,
  pairsOfInPlaceCuts,
  randomInPlaceCuts,
} from './in-place-cuts.js';

const PAIR_SHARDS = 4;
const RANDOM_SEEDS = 60;

function geometryOf(id: string): Geometry {
  const found = GEOMETRIES.find((geometry) => geometry.id === id);
  if (found === undefined) throw new Error(`no geometry is called ${id}`);
  return found;
}

/** By turns, but neural decoding takes long where a unit is 8 KiB or more. */
function codecOf({ part }: Geometry, turn: number): Codec {
  return part.blockLength > 4096 ? 'zstd' : CODECS[turn % 2]!;
}

/** Gateways write a block at once: so few operations that all pairs of them can be cut. */
const SMALL: Geometry = { ...geometryOf('1k-w16-00'), profile: 'gateway', journalAge: 0 };
const BYTES = geometryOf('1k-w4-00');

export const IN_PLACE_GROUPS: readonly Group[] = [
  ...(GEOMETRIES.map((geometry, index) => {
    const name = `in-place/${geometry.id}`;
    return { name, run: (tally) => inPlaceCuts(tally, name, geometry, codecOf(geometry, index)) };
  }) satisfies Group[]),
  ...(Array.from({ length: PAIR_SHARDS }, (_, shard) => {
    const name = `in-place-two-${shard}/${SMALL.id}`;
    return { name, run: (tally) => pairsOfInPlaceCuts(tally, name, SMALL, 'zstd', [shard, PAIR_SHARDS]) };
  }) satisfies Group[]),
  ...(GEOMETRIES.map((geometry, index) => {
    const name = `in-place-many/${geometry.id}`;
    const first = 1 + index * RANDOM_SEEDS;
    const codec = codecOf(geometry, index + 1);
    return {
      name,
      run: (tally) => randomInPlaceCuts(tally, name, geometry, codec, [first, first + RANDOM_SEEDS]),
    };
  }) satisfies Group[]),
  ...(CODECS.map((codec) => {
    const name = `in-place-encoded/${codec}`;
    return { name, run: (tally) => encodedInPlaceCuts(tally, name, BYTES, codec === 'neural') };
  }) satisfies Group[]),
  {
    name: `in-place-one-scratch/${BYTES.id}`,
    run: (tally) => inPlaceCuts(tally, `in-place-one-scratch/${BYTES.id}`, BYTES, 'zstd', 1),
  },
  { name: `in-place-decay/${BYTES.id}`, run: (tally) => inPlaceDecay(tally, `in-place-decay/${BYTES.id}`, BYTES) },
];
