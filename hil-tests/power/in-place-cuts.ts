/** Cuts of in-place updates. And decay: bits that turn while the power is off. */
import assert from 'node:assert/strict';
import { holdsOneModel } from '../../core/apply/journal.js';
import { PROFILES } from '../../core/limits.js';
import { PowerCut } from '../../targets/sim/nor-flash.js';
import { Prng } from '../../targets/sim/prng.js';
import { cut, cutAtRandom, cutEach, cutPairs, replay, type Subject } from './cut-walk.js';
import { encodeInPlaceUpdate } from './encoded-update.js';
import type { Geometry } from './geometries.js';
import type { Codec } from './images.js';
import { type InPlaceDevice, InPlacePart } from './in-place-device.js';
import { buildFullImage, buildInPlaceUpdate, type InPlaceShape } from './in-place-images.js';
import type { Operation } from './recorder.js';
import type { Tally } from './tally.js';

const UNITS = 8;
/** Of the scratch area. */
const SCRATCH_SLOTS = 3;
/** Up to here boots are quick, and journal records are torn at each byte. */
const SMALL_IMAGE = 1 << 16;

type Update = InPlacePart['update'];

interface Case {
  readonly device: InPlaceDevice;
  readonly update: Update;
  readonly operations: readonly Operation[];
  readonly wear: ReturnType<InPlacePart['wear']>;
}

function shapeOf({ profile, segmentBytes, frameBytes, part }: Geometry): InPlaceShape {
  return { profile, segmentBytes, frameBytes, unitBytes: Math.max(segmentBytes, part.blockLength), units: UNITS };
}

function deviceFor(
  { part, journalBlocks, journalAge }: Geometry,
  { header, source, target }: Update,
  scratchSlots: number,
): InPlaceDevice {
  const { unitBytes } = header;
  const slotBytes = Math.max(source.length, target.length);
  const layout = { part, slotBytes, scratchBytes: scratchSlots * unitBytes, journalBlocks };
  return { layout, unitBytes, journalAge };
}

function undisturbed(geometry: Geometry, update: Update, scratchSlots = SCRATCH_SLOTS): Case {
  const device = deviceFor(geometry, update, scratchSlots);
  const part = new InPlacePart(device, update, 1);
  const operations: Operation[] = [];
  part.boot(512, operations);
  part.assertFinished();
  return { device, update, operations, wear: part.wear() };
}

/** The model's blocks are erased once or not at all, and all erases are at most twice those; the scratch area wears evenly. */
function assertIdealWear({ wear: { slot, scratch } }: Case): void {
  const sum = (erases: readonly number[]): number => erases.reduce((all, each) => all + each, 0);
  assert.ok(Math.max(...slot) === 1 && slot.includes(0), 'written units once, kept ones never');
  assert.ok(sum(scratch) <= sum(slot), `the scratch area is erased ${sum(scratch)} times, the model ${sum(slot)}`);
  assert.ok(Math.max(...scratch) - Math.min(...scratch) <= 1, `scratch blocks wear alike: ${scratch}`);
}

function subjectOf(part: InPlacePart, ideal: Case): Subject<number> {
  const isSmall = part.update.target.length <= SMALL_IMAGE;
  return {
    part: part.part,
    isTornEverywhere: (operation) => isSmall && part.isJournal(operation),
    before: () => part.rig.checkpoint(part.update)?.targetOffset ?? 0,
    judge: (_, known) => part.assertHonest(known),
    goOn: (log) => part.boot(512, log),
    assertEnd: (cuts) => assertEnd(part, ideal, cuts),
  };
}

/** Every operation of one update x every kind of cut. */
export function inPlaceCuts(
  tally: Tally,
  name: string,
  geometry: Geometry,
  codec: Codec,
  scratchSlots = SCRATCH_SLOTS,
): void {
  const update = buildInPlaceUpdate(shapeOf(geometry), codec);
  const ideal = undisturbed(geometry, update, scratchSlots);
  tally.run(`${name}/wear`, () => assertIdealWear(ideal));
  const subject = (): Subject<number> => subjectOf(new InPlacePart(ideal.device, update, 1), ideal);
  cutEach(tally, name, ideal.operations, subject(), subject());
}

/** All pairs: a first cut at any operation of the update, a second at any operation of the boot that goes on from it. */
export function pairsOfInPlaceCuts(
  tally: Tally,
  name: string,
  geometry: Geometry,
  codec: Codec,
  shard: [number, number],
): void {
  const update = buildInPlaceUpdate(shapeOf(geometry), codec);
  const ideal = undisturbed(geometry, update);
  const subject = subjectOf(new InPlacePart(ideal.device, update, 1), ideal);
  cutPairs(tally, name, ideal.operations, subject, (index) => index % shard[1] === shard[0]);
}

/** Several cuts anywhere. */
export function randomInPlaceCuts(
  tally: Tally,
  name: string,
  geometry: Geometry,
  codec: Codec,
  seeds: [number, number],
): void {
  const ideal = undisturbed(geometry, buildInPlaceUpdate(shapeOf(geometry), codec));
  for (let seed = seeds[0]; seed < seeds[1]; seed++)
    tally.run(`${name}/${seed}`, () => runThroughCuts(tally, ideal, seed));
}

