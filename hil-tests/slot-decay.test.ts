/** A whole update on raw flash (hil-tests/power/slot-device.ts) on a part that decays or fails on the way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PowerCut } from '../targets/sim/nor-flash.js';
import { GEOMETRIES } from './power/geometries.js';
import { buildUpdate } from './power/images.js';
import { BASE_SLOT, NEW_SLOT, SlotPart } from './power/slot-device.js';

const geometry = GEOMETRIES.find(({ id }) => id === '1k-w4-00')!;
const update = buildUpdate(geometry, 'zstd');
/** In the middle of the apply: some segments are in the slot and in the journal. */
const HALF_WAY = 40;

function device(): SlotPart {
  return new SlotPart(geometry, update, 'kept', 1);
}

function halfWay(): SlotPart {
  const half = device();
  half.part.planCut({ operation: HALF_WAY, kind: 'before' });
  assert.throws(() => half.live(), PowerCut);
  half.part.reboot();
  return half;
}

function startOf({ layout, blockLength }: SlotPart, slot: number): number {
  return layout.slots[slot]!.firstBlock * blockLength;
}

/** The old model is the one that boots, and nothing has raised the floor. */
function assertOldActive(tested: SlotPart, inactive: string): void {
  const table = tested.table();
  assert.deepEqual([table.active, table.slots[BASE_SLOT].state], [BASE_SLOT, 'good']);
  assert.deepEqual([table.slots[NEW_SLOT].state, table.counterFloor], [inactive, 1]);
}

test('decay of the base before an update is told, and the update changes nothing', () => {
  const tested = device();
  tested.part.rot(startOf(tested, BASE_SLOT) + 5000);
  const { operations } = tested.part;
  assert.throws(() => tested.live(), { name: 'SourceHashMismatch' });
  assert.equal(tested.part.operations, operations);
  assertOldActive(tested, 'good');
});

test('decay of the base during an update is told at its end, and every attempt after that at its start', () => {
  const tested = halfWay();
  for (let at = 0; at < update.source.length; at += 50) tested.part.rot(startOf(tested, BASE_SLOT) + at);
  assert.throws(() => tested.live());
  assertOldActive(tested, 'writing');
  assert.throws(() => tested.live(), { name: 'SourceHashMismatch' });
  assertOldActive(tested, 'writing');
});

test('decay of what an update has written is found when it is read back, and the next attempt writes it afresh', () => {
  const tested = halfWay();
  tested.part.rot(startOf(tested, NEW_SLOT) + 100);
  assert.throws(() => tested.live(), { name: 'TargetHashMismatch' });
  assertOldActive(tested, 'writing');
  tested.live();
  tested.assertEnd(1);
});

test('decay of any byte of the journal costs at most work that is done again', () => {
  const tested = halfWay();
  const image = tested.part.snapshot();
  const { firstBlock, blocks } = tested.layout.journal;
  for (let at = firstBlock * tested.blockLength; at < (firstBlock + blocks) * tested.blockLength; at += 3) {
    tested.part.restore(image);
    tested.part.rot(at, 1 << (at & 7));
    tested.trialRuns = 0;
    tested.live();
    tested.assertEnd(1);
  }
});

test('a journal that cannot be written fails the update before it writes the slot', () => {
  for (const fault of ['erase-error', 'program-error'] as const) {
    const tested = device();
    const { firstBlock, blocks } = tested.layout.journal;
    for (let block = firstBlock; block < firstBlock + blocks; block++) tested.part.faults.set(block, fault);
    const slotErases = tested.wear().slice(tested.layout.slots[NEW_SLOT].firstBlock);
    assert.throws(() => tested.live(), { name: 'IoError' });
    assert.deepEqual(tested.wear().slice(tested.layout.slots[NEW_SLOT].firstBlock), slotErases);
    assertOldActive(tested, 'writing');
  }
});

test('a bad block in the slot fails every attempt, and the old model goes on', () => {
  const tested = device();
  tested.part.faults.set(tested.layout.slots[NEW_SLOT].firstBlock + 3, 'program-error');
  for (let attempt = 0; attempt < 3; attempt++) {
    assert.throws(() => tested.live(), { name: 'IoError' });
    assertOldActive(tested, 'writing');
  }
});

test('a part that programs nothing without saying so is found out by the hash of the slot', () => {
  const tested = device();
  tested.part.faults.set(tested.layout.slots[NEW_SLOT].firstBlock + 3, 'program-ignored');
  assert.throws(() => tested.live(), { name: 'TargetHashMismatch' });
  assertOldActive(tested, 'writing');
});

test('a base that cannot be read for a while fails the attempt, and the next one goes on', () => {
  const tested = halfWay();
  tested.part.faults.set(tested.layout.slots[BASE_SLOT].firstBlock + 8, 'read-error');
  assert.throws(() => tested.live(), { name: 'IoError' });
  assertOldActive(tested, 'writing');
  tested.part.faults.clear();
  tested.live();
  tested.assertEnd(1);
});
