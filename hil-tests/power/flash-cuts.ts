/**
 * Cuts on raw flash. What a device does up to a cut is always the same, so that its operations are recorded once and then
 * done again on the part, the last of them cut; each operation is also cut once in a real run, and must leave the same
 * bytes. After each cut the device really boots and goes on to the end.
 */
import assert from 'node:assert/strict';
import type { Update } from '../../core/apply/flash-rig.test.js';
import { PROFILES } from '../../core/limits.js';
import { type CutPlan, type NorSnapshot, PowerCut } from '../../targets/sim/nor-flash.js';
import { Prng } from '../../targets/sim/prng.js';
import { FlashPart, type Operation } from './flash-device.js';
import type { Geometry } from './geometries.js';
import { buildUpdate, type Codec } from './images.js';
import type { Tally } from './tally.js';

export type Variant = Omit<CutPlan, 'operation'>;

const MOST_CUTS_OF_ONE_RUN = 6;

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

/** Every operation of one update x every kind of cut. */
export function singleCuts(tally: Tally, name: string, geometry: Geometry, codec: Codec): void {
  const update = buildUpdate(geometry, codec);
  const ideal = undisturbed(new FlashPart(geometry, update, 1));
  const device = new FlashPart(geometry, update, 1);
  let reached = 0;
  let live: { readonly device: FlashPart; readonly start: NorSnapshot } | null = null;
  for (const [index, operation] of ideal.operations.entries()) {
    const before = device.part.snapshot();
    const known = device.checkpoint()?.targetOffset ?? 0;
    const variants = cutsOf(device, operation, true);
    for (const variant of variants) {
      tally.run(`${name}/${index}/${nameOf(variant)}`, () => {
        device.part.restore(before);
        const claimed = cut(tally, device, operation, variant, known);
        assert.ok(reached - claimed <= mostLost(geometry), `${reached - claimed} written bytes were lost`);
        device.boot();
        assertEnd(device, ideal, 1);
      });
    }
    const variant = variants[index % variants.length]!;
    tally.run(`${name}/${index}/live-${nameOf(variant)}`, () => {
      live ??= freshDevice(geometry, update);
      live.device.part.restore(live.start);
      cutLive(tally, live.device, { operation: index, ...variant });
      device.part.restore(before);
      cut(tally, device, operation, variant, known);
      assert.ok(sameBytes(live.device, device), 'a recorded operation leaves what the real run leaves');
      live.device.boot();
      assertEnd(live.device, ideal, 1);
    });
    device.part.restore(before);
    device.repeat(operation);
    reached = Math.max(reached, device.slotBytesAfter(operation));
  }
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
  const device = new FlashPart(geometry, update, 1);
  for (const [index, operation] of ideal.operations.entries()) {
    const before = device.part.snapshot();
    if (index % shard[1] === shard[0]) {
      for (const variant of cutsOf(device, operation, false)) {
        const first = `${name}/${index}/${nameOf(variant)}`;
        if (tally.wants(first))
          secondCuts(tally, first, device, ideal, () => {
            device.part.restore(before);
            cut(tally, device, operation, variant, 0);
          });
      }
    }
    device.part.restore(before);
    device.repeat(operation);
  }
}

function secondCuts(tally: Tally, first: string, device: FlashPart, ideal: Ideal, cutFirst: () => void): void {
  cutFirst();
  device.part.reboot();
  const afterFirst = device.part.snapshot();
  const resumed: Operation[] = [];
  device.boot(512, resumed);
  device.part.restore(afterFirst);
  for (const [index, operation] of resumed.entries()) {
    const before = device.part.snapshot();
    const known = device.checkpoint()?.targetOffset ?? 0;
    for (const variant of cutsOf(device, operation, false)) {
      tally.run(`${first}/${index}/${nameOf(variant)}`, () => {
        device.part.restore(before);
        cut(tally, device, operation, variant, known);
        device.boot();
        assertEnd(device, ideal, 2);
      });
    }
    device.part.restore(before);
    device.repeat(operation);
  }
}

/** Several cuts anywhere, also while it resumes, with chunks of any size: all of it from the seed. */
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
      const random = new Prng(seed);
      const wanted = 2 + random.below(MOST_CUTS_OF_ONE_RUN - 1);
      let cuts = 0;
      let known = 0;
      for (let boots = 0; ; boots++) {
        assert.ok(boots <= wanted, 'it ends after as many boots as there are cuts, and one');
        const kind = (['before', 'after', 'torn'] as const)[random.below(3)]!;
        if (cuts < wanted)
          device.part.planCut({ operation: random.below(ideal.operations.length >> Math.min(cuts, 3)), kind });
        try {
          device.boot(1 + random.below(2000));
          break;
        } catch (error) {
          if (!(error instanceof PowerCut)) throw error;
          assert.ok(device.part.fired);
          tally.countFired();
          cuts++;
          known = assertJournal(device, known);
        }
      }
      device.part.reboot();
      assertEnd(device, ideal, cuts);
    });
  }
}

function freshDevice(geometry: Geometry, update: Update) {
  const device = new FlashPart(geometry, update, 1);
  return { device, start: device.part.snapshot() };
}

/** Before, after, and torn: at each byte of a journal record; at the first, middle and last of a bulk write. */
export function cutsOf(device: Pick<FlashPart, 'isJournal'>, operation: Operation, everyByte: boolean): Variant[] {
  const variants: Variant[] = [{ kind: 'before' }, { kind: 'after' }];
  if (operation.kind === 'erase') return [...variants, { kind: 'torn' }];
  const { length } = operation.bytes;
  const every = everyByte && device.isJournal(operation);
  const torn = every ? Array.from({ length }, (_, i) => i) : [0, length >> 1, length - 1];
  return [...variants, ...torn.map((tornByte) => ({ kind: 'torn', tornByte }) as const)];
}

export function nameOf({ kind, tornByte }: Variant): string {
  return tornByte === undefined ? kind : `${kind}@${tornByte}`;
}

function cut(tally: Tally, device: FlashPart, operation: Operation, variant: Variant, known: number): number {
  device.part.planCut({ operation: 0, ...variant });
  assert.throws(() => device.repeat(operation), PowerCut);
  assert.ok(device.part.fired, 'the cut fired');
  tally.countFired();
  return assertJournal(device, known);
}

function cutLive(tally: Tally, device: FlashPart, plan: CutPlan): void {
  device.part.planCut(plan);
  assert.throws(() => device.boot(), PowerCut);
  assert.ok(device.part.fired, 'the cut fired');
  tally.countFired();
  device.part.reboot();
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

function sameBytes(one: FlashPart, other: FlashPart): boolean {
  return Buffer.compare(one.part.snapshot().bytes, other.part.snapshot().bytes) === 0;
}
