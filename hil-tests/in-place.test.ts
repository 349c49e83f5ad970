/**
 * In-place updates as a whole: a part of the power-cut suite, small enough for every run, and real version pairs written over
 * each other on simulated flash. `npm run test:power` has all of the cuts.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { InPlaceRig } from '../core/apply/in-place-rig.test.js';
import { matchBases } from '../core/diff/match-casts.js';
import { readLayout } from '../core/formats/detect.js';
import { MemorySource } from '../core/memory-source.js';
import { describePatch } from '../core/patch/build-patch.test.js';
import { createPatch } from '../targets/node/index.js';
import { IN_PLACE_GROUPS } from './power/in-place-groups.js';
import { Tally } from './power/tally.js';
import { modelsFolder, NO_MODELS } from './support/paths.js';

const GROUPS = [
  'in-place/1k-w32-ff',
  'in-place-many/4k-w1-ff',
  'in-place-one-scratch/1k-w4-00',
  'in-place-encoded/zstd',
  'in-place-encoded/neural',
  'in-place-decay/1k-w4-00',
];
/** A patch that can also be applied in place may be so much larger, where the tensors lie where they lay. */
const MOST_LARGER = 1.1;
const MOST_BYTES = 350_000;
/** Their neural patches are made too: slow to make where a model is large. */
const SMALL_BYTES = 100_000;

const folder = mkdtempSync(join(tmpdir(), 'mallorn-in-place-'));
after(() => rmSync(folder, { recursive: true }));

describe('an in-place update goes on to the end after a cut, and nothing serves half a model', () => {
  for (const name of GROUPS) {
    test(name, () => {
      const tally = new Tally();
      IN_PLACE_GROUPS.find((group) => group.name === name)!.run(tally);
      assert.deepEqual(tally.failures, []);
      assert.ok(tally.fired > 50, `${tally.fired} cuts fired`);
    });
  }
});

interface Pair {
  readonly name: string;
  readonly source: Uint8Array;
  readonly target: Uint8Array;
}

/** Pairs whose tensors all lie where those lay that they are new versions of. */
function sameLayoutPairs(): Pair[] {
  if (modelsFolder === null) return [];
  const manifest = JSON.parse(readFileSync(join(modelsFolder, 'manifest.json'), 'utf8')) as {
    name: string;
    format: string;
    same_length: boolean;
    new: { size: number };
  }[];
  const pairs: Pair[] = [];
  for (const { name, format, same_length: sameLength, new: target } of manifest) {
    if (!sameLength || target.size > MOST_BYTES) continue;
    const [before, now] = ['old', 'new'].map((version) =>
      readModel(join(modelsFolder!, name, `${version}.${format}`)),
    ) as [ReturnType<typeof readModel>, ReturnType<typeof readModel>];
    const bases = matchBases(before, now);
    if (now.layout.tensors.every(({ offset }, i) => bases[i]?.offset === offset)) {
      pairs.push({ name, source: before.memory, target: now.memory });
    }
  }
  return pairs;
}

function readModel(path: string) {
  const memory = new Uint8Array(readFileSync(path));
  const bytes = new MemorySource(memory);
  return { memory, bytes, layout: readLayout(bytes) };
}

async function makePatch({ source, target }: Pair, neural: boolean, inPlace: boolean): Promise<Uint8Array> {
  const output = join(folder, 'patch');
  await createPatch(source, target, output, { profile: 'mcu', compressionLevel: 19, neural, inPlace });
  return new Uint8Array(readFileSync(output));
}

describe('a real version pair of one layout', { skip: modelsFolder === null && NO_MODELS }, () => {
  const pairs = sameLayoutPairs();

  test('there are some', () => assert.ok(pairs.length >= 10, `${pairs.length} pairs`));

  for (const pair of pairs) {
    const codecs = pair.target.length <= SMALL_BYTES ? [false, true] : [false];
    test(`${pair.name}: is written over itself, by a patch at most 10 % larger`, async () => {
      for (const neural of codecs) {
        const plain = await makePatch(pair, neural, false);
        const bytes = await makePatch(pair, neural, true);
        assert.ok(bytes.length <= MOST_LARGER * plain.length, `${bytes.length} bytes, ${plain.length} with two slots`);
        const { source, target } = pair;
        const part = { blockLength: 4096, writeAlign: 4, eraseValue: 0xff };
        const layout = { part, slotBytes: target.length, scratchBytes: 4 * 16384, journalBlocks: 2 };
        const rig = new InPlaceRig(layout, source);
        rig.boot({ ...describePatch(bytes), source, target }, { chunkBytes: 1024 });
        assert.ok(rig.holds(target));
        const { slot, scratch } = rig.wear();
        assert.ok(Math.max(...slot) <= 1 && Math.max(...scratch) - Math.min(...scratch) <= 1);
      }
    });
  }
});