function runThroughCuts(tally: Tally, ideal: Case, seed: number): void {
  const part = new InPlacePart(ideal.device, ideal.update, seed);
  let known = 0;
  const cuts = cutAtRandom(
    tally,
    part.part,
    { seed, operations: ideal.operations.length },
    (chunkBytes) => part.boot(chunkBytes),
    () => {
      known = part.assertHonest(known);
    },
  );
  part.part.reboot();
  assertEnd(part, ideal, cuts);
}

/** What the real encoder makes of a model whose parts moved both ways. */
export function encodedInPlaceCuts(tally: Tally, name: string, geometry: Geometry, neural: boolean): void {
  const update = encodeInPlaceUpdate({ unitBytes: PROFILES.mcu.segmentBytes, neural });
  let ideal: Case | null = null;
  tally.run(`${name}/undisturbed`, () => {
    ideal = undisturbed(geometry, update);
  });
  for (let seed = 1; seed <= 25; seed++) {
    tally.run(`${name}/${seed}`, () => {
      assert.ok(ideal !== null, 'it applies without a cut');
      runThroughCuts(tally, ideal, seed);
    });
  }
}

/**
 * The power fails at each operation, and while it is off a bit turns: in the scratch slot, or in the source ahead. No byte
 * that is not the target's may be written over the model; the slot is then lost or not, but never served mixed; and a
 * stand-alone patch, cut anywhere, brings it back.
 */
export function inPlaceDecay(tally: Tally, name: string, geometry: Geometry): void {
  const shape = shapeOf(geometry);
  const update = buildInPlaceUpdate(shape, 'zstd');
  const full = buildFullImage(update, shape);
  const ideal = undisturbed(geometry, update);
  const part = new InPlacePart(ideal.device, update, 1);
  const restored = new Prng(7);
  replay(part.part, ideal.operations, (operation, index, rewind) => {
    for (const place of ['scratch', 'source'] as const) {
      tally.run(`${name}/${index}/${place}`, () => {
        rewind();
        cut(tally, part.part, operation, { kind: 'torn', ...(operation.kind === 'erase' ? {} : { tornByte: 0 }) });
        part.assertHonest(0);
        part.part.reboot();
        decay(part, place, shape.unitBytes);
        bootRotten(part);
        recover(tally, part, full, restored);
      });
    }
  });
}

/** The first byte of the newest scratch slot, or of the last unit that is still to be read. */
function decay(part: InPlacePart, place: 'scratch' | 'source', unitBytes: number): void {
  const { rig, update } = part;
  const checkpoint = rig.checkpoint(update);
  if (place === 'scratch') rig.rot(rig.scratch, (checkpoint?.scratchSlot ?? 0) * unitBytes);
  else rig.rot(rig.slot, update.target.length - 1 - ((update.target.length - 1) % unitBytes));
}

/** Boots, and sees to it that only bytes of the target are written over the model. */
function bootRotten(part: InPlacePart): void {
  const log: Operation[] = [];
  let lost = false;
  try {
    part.boot(512, log);
  } catch (error) {
    const code = (error as { code?: string }).code;
    assert.ok(code === 'NEEDS_FULL_IMAGE' || code === 'SOURCE_HASH_MISMATCH' || code === 'BAD_SEGMENT', String(error));
    lost = code === 'NEEDS_FULL_IMAGE';
  }
  const { target } = part.update;
  const slotBytes = part.rig.slot.status().size;
  for (const operation of log) {
    if (operation.kind === 'erase' || operation.offset >= slotBytes) continue;
    const bytes = operation.bytes.subarray(0, target.length - operation.offset);
    const expected = target.subarray(operation.offset, operation.offset + bytes.length);
    assert.ok(Buffer.compare(bytes, expected) === 0, 'only bytes of the target are written over the model');
  }
  assert.equal(part.rig.state() === 'needs-full-image', lost);
}

function recover(tally: Tally, part: InPlacePart, full: Update, random: Prng): void {
  const { rig } = part;
  const served = rig.state() !== 'needs-full-image';
  part.part.planCut({ operation: random.below(60), kind: 'torn' });
  assert.throws(() => rig.boot(full), PowerCut);
  tally.countFired();
  if (!served) assert.ok(!holdsOneModel(rig.state()), 'half a model would be served');
  rig.boot(full);
  assert.ok(rig.holds(full.target));
  assert.equal(rig.state(), 'whole');
}

/** After `cuts` cuts and a boot that came to the end. A block is erased again at most once a cut. */
function assertEnd(part: InPlacePart, { wear: ideal }: Case, cuts: number): void {
  part.assertFinished();
  const { slot, scratch, journal } = part.wear();
  for (const [block, erases] of slot.entries()) {
    const bound = ideal.slot[block] === 0 ? 0 : 1 + cuts;
    assert.ok(erases <= bound, `block ${block} of the slot was erased ${erases} times, with ${cuts} cuts`);
  }
  for (const [block, erases] of scratch.entries()) {
    const bound = Math.max(...ideal.scratch) + cuts;
    assert.ok(erases <= bound, `scratch block ${block} was erased ${erases} times, expected at most ${bound}`);
  }
  for (const [block, erases] of journal.entries()) {
    const bound = (1 + cuts) * Math.max(1, ideal.journal[block]!);
    assert.ok(erases <= bound, `journal block ${block} was erased ${erases} times, expected at most ${bound}`);
  }
}
