/** Cuts of A/B updates on raw flash. */
import assert from 'node:assert/strict';
import { PROFILES } from '../../core/limits.js';
import { cutAtRandom, cutEach, cutPairs, type Subject } from './cut-walk.js';
import { FlashPart } from './flash-device.js';
import type { Geometry } from './geometries.js';
import { buildUpdate, type Codec } from './images.js';
import type { Operation } from './recorder.js';
import type { Tally } from './tally.js';

interface Ideal {
  readonly operations: readonly Operation[];
  readonly journalErases: readonly number[];
}

function undisturbed(device: FlashPart): Ideal {
  const operations: Operation[] = [];
  device.boot(512, operations);
  const { slot, journal } = device.wear();
  assert.ok(
    slot.every(
      (erases, block) => erases === (block * device.geometry.part.blockLength < device.update.target.length ? 1 : 0),
    ),
  );
  assert.ok(device.holds(device.update.target.length), 'the slot holds the target');
  return { operations, journalErases: journal };
}

function subjectOf(device: FlashPart, ideal: Ideal): Subject<number> {
  return {
    part: device.part,
    isTornEverywhere: (operation) => device.isJournal(operation),
    before: () => device.checkpoint()?.targetOffset ?? 0,
    judge: (_, known) => assertJournal(device, known),
    goOn: (log) => device.boot(512, log),
    assertEnd: (cuts) => assertEnd(device, ideal, cuts),
  };
}

/** Every operation of one update x every kind of cut. */
export function singleCuts(tally: Tally, name: string, geometry: Geometry, codec: Codec): void {
  const update = buildUpdate(geometry, codec);
  const ideal = undisturbed(new FlashPart(geometry, update, 1));
  const device = new FlashPart(geometry, update, 1);
  const subject = subjectOf(device, ideal);
  let reached = 0;
  let written = 0;
  const watched: Subject<number> = {
    ...subject,
    before(operation) {
      reached = written;
      written = Math.max(written, device.slotBytesAfter(operation));
      return subject.before(operation);
    },
    judge(_, known) {
      const lost = reached - assertJournal(device, known);
      assert.ok(lost <= mostLost(geometry), `${lost} written bytes were lost`);
    },
  };
  cutEach(tally, name, ideal.operations, watched, subjectOf(new FlashPart(geometry, update, 1), ideal));
}

/** All pairs: a first cut at any operation of the update, a second at any operation of the boot that goes on from it. */
export function pairsOfCuts(
  tally: Tally,
  name: string,
  geometry: Geometry,
  codec: Codec,
  shard: [number, number],
): void {
  const update = buildUpdate(geometry, codec);
  const ideal = undisturbed(new FlashPart(geometry, update, 1));
  const subject = subjectOf(new FlashPart(geometry, update, 1), ideal);
  cutPairs(tally, name, ideal.operations, subject, (index) => index % shard[1] === shard[0]);
}

/** Several cuts anywhere. */
export function randomCuts(
  tally: Tally,
  name: string,
  geometry: Geometry,
  codec: Codec,
  seeds: [number, number],
): void {
  const update = buildUpdate(geometry, codec);
  const ideal = undisturbed(new FlashPart(geometry, update, 1));
  for (let seed = seeds[0]; seed < seeds[1]; seed++) {
    tally.run(`${name}/${seed}`, () => {
      const device = new FlashPart(geometry, update, seed);
      let known = 0;
      const cuts = cutAtRandom(
        tally,
        device.part,
        { seed, operations: ideal.operations.length },
        (chunkBytes) => device.boot(chunkBytes),
        () => {
          known = assertJournal(device, known);
        },
      );
      device.part.reboot();
      assertEnd(device, ideal, cuts);
    });
  }
}

/** The journal claims no more than the flash holds, and no less than it did before the cut. Returns what it claims. */
function assertJournal(device: FlashPart, known: number): number {
  const claimed = device.checkpoint()?.targetOffset ?? 0;
  assert.ok(claimed >= known, `the journal went back from ${known} to ${claimed}`);
  assert.ok(device.holds(claimed), `the journal claims ${claimed} bytes, more than the flash holds`);
  return claimed;
}

/**
 * Bytes between two checkpoints. They lie where a segment and a block end together, and in a long copy a segment apart; a
 * copy is only looked at after a whole I/O buffer, which on a gateway is larger than a block.
 */
function mostLost({ part, profile, segmentBytes }: Geometry): number {
  return Math.max(part.blockLength, segmentBytes) + Math.max(part.blockLength, PROFILES[profile].ioBytes);
}

function assertFinished(device: FlashPart): void {
  const { length } = device.update.target;
  assert.ok(device.holds(length), 'the slot holds the target');
  assert.equal(device.checkpoint()?.targetOffset, length, 'the journal knows that the update is whole');
  assert.ok(device.sourceIsWhole(), 'the source is untouched');
}

/** After `cuts` cuts and a boot that came to the end. A block is erased again at most once a cut. */
function assertEnd(device: FlashPart, ideal: Ideal, cuts: number): void {
  assertFinished(device);
  const { active, slot, journal } = device.wear();
  assert.ok(
    active.every((erases) => erases === 0),
    'the active slot is never erased',
  );
  const most = Math.max(...slot);
  assert.ok(most <= 1 + cuts, `a block of the slot was erased ${most} times, with ${cuts} cuts`);
  for (const [block, erases] of journal.entries()) {
    const bound = (1 + cuts) * Math.max(1, ideal.journalErases[block]!);
    assert.ok(erases <= bound, `journal block ${block} was erased ${erases} times, expected at most ${bound}`);
  }
}
