/**
 * Power cuts in the middle of an update, on simulated NOR flash: at every erase and program, before, after and torn. After
 * each the device boots again, goes on from the journal, and must end with the same bytes.
 */

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { FlashRig, newBoot, type Part, type Update } from '../core/apply/flash-rig.test.js';
import { PowerCut } from '../targets/sim/nor-flash.js';
import { Prng } from '../targets/sim/prng.js';
import { encodedUpdate, handMadeUpdate } from './support/patch-fixtures.js';

const CHUNK_BYTES = 512;
const KINDS = ['before', 'after', 'torn'] as const;
type CutKind = (typeof KINDS)[number];

interface Scenario {
  readonly name: string;
  readonly part: Part;
  readonly update: Update;
}

const mcu = { profile: 'mcu', frameBytes: 1024 } as const;
const small = handMadeUpdate({
  ...mcu,
  segmentBytes: 4096,
  codedSegments: 7,
  copySegments: 2,
  kinds: ['stored', 'zstd'],
});
const stored = handMadeUpdate({ ...mcu, segmentBytes: 4096, codedSegments: 8, copySegments: 0, kinds: ['stored'] });
const coarse = handMadeUpdate({
  ...mcu,
  segmentBytes: 16384,
  codedSegments: 2,
  copySegments: 1,
  kinds: ['zstd', 'stored'],
});
const large = handMadeUpdate({
  profile: 'gateway',
  frameBytes: 4096,
  segmentBytes: 32768,
  codedSegments: 12,
  copySegments: 3,
  kinds: ['zstd', 'stored'],
});
const neural = handMadeUpdate({
  ...mcu,
  segmentBytes: 4096,
  codedSegments: 7,
  copySegments: 2,
  kinds: ['neural', 'stored', 'neural'],
  decodeClass: 0,
});
const mixed = handMadeUpdate({
  profile: 'gateway',
  frameBytes: 1024,
  segmentBytes: 4096,
  codedSegments: 6,
  copySegments: 2,
  kinds: ['neural', 'zstd'],
  decodeClass: 1,
});

const SCENARIOS: readonly Scenario[] = [
  { name: '4 KiB blocks, bytes', part: { blockLength: 4096, writeAlign: 1, eraseValue: 0xff }, update: small },
  {
    name: '4 KiB blocks, 16-byte units, stored only',
    part: { blockLength: 4096, writeAlign: 16, eraseValue: 0xff },
    update: stored,
  },
  { name: '4 KiB blocks, erased to 0x00', part: { blockLength: 4096, writeAlign: 8, eraseValue: 0x00 }, update: small },
  {
    name: '1 KiB blocks, 32-byte units, segments of many blocks',
    part: { blockLength: 1024, writeAlign: 32, eraseValue: 0xff },
    update: coarse,
  },
  { name: '64 KiB blocks', part: { blockLength: 65536, writeAlign: 4, eraseValue: 0xff }, update: large },
  {
    name: '128 KiB blocks, erased to 0x00',
    part: { blockLength: 131072, writeAlign: 16, eraseValue: 0x00 },
    update: large,
  },
  {
    name: '4 KiB blocks, 4-byte units, neural of class 0',
    part: { blockLength: 4096, writeAlign: 4, eraseValue: 0xff },
    update: neural,
  },
  {
    name: '8 KiB blocks, 16-byte units, neural of class 1',
    part: { blockLength: 8192, writeAlign: 16, eraseValue: 0xff },
    update: mixed,
  },
];

/** Erases and programs of an update that nothing interrupts, and its erases: what the bounds are measured against. */
interface Ideal {
  readonly operations: number;
  readonly journalErases: number;
}

function undisturbed({ part, update }: Scenario): Ideal {
  const rig = new FlashRig(part, update.target.length);
  const before = rig.part.operations;
  rig.boot(update, { chunkBytes: CHUNK_BYTES });
  rig.assertHolds(update.target);
  assert.ok(rig.slotErases().every((erases) => erases === 1));
  return { operations: rig.part.operations - before, journalErases: rig.journalErases() };
}

/**
 * Body bytes that may be fed a second time: those of what lies between two checkpoints, which are a segment apart or, on
 * coarse flash, an erase block, and the frame that one of them lies in. Ours need at most 1 byte of body for 1 of target.
 */
function refeedBound({ part, update }: Scenario): number {
  const { segmentBytes, frameBytes } = update.header;
  const apart = Math.max(part.blockLength, segmentBytes);
  const frames = Math.ceil(apart / (frameBytes - 16)) + 2;
  return apart + 16 * frames + frameBytes + CHUNK_BYTES + 64 * Math.ceil(apart / segmentBytes);
}

let cutsFired = 0;

