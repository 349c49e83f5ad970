/** The slot store on raw flash beyond its port's contract: trials, staged models, layouts, and parts that fail. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { IoError } from '../core/errors.js';
import { FlashSlots } from '../core/slots/flash-slots.js';
import { planLayout, regionsOf, type SlotLayout } from '../core/slots/layout.js';
import { RecordLog } from '../core/slots/record-log.js';
import { SlotCheck } from '../core/slots/slot-check.js';
import { TABLE_BYTES, TABLE_MAGIC } from '../core/slots/slot-table.js';
import { NodeHasher } from '../targets/node/hashing.js';
import { SimFlash } from '../targets/sim/nor-flash.js';
import { activeBytes, contentsOf, write } from './contracts/slot-store-contract.js';
import { patternBytes } from './contracts/test-bytes.js';

const BLOCK = 1024;
const RECORD = 144;
const OLD = patternBytes(2500, 1);
const NEW = patternBytes(2600, 2);

class Device {
  readonly part = new SimFlash({ size: 24 * BLOCK, blockLength: BLOCK, writeAlign: 4, eraseValue: 0xff });
  readonly layout: SlotLayout = planLayout(this.part.status());
  readonly regions = regionsOf(this.part, this.layout);

  constructor() {
    FlashSlots.format(this.regions);
    install(this.open(), OLD, 1, 1);
  }

  open(trialBoots = 3): FlashSlots {
    return FlashSlots.open(this.regions, { trialBoots });
  }

  areaStart(area: 0 | 1): number {
    return this.layout.records[area].firstBlock * BLOCK;
  }

  /** Where the newest record of an area begins. */
  newestIn(area: 0 | 1): number {
    const start = this.areaStart(area);
    const first = new Uint8Array(1);
    let place = 0;
    for (; place * RECORD + RECORD <= BLOCK; place++) {
      this.part.read(start + place * RECORD, first);
      if (first[0] === 0xff) break;
    }
    return start + (place - 1) * RECORD;
  }
}

function install(store: FlashSlots, model: Uint8Array, counter: number, minimumCounter = 0): void {
  write(store.openInactive(model.length), model);
  store.commit(contentsOf(model, counter), minimumCounter);
}

describe('FlashSlots trials', () => {
  test('a new model boots as often as it may, and then the device is back on the one before, for good', () => {
    const device = new Device();
    install(device.open(), NEW, 3, 2);
    for (let boot = 0; boot < 3; boot++) assert.equal(device.open().boot(), 'trial');
    const store = device.open();
    assert.equal(store.boot(), 'reverted');
    for (const each of [store, device.open()]) {
      assert.deepEqual(activeBytes(each), OLD);
      assert.deepEqual([each.activeState(), each.inactiveState()], ['good', 'bad']);
      assert.deepEqual(each.inactiveContents(), contentsOf(NEW, 3));
      assert.equal(each.previous(), null);
      assert.equal(each.counterFloor(), 2);
      assert.throws(() => each.rollback(), IoError);
    }
    assert.equal(device.open().boot(), 'good');
  });

  test('a confirmed model stays, and the one before it is kept', () => {
    const device = new Device();
    install(device.open(), NEW, 3);
    const store = device.open();
    store.boot();
    store.confirm();
    store.confirm();
    for (let boot = 0; boot < 5; boot++) assert.equal(device.open().boot(), 'good');
    assert.deepEqual(device.open().previous(), contentsOf(OLD, 1));
  });

  test('a rollback keeps a confirmed model and condemns one on trial; a revert condemns both', () => {
    for (const [confirmed, how, expected] of [
      [true, 'rollback', 'good'],
      [false, 'rollback', 'bad'],
      [true, 'revert', 'bad'],
    ] as const) {
      const device = new Device();
      install(device.open(), NEW, 3);
      const store = device.open();
      if (confirmed) store.confirm();
      store[how]();
      assert.equal(device.open().inactiveState(), expected);
      assert.deepEqual(activeBytes(device.open()), OLD);
    }
  });

  test('the first model has nothing to go back to, and so no trial', () => {
    assert.equal(new Device().open().activeState(), 'good');
  });

  test('no update begins while its way back would be overwritten', () => {
    const device = new Device();
    install(device.open(), NEW, 3);
    assert.throws(() => device.open().openInactive(10), { name: 'IoError', message: /on trial/ });
    device.open().confirm();
    device.open().openInactive(10);
  });

  test('a staged model waits through reboots, and raises the floor only when it becomes active', () => {
    const device = new Device();
    const store = device.open();
    write(store.openInactive(NEW.length), NEW);
    store.stage(contentsOf(NEW, 3), 2);
    const later = device.open();
    assert.equal(later.boot(), 'good');
    assert.deepEqual([later.inactiveState(), later.counterFloor()], ['staged', 1]);
    assert.deepEqual(later.inactiveContents(), contentsOf(NEW, 3));
    later.activate();
    assert.equal(device.open().boot(), 'trial');
    assert.equal(device.open().counterFloor(), 2);
    assert.deepEqual(activeBytes(device.open()), NEW);
  });

  test('steps out of order are bugs of the caller', () => {
    const store = new Device().open();
    assert.throws(() => store.activate(), /activate follows stage/);
    assert.throws(() => store.stage(contentsOf(NEW, 3), 0), /opened for writing/);
    assert.throws(() => FlashSlots.open(new Device().regions, { trialBoots: 256 }), /trialBoots is 0 to 255/);
  });

  test('a model larger than a slot is refused before anything changes', () => {
    const device = new Device();
    const { operations } = device.part;
    assert.throws(() => device.open().openInactive(100_000), { name: 'IoError', message: /got 100000/ });
    assert.equal(device.part.operations, operations);
  });

  test('a healthy device boots without touching its flash', () => {
    const device = new Device();
    const { operations } = device.part;
    for (let boot = 0; boot < 3; boot++) device.open().boot();
    assert.equal(device.part.operations, operations);
  });
});

