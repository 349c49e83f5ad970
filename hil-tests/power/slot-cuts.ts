/** Cuts through the whole life of an update on raw flash: apply, stage, activate, trial boots, confirm, rollback or revert. */
import assert from 'node:assert/strict';
import { cutAtRandom, cutEach, cutPairs, type Subject, type Variant } from './cut-walk.js';
import type { Geometry } from './geometries.js';
import { buildUpdate, type Codec } from './images.js';
import { type Operation, repeat } from './recorder.js';
import { BASE_SLOT, LIVES, type Life, NEW_SLOT, SlotPart, TRIAL_BOOTS } from './slot-device.js';
import type { Tally } from './tally.js';

const PAGE_BYTES = 256;

interface Ideal {
  readonly operations: readonly Operation[];
  readonly boots: number;
  readonly wear: readonly number[];
}

/** A life that nothing disturbs, on a part of its own. */
function undisturbed(device: SlotPart): Ideal {
  const operations: Operation[] = [];
  device.live(operations);
  device.assertEnd(0);
  assert.equal(device.trialRuns, device.boots === 3 ? 1 : TRIAL_BOOTS, 'the trial runs as often as it may');
  const wear = device.wear();
  for (const { firstBlock } of device.layout.records) assert.ok(wear[firstBlock]! > 0, 'both record areas come round');
  return { operations, boots: device.boots, wear };
}

/** Undisturbed too a life is a case of its own: null when it fails. */
function rehearse(tally: Tally, name: string, device: SlotPart): Ideal | null {
  try {
    return undisturbed(device);
  } catch (error) {
    tally.run(`${name}/undisturbed`, () => {
      throw error;
    });
    return null;
  }
}

/** What the records say before and after an operation. */
type States = readonly [string, string];

function subjectOf(device: SlotPart, ideal: Ideal): Subject<States> {
  return {
    part: device.part,
    isTornEverywhere: (operation) => device.isRecord(operation),
    before: (operation) => statesAround(device, operation),
    judge: (variant, states) => assertCutState(device, variant, states),
    goOn: (log) => liveOn(device, ideal, log),
    assertEnd: (cuts) => assertEnd(device, ideal, cuts),
  };
}

/** Every operation of a life x every kind of cut; a record is torn at each of its bytes. */
export function slotCuts(tally: Tally, name: string, geometry: Geometry, codec: Codec, life: Life): void {
  const update = buildUpdate(geometry, codec);
  const ideal = rehearse(tally, name, new SlotPart(geometry, update, life, 1));
  if (ideal === null) return;
  const subject = (): Subject<States> => subjectOf(new SlotPart(geometry, update, life, 1), ideal);
  cutEach(tally, name, ideal.operations, subject(), subject());
}

/** All pairs: a first cut at any operation on the records or after the apply, a second at any of the life that goes on. */
export function pairsOfSlotCuts(
  tally: Tally,
  name: string,
  geometry: Geometry,
  life: Life,
  shard: [number, number],
): void {
  const update = buildUpdate(geometry, 'zstd');
  const ideal = rehearse(tally, name, new SlotPart(geometry, update, life, 1));
  if (ideal === null) return;
  const device = new SlotPart(geometry, update, life, 1);
  cutPairs(tally, name, ideal.operations, subjectOf(device, ideal), (index, operation) => {
    if (index % shard[1] !== shard[0]) return false;
    const isApplied = index > 2 && device.table().slots[NEW_SLOT].state !== 'writing';
    return isApplied || device.isRecord(operation);
  });
}

/** Several cuts anywhere in real runs, on a part that programs by the page where its blocks have pages. */
export function randomSlotCuts(
  tally: Tally,
  name: string,
  geometry: Geometry,
  codec: Codec,
  seeds: [number, number],
): void {
  const update = buildUpdate(geometry, codec);
  const lives = LIVES.map((life) => {
    const ideal = undisturbed(new SlotPart(geometry, update, life, 1, PAGE_BYTES));
    return { life, ideal };
  });
  for (let seed = seeds[0]; seed < seeds[1]; seed++) {
    tally.run(`${name}/${seed}`, () => {
      const { life, ideal } = lives[seed % lives.length]!;
      const device = new SlotPart(geometry, update, life, seed, PAGE_BYTES);
      const cuts = cutAtRandom(
        tally,
        device.part,
        { seed, operations: ideal.operations.length },
        (chunkBytes) => device.live(null, chunkBytes),
        () => device.assertSound(device.table()),
      );
      assert.ok(device.boots <= ideal.boots + cuts, `${device.boots} boots, with ${cuts} cuts`);
      assertEnd(device, ideal, cuts);
    });
  }
}

function statesAround(device: SlotPart, operation: Operation): States {
  const image = device.part.snapshot();
  const before = JSON.stringify(device.table());
  repeat(device.part, operation);
  const after = JSON.stringify(device.table());
  device.part.restore(image);
  return [before, after];
}

/** After a cut the records say what they said before the operation or after it. */
function assertCutState(device: SlotPart, variant: Variant, [before, after]: States): void {
  const table = device.table();
  const state = JSON.stringify(table);
  const expected = variant.kind === 'before' ? [before] : variant.kind === 'after' ? [after] : [before, after];
  assert.ok(expected.includes(state), `the records say what they said before or after, got ${state}`);
  device.assertSound(table);
}

/** To the end of a life that was cut; boots of the trial that are on record stay counted. */
function liveOn(device: SlotPart, ideal: Ideal, log: Operation[] | null): void {
  device.boots = 0;
  device.trialRuns = device.table().trialBoots;
  device.live(log);
  assert.ok(device.boots <= ideal.boots + 1, `${device.boots} boots to the end`);
}

function assertEnd(device: SlotPart, ideal: Ideal, cuts: number): void {
  device.assertEnd(cuts);
  const { firstBlock, blocks } = device.layout.slots[BASE_SLOT];
  for (const [block, erases] of device.wear().entries()) {
    const isActive = block >= firstBlock && block < firstBlock + blocks;
    const bound = isActive ? 0 : (1 + cuts) * Math.max(1, ideal.wear[block]!);
    assert.ok(erases <= bound, `block ${block} was erased ${erases} times, expected at most ${bound}`);
  }
}