/** Boots until the cut comes; the journal must not claim what the flash does not hold. Returns how far the patch was fed. */
function bootIntoCut(rig: FlashRig, update: Update, cut: { operation: number; kind: CutKind }, what: string): number {
  const boot = newBoot();
  rig.part.planCut(cut);
  assert.throws(() => rig.boot(update, { boot, chunkBytes: CHUNK_BYTES }), PowerCut, what);
  assert.ok(rig.part.fired, what);
  cutsFired++;
  const checkpoint = rig.checkpoint(update);
  if (checkpoint !== null)
    rig.assertHolds(
      update.target.subarray(0, checkpoint.targetOffset),
      `${what}: the journal claims more than the flash holds`,
    );
  return boot.fedUpTo;
}

function cutOnce(scenario: Scenario, ideal: Ideal, operation: number, kind: CutKind): void {
  const { part, update, name } = scenario;
  const what = `${name}, cut ${kind} operation ${operation}`;
  const rig = new FlashRig(part, update.target.length, operation + 1);
  const fed = bootIntoCut(rig, update, { operation, kind }, what);
  const boot = rig.boot(update, { chunkBytes: CHUNK_BYTES });
  rig.assertHolds(update.target, what);
  const again = fed - boot.resumedAt;
  assert.ok(
    again <= refeedBound(scenario),
    `${what}: ${again} bytes fed again, expected at most ${refeedBound(scenario)}`,
  );
  assert.ok(Math.max(...rig.slotErases()) <= 2, `${what}: a block of the slot was erased more than twice`);
  assert.ok(rig.journalErases() <= 2 * ideal.journalErases, `${what}: ${rig.journalErases()} erases of the journal`);
}

after(() => console.log(`${cutsFired} power cuts fired`));

describe('an update resumes to the same bytes after a cut', () => {
  for (const scenario of SCENARIOS) {
    test(`at every flash operation, before, after and torn: ${scenario.name}`, () => {
      const ideal = undisturbed(scenario);
      for (let operation = 0; operation < ideal.operations; operation++) {
        for (const kind of KINDS) cutOnce(scenario, ideal, operation, kind);
      }
    });
  }

  for (const codec of ['zstd', 'neural'] as const) {
    test(`at every flash operation of a ${codec} patch by the real encoder, for both profiles`, () => {
      const part: Part = { blockLength: 4096, writeAlign: 4, eraseValue: 0xff };
      for (const profile of ['mcu', 'gateway'] as const) {
        const update = encodedUpdate(profile, 130_000, codec === 'neural');
        assert.equal(update.header.codec, codec);
        const scenario = { name: `encoded for ${profile}`, part, update };
        const ideal = undisturbed(scenario);
        for (let operation = 0; operation < ideal.operations; operation++)
          cutOnce(scenario, ideal, operation, KINDS[operation % 3]!);
      }
    });
  }
});

describe('an update resumes to the same bytes after several cuts', () => {
  test('two of them anywhere, also while it resumes', () => {
    const random = new Prng(1);
    for (let run = 0; run < 240; run++) {
      const scenario = SCENARIOS[run % SCENARIOS.length]!;
      const { update } = scenario;
      const rig = new FlashRig(scenario.part, update.target.length, run + 1);
      const { operations } = undisturbedOnce(scenario);
      const what = `run ${run}, ${scenario.name}`;
      bootIntoCut(rig, update, { operation: random.below(operations), kind: KINDS[random.below(3)]! }, what);
      // The first operations of the second boot are always there: the end is journaled at least.
      const boot = newBoot();
      rig.part.planCut({ operation: random.below(operations >> 1), kind: KINDS[random.below(3)]! });
      try {
        rig.boot(update, { boot });
      } catch (error) {
        assert.ok(error instanceof PowerCut, String(error));
        cutsFired++;
        rig.boot(update);
      }
      rig.assertHolds(update.target, what);
    }
  });

  test('again and again after a little more than a block: it gets to its end, through a long copy too', () => {
    const scenario = SCENARIOS[0]!;
    const rig = new FlashRig(scenario.part, scenario.update.target.length);
    let boots = 0;
    for (let done = false; !done; boots++) {
      assert.ok(boots < 200, 'it never ends');
      rig.part.planCut({ operation: 24, kind: KINDS[boots % 3]! });
      try {
        done = rig.boot(scenario.update).done;
      } catch (error) {
        assert.ok(error instanceof PowerCut, String(error));
      }
    }
    assert.ok(boots > 5);
    rig.assertHolds(scenario.update.target);
  });
});

const ideals = new Map<Scenario, Ideal>();

function undisturbedOnce(scenario: Scenario): Ideal {
  const known = ideals.get(scenario) ?? undisturbed(scenario);
  ideals.set(scenario, known);
  return known;
}