describe('FlashSlots layouts', () => {
  test('a layout that does not fit its part is refused, and says where', () => {
    const { part, layout } = new Device();
    const broken: [Partial<SlotLayout>, RegExp][] = [
      [{ slots: [layout.slots[0], { firstBlock: 20, blocks: 5 }] }, /within 24, got 5 from 20/],
      [{ journal: { ...layout.journal, blocks: 1 } }, /expected at least 2 blocks/],
      [{ records: [layout.records[0], layout.records[0]] }, /overlap/],
      [{ keys: [layout.keys[0], { firstBlock: -1, blocks: 1 }] }, /got 1 from -1/],
    ];
    for (const [change, message] of broken) {
      assert.throws(() => regionsOf(part, { ...layout, ...change }), { name: 'IoError', message });
    }
    assert.throws(() => planLayout({ ...part.status(), blocks: 7 }), IoError);
  });

  test('a part that was never formatted, or lost all its records, is no new device', () => {
    const device = new Device();
    for (const area of device.layout.records) device.part.eraseBlock(area.firstBlock);
    assert.throws(() => device.open(), { name: 'IoError', message: /no record is whole/ });
  });
});

describe('FlashSlots on a part that fails', () => {
  test('decay of any byte of a record changes nothing and is mended at the next boot', () => {
    const device = new Device();
    install(device.open(), NEW, 3, 2);
    const image = device.part.snapshot();
    for (const area of [0, 1] as const) {
      for (let byte = 0; byte < RECORD; byte++) {
        device.part.restore(image);
        device.part.rot(device.newestIn(area) + byte, 1 << (byte & 7));
        const store = device.open();
        assert.deepEqual(store.active(), contentsOf(NEW, 3));
        assert.deepEqual([store.activeState(), store.counterFloor()], ['trial', 2]);
        assert.ok(store.recordsAreRedundant());
        assert.ok(device.open().recordsAreRedundant());
      }
    }
  });

  test('an area that lags is erased before it is written again: its erase may have been cut short', () => {
    const device = new Device();
    const [area] = device.layout.records;
    // What is left of an interrupted erase at worst: old records in front, and behind them bytes that only read as erased.
    const before = device.part.erasesOf(area.firstBlock);
    const old = new Uint8Array(2 * RECORD);
    device.part.read(device.areaStart(0), old);
    install(device.open(), NEW, 3);
    device.part.eraseBlock(area.firstBlock);
    device.part.program(device.areaStart(0), old);
    assert.deepEqual(device.open().active(), contentsOf(NEW, 3));
    assert.equal(device.part.erasesOf(area.firstBlock), before + 2);
    assert.ok(device.open().recordsAreRedundant());
  });

  test('reads that fail now and then change nothing, and while none works no older record is believed', () => {
    const device = new Device();
    install(device.open(), NEW, 3);
    for (let count = 1; count < 60; count++) {
      device.part.faults.failReads(count);
      try {
        assert.deepEqual(device.open().active(), contentsOf(NEW, 3));
      } catch (error) {
        assert.ok(error instanceof IoError, String(error));
        assert.match(error.message, /neither area can be read/);
        assert.ok(count > 2);
      }
    }
    device.part.faults.clear();
    assert.deepEqual(device.open().active(), contentsOf(NEW, 3));
  });

  test('a read that works at its third try costs nothing', () => {
    const confirmed = (failures: number): Uint8Array => {
      const device = new Device();
      install(device.open(), NEW, 3);
      const store = device.open();
      device.part.faults.failReads(failures);
      store.confirm();
      return device.part.snapshot().bytes;
    };
    assert.deepEqual(confirmed(2), confirmed(0));
    // Once more, and the place that could not be looked at is left out.
    assert.notDeepEqual(confirmed(3), confirmed(0));
  });

  for (const fault of ['erase-error', 'program-error', 'read-error', 'erase-ignored', 'program-ignored'] as const) {
    test(`one record area with ${fault}: records go on in the other until it is full, then a clear error`, () => {
      for (const area of [0, 1] as const) {
        const device = new Device();
        install(device.open(), NEW, 3);
        device.part.faults.set(device.layout.records[area].firstBlock, fault);
        let counter = 3;
        const updates = (): void => {
          for (let update = 0; update < 20; update++) {
            const store = device.open();
            if (store.activeState() === 'trial') store.confirm();
            install(store, counter % 2 === 0 ? NEW : OLD, counter + 1);
            counter++;
          }
        };
        assert.throws(updates, { name: 'IoError', message: /neither area takes another record/ });
        const store = device.open();
        // One that cannot be erased may still hold what it held when both became full.
        assert.ok(fault.startsWith('erase') || !store.recordsAreRedundant());
        assert.ok(counter === store.active()!.counter, 'what is active is what was last committed');
        assert.deepEqual(activeBytes(store), counter % 2 === 0 ? OLD : NEW);
      }
    });
  }

  test('a change that cannot be recorded has not happened', () => {
    const device = new Device();
    install(device.open(), NEW, 3);
    const store = device.open();
    for (const { firstBlock } of device.layout.records) device.part.faults.set(firstBlock, 'program-error');
    for (const change of [() => store.confirm(), () => store.rollback(), () => store.revert()]) {
      assert.throws(change, IoError);
      assert.deepEqual([store.activeState(), store.active()], ['trial', contentsOf(NEW, 3)]);
    }
  });

  test('a trial whose boots cannot be counted is over: the old model runs', () => {
    const device = new Device();
    install(device.open(), NEW, 3);
    for (const { firstBlock } of device.layout.records) device.part.faults.set(firstBlock, 'program-error');
    for (let boot = 0; boot < 2; boot++) {
      const store = device.open();
      assert.equal(store.boot(), 'reverted');
      assert.deepEqual(activeBytes(store), OLD);
      assert.throws(() => store.openInactive(10), IoError);
      assert.deepEqual(activeBytes(store), OLD);
    }
  });

  test('decay of the active model is found by hashing it, and a revert serves the one before', () => {
    const device = new Device();
    const store = device.open(0);
    install(store, NEW, 3);
    assert.equal(check(store), 'whole');
    device.part.rot(device.layout.slots[1].firstBlock * BLOCK + 1234);
    assert.equal(check(store), 'rotten');
    store.revert();
    assert.equal(check(device.open()), 'whole');
    assert.deepEqual(activeBytes(device.open()), OLD);
  });

  test('decay of both copies of the newest record brings back the one before: two faults are one too many', () => {
    const device = new Device();
    install(device.open(), NEW, 3);
    for (const area of [0, 1] as const) device.part.rot(device.newestIn(area) + 20);
    const store = device.open();
    assert.deepEqual([store.active(), store.inactiveState()], [contentsOf(OLD, 1), 'writing']);
  });

  test('a bad block in the slot fails the update, and the old model stays', () => {
    for (const fault of ['erase-error', 'program-error'] as const) {
      const device = new Device();
      device.part.faults.set(device.layout.slots[1].firstBlock + 1, fault);
      assert.throws(() => install(device.open(), NEW, 3), { name: 'IoError', code: 'IO' });
      const store = device.open();
      assert.deepEqual([activeBytes(store), store.inactiveState()], [OLD, 'writing']);
    }
  });
});

test('a log that a failed attempt left a record in goes on with a higher sequence number', () => {
  const device = new Device();
  const { records } = device.regions;
  const options = { magic: TABLE_MAGIC, payloadBytes: TABLE_BYTES };
  const log = new RecordLog(records, options);
  const payload = log.payload.slice();
  for (const { firstBlock } of device.layout.records) device.part.faults.set(firstBlock, 'read-error');
  payload[1] = 11;
  assert.throws(() => log.append(payload), IoError);
  device.part.faults.clear();
  payload[1] = 12;
  log.append(payload);
  assert.equal(new RecordLog(records, options).payload[1], 12);
});

function check(store: FlashSlots): string {
  const { sha256 } = store.active()!;
  const slot = new SlotCheck({
    source: store.openActive(),
    sha256,
    hasher: new NodeHasher(),
    buffer: new Uint8Array(256),
  });
  for (;;) {
    const verdict = slot.step();
    if (verdict !== 'pending') return verdict;
  }
}
