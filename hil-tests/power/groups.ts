/** The groups that the power-cut suite consists of; each runs alone, in any process, and prefixes the ids of its cases. */
import { pairsOfCuts, randomCuts, singleCuts } from './flash-cuts.js';
import { DIRECTORIES, folderCuts } from './folder-cuts.js';
import { GEOMETRIES, type Geometry } from './geometries.js';
import { CODECS } from './images.js';
import { IN_PLACE_GROUPS } from './in-place-groups.js';
import { keyCuts } from './key-cuts.js';
import { pairsOfSlotCuts, randomSlotCuts, slotCuts } from './slot-cuts.js';
import { LIVES } from './slot-device.js';
import type { Tally } from './tally.js';

export interface Group {
  readonly name: string;
  readonly run: (tally: Tally) => void;
}

/** Geometries, shortened to 8 segments, on which all pairs of cuts run. */
const PAIRS = [
  ['1k-w16-00', 'zstd'],
  ['1k-w4-00', 'neural'],
  ['4k-w1-ff', 'zstd'],
] as const;
const PAIR_SHARDS = 8;
const RANDOM_SEEDS = 400;
/** Geometry on which all pairs of cuts of a life in slots run. */
const SLOT_PAIRS = '1k-w16-00';
const COARSE_BLOCK_BYTES = 16 << 10;
const SLOT_PAIR_SHARDS = 4;
const SLOT_RANDOM_SEEDS = 60;

export const GROUPS: readonly Group[] = [
  ...DIRECTORIES.map((directory) => {
    const name = `folder/${directory.id}`;
    return { name, run: (tally: Tally) => folderCuts(tally, name, directory) };
  }),
  ...GEOMETRIES.flatMap((geometry) =>
    CODECS.map((codec) => {
      const name = `one/${geometry.id}/${codec}`;
      return { name, run: (tally: Tally) => singleCuts(tally, name, geometry, codec) };
    }),
  ),
  ...PAIRS.flatMap(([id, codec]) =>
    Array.from({ length: PAIR_SHARDS }, (_, shard) => {
      const name = `two-${shard}/${id}`;
      const geometry: Geometry = { ...geometryOf(id), segments: 8 };
      return { name, run: (tally: Tally) => pairsOfCuts(tally, name, geometry, codec, [shard, PAIR_SHARDS]) };
    }),
  ),
  ...GEOMETRIES.map((geometry, index) => {
    const name = `many/${geometry.id}`;
    const first = 1 + index * RANDOM_SEEDS;
    const codec = CODECS[index % 2]!;
    return {
      name,
      run: (tally: Tally) => randomCuts(tally, name, geometry, codec, [first, first + RANDOM_SEEDS]),
    };
  }),
  ...slotGroups(),
  ...GEOMETRIES.filter(({ part }) => part.blockLength < COARSE_BLOCK_BYTES).map((geometry) => {
    const name = `keys/${geometry.id}`;
    return { name, run: (tally: Tally) => keyCuts(tally, name, geometry) };
  }),
  ...IN_PLACE_GROUPS,
];

function slotGroups(): Group[] {
  const lives = GEOMETRIES.flatMap((geometry, index) =>
    LIVES.map((life) => {
      const name = `slots/${geometry.id}/${life}`;
      // Neural decoding of the large images of coarse parts would be most of the suite's time.
      const codec = geometry.part.blockLength < COARSE_BLOCK_BYTES ? CODECS[index % 2]! : 'zstd';
      return { name, run: (tally: Tally) => slotCuts(tally, name, geometry, codec, life) };
    }),
  );
  const pairs = LIVES.flatMap((life) =>
    Array.from({ length: SLOT_PAIR_SHARDS }, (_, shard) => {
      const name = `slots-two-${shard}/${SLOT_PAIRS}/${life}`;
      const geometry: Geometry = { ...geometryOf(SLOT_PAIRS), segments: 8 };
      return { name, run: (tally: Tally) => pairsOfSlotCuts(tally, name, geometry, life, [shard, SLOT_PAIR_SHARDS]) };
    }),
  );
  const many = GEOMETRIES.map((geometry, index) => {
    const name = `slots-many/${geometry.id}`;
    const first = 1 + index * SLOT_RANDOM_SEEDS;
    const seeds: [number, number] = [first, first + SLOT_RANDOM_SEEDS];
    return { name, run: (tally: Tally) => randomSlotCuts(tally, name, geometry, CODECS[(index + 1) % 2]!, seeds) };
  });
  return [...lives, ...pairs, ...many];
}

function geometryOf(id: string): Geometry {
  const found = GEOMETRIES.find((geometry) => geometry.id === id);
  if (found === undefined) throw new Error(`no geometry is called ${id}`);
  return found;
}
