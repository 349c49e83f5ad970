/**
 * Cuts through the whole life of an update on raw flash: apply, stage, activate, trial boots, confirm, rollback or revert. As
 * in flash-cuts.ts operations are recorded once and done again, the last of them cut; then the device really lives on.
 */
import assert from 'node:assert/strict';
import { type CutPlan, PowerCut } from '../../targets/sim/nor-flash.js';
import { Prng } from '../../targets/sim/prng.js';
import type { Operation } from './flash-device.js';
import type { Geometry } from './geometries.js';
import { buildUpdate, type Codec } from './images.js';
import { BASE_SLOT, LIVES, type Life, NEW_SLOT, SlotPart, TRIAL_BOOTS } from './slot-device.js';
import type { Tally } from './tally.js';

type Variant = Omit<CutPlan, 'operation'>;

const MOST_CUTS_OF_ONE_RUN = 6;
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

/** Every operation of a life x every kind of cut; a record is torn at each of its bytes. */
export function slotCuts(tally: Tally, name: string, geometry: Geometry, codec: Codec, life: Life): void {
  const update = buildUpdate(geometry, codec);
  const ideal = rehearse(tally, name, new SlotPart(geometry, update, life, 1));
  if (ideal === null) return;
  const device = new SlotPart(geometry, update, life, 1);
  const live = new SlotPart(geometry, update, life, 1);
  const start = live.part.snapshot();
  for (const [index, operation] of ideal.operations.entries()) {
    const states = statesAround(device, operation);
    const before = device.part.snapshot();
    const variants = cutsOf(operation, device.isRecord(operation));
    for (const variant of variants) {
      tally.run(`${name}/${index}/${nameOf(variant)}`, () => {
        device.part.restore(before);
        cut(tally, device, operation, variant, states);
        liveOn(device, ideal, 1);
      });
    }
    const variant = variants[index % variants.length]!;
    tally.run(`${name}/${index}/live-${nameOf(variant)}`, () => {
      live.part.restore(start);
      cutLive(tally, live, { operation: index, ...variant });
      device.part.restore(before);
      cut(tally, device, operation, variant, states);
      assert.ok(sameBytes(live, device), 'a recorded operation leaves what the real run leaves');
      liveOn(live, ideal, 1);
    });
    device.part.restore(before);
    device.repeat(operation);
  }
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
  for (const [index, operation] of ideal.operations.entries()) {
    const states = statesAround(device, operation);
    const before = device.part.snapshot();
    const isApplied = index > 2 && device.table().slots[NEW_SLOT].state !== 'writing';
    if (index % shard[1] === shard[0] && (isApplied || device.isRecord(operation))) {
      for (const variant of cutsOf(operation, false)) {
        const first = `${name}/${index}/${nameOf(variant)}`;
        if (!tally.wants(first)) continue;
        device.part.restore(before);
        cut(tally, device, operation, variant, states);
        secondCuts(tally, first, device, ideal);
      }
    }
    device.part.restore(before);
    device.repeat(operation);
  }
}

function secondCuts(tally: Tally, first: string, device: SlotPart, ideal: Ideal): void {
  device.part.reboot();
  const afterFirst = device.part.snapshot();
  const resumed: Operation[] = [];
  forget(device);
  device.live(resumed);
  device.part.restore(afterFirst);
  for (const [index, operation] of resumed.entries()) {
    const states = statesAround(device, operation);
    const before = device.part.snapshot();
    for (const variant of cutsOf(operation, false)) {
      tally.run(`${first}/${index}/${nameOf(variant)}`, () => {
        device.part.restore(before);
        cut(tally, device, operation, variant, states);
        liveOn(device, ideal, 2);
      });
    }
    device.part.restore(before);
    device.repeat(operation);
  }
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
      const random = new Prng(seed);
      const wanted = 2 + random.below(MOST_CUTS_OF_ONE_RUN - 1);
      let cuts = 0;
      for (let ended = false; !ended; ) {
        const kind = (['before', 'after', 'torn'] as const)[random.below(3)]!;
        if (cuts < wanted)
          device.part.planCut({ operation: random.below(ideal.operations.length >> (cuts & 3)), kind });
        try {
          device.live(null, 1 + random.below(2000));
          ended = true;
        } catch (error) {
          if (!(error instanceof PowerCut)) throw error;
          assert.ok(device.part.fired);
          tally.countFired();
          cuts++;
          device.assertSound(device.table());
        }
      }
      assert.ok(device.boots <= ideal.boots + cuts, `${device.boots} boots, with ${cuts} cuts`);
      assertEnd(device, ideal, cuts);
    });
  }
}

/** What the records say before and after an operation: after a cut they say the one or the other. */
function statesAround(device: SlotPart, operation: Operation): readonly [string, string] {
  const image = device.part.snapshot();
  const before = JSON.stringify(device.table());
  device.repeat(operation);
  const after = JSON.stringify(device.table());
  device.part.restore(image);
  return [before, after];
}

function cutsOf(operation: Operation, everyByte: boolean): Variant[] {
  const variants: Variant[] = [{ kind: 'before' }, { kind: 'after' }];
  if (operation.kind === 'erase') return [...variants, { kind: 'torn' }];
  const { length } = operation.bytes;
  const torn = everyByte ? Array.from({ length }, (_, i) => i) : [0, length >> 1, length - 1];
  return [...variants, ...torn.map((tornByte) => ({ kind: 'torn', tornByte }) as const)];
}

function nameOf({ kind, tornByte }: Variant): string {
  return tornByte === undefined ? kind : `${kind}@${tornByte}`;
}

function cut(
  tally: Tally,
  device: SlotPart,
  operation: Operation,
  variant: Variant,
  [before, after]: readonly [string, string],
): void {
  device.part.planCut({ operation: 0, ...variant });
  assert.throws(() => device.repeat(operation), PowerCut);
  assert.ok(device.part.fired, 'the cut fired');
  tally.countFired();
  const table = device.table();
  const state = JSON.stringify(table);
  const expected = variant.kind === 'before' ? [before] : variant.kind === 'after' ? [after] : [before, after];
  assert.ok(expected.includes(state), `the records say what they said before or after, got ${state}`);
  device.assertSound(table);
}

function cutLive(tally: Tally, device: SlotPart, plan: CutPlan): void {
  forget(device);
  device.part.planCut(plan);
  assert.throws(() => device.live(), PowerCut);
  assert.ok(device.part.fired, 'the cut fired');
  tally.countFired();
  device.part.reboot();
}

/** To the end of a life that was cut; boots of the trial that are on record stay counted. */
function liveOn(device: SlotPart, ideal: Ideal, cuts: number): void {
  forget(device);
  device.trialRuns = device.table().trialBoots;
  device.live();
  assert.ok(device.boots <= ideal.boots + 1, `${device.boots} boots to the end`);
  assertEnd(device, ideal, cuts);
}

function forget(device: SlotPart): void {
  device.trialRuns = 0;
  device.boots = 0;
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

function sameBytes(one: SlotPart, other: SlotPart): boolean {
  return Buffer.compare(one.part.snapshot().bytes, other.part.snapshot().bytes) === 0;
}
