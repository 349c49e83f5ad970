import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makePatch, noise, type PatchOptions, sha256Hex, testKeypair } from '../../hil-tests/support/make-patch.js';
import { NodeHasher, NodeSignatureVerifier } from '../../targets/node/hashing.js';
import { PowerCut, SimFlash, type SimOperation } from '../../targets/sim/nor-flash.js';
import { toHex } from '../hex.js';
import { UpdateSession } from '../smp/update-session.js';
import { planOneSlot } from './layout.js';
import { OneSlot } from './one-slot.js';

const BLOCK_BYTES = 4096;
const UNIT_BYTES = 16384;
const RECORD_BLOCKS = 6;
/** Of the operations on model and scratch area; those on records and journal are all cut. */
const EVERY = 11;
const key = testKeypair(7);
const MCU: PatchOptions = { neural: true, profile: 'mcu', privateKey: key.privateKey, unitBytes: UNIT_BYTES };
const OLD = noise(40_000, 5);
const NEXT = OLD.slice();
for (let i = 3000; i < 38_000; i += 50) NEXT[i] = NEXT[i]! + 1;
const FIRST = makePatch(null, OLD, { ...MCU, versionCounter: 1, minimumCounter: 1 });
const SECOND = makePatch(OLD, NEXT, { ...MCU, versionCounter: 3, minimumCounter: 2 });

class Device {
  readonly operations: SimOperation[] = [];
  readonly flash = new SimFlash(
    { size: 22 * BLOCK_BYTES, blockLength: BLOCK_BYTES, writeAlign: 1, eraseValue: 0xff },
    { onOperation: (operation) => this.operations.push(operation) },
  );

  constructor() {
    OneSlot.format(this.plan().regions);
  }

  plan() {
    return planOneSlot(this.flash, UNIT_BYTES / BLOCK_BYTES);
  }

  open(): OneSlot {
    return OneSlot.open(this.plan().regions);
  }

  /** The session's last state, or why it failed. */
  update(patch: Uint8Array): string {
    const slots = this.open();
    const session = new UpdateSession({
      slots,
      slotBytes: slots.regions.slot.status().size,
      hasher: new NodeHasher(),
      verifier: new NodeSignatureVerifier(),
      decompressor: null,
      trustedKeys: [key.publicKey],
      maxBufferBytes: 24_000,
      family: null,
      deviceClass: null,
      collectGarbage: () => {},
      usage: () => ({ heap: 0, heapPeak: 0, stackPeak: 0, serialLost: 0 }),
    });
    session.begin();
    while (session.state === 'receiving') {
      if (!session.busy) session.feed(patch.subarray(session.offset, session.offset + 512));
      session.work();
    }
    return session.failure ?? session.state;
  }

  /** SHA-256 of the model that may be served, read from the slot; 'none' where none may. Never another than the store says. */
  served(): string {
    const slots = this.open();
    const active = slots.active();
    if (active === null) return 'none';
    const bytes = new Uint8Array(active.size);
    slots.regions.slot.read(0, bytes);
    assert.equal(sha256Hex(bytes), toHex(active.sha256), 'the slot holds what is said to be served');
    return sha256Hex(bytes);
  }
}

function withModel(): Device {
  const device = new Device();
  assert.equal(device.update(FIRST), 'staged');
  return device;
}

test('an empty slot serves nothing, takes a stand-alone image, then an update over it, and the floor rises with both', () => {
  const device = new Device();
  assert.equal(device.served(), 'none');
  assert.equal(device.open().activeState(), 'empty');
  assert.equal(device.update(FIRST), 'staged');
  assert.equal(device.served(), sha256Hex(OLD));
  assert.equal(device.open().counterFloor(), 1);
  assert.equal(device.update(SECOND), 'staged');
  assert.equal(device.served(), sha256Hex(NEXT));
  assert.equal(device.open().counterFloor(), 2);
  assert.equal(device.update(FIRST), 'COUNTER_TOO_LOW');
  assert.equal(device.served(), sha256Hex(NEXT));
});

test('a patch for two slots and one for another base are refused, and the model goes on being served', () => {
  const device = withModel();
  const image = device.flash.snapshot().bytes;
  const { unitBytes: _, ...twoSlots } = MCU;
  assert.equal(device.update(makePatch(OLD, NEXT, { ...twoSlots, versionCounter: 3 })), 'NOT_IN_PLACE');
  assert.equal(device.update(makePatch(NEXT, OLD, { ...MCU, versionCounter: 3 })), 'SOURCE_HASH_MISMATCH');
  assert.deepEqual(device.flash.snapshot().bytes, image);
  assert.equal(device.served(), sha256Hex(OLD));
});

test('after a power cut the one slot serves the old model, the new one or none, and the same patch finishes', () => {
  const device = withModel();
  const start = device.flash.snapshot();
  device.operations.length = 0;
  device.update(SECOND);
  const steps = device.operations.slice();
  const seen = new Set<string>();
  for (const [operation, { offset }] of steps.entries()) {
    if (offset >= RECORD_BLOCKS * BLOCK_BYTES && operation % EVERY !== 0) continue;
    for (const kind of ['before', 'torn', 'after'] as const) {
      device.flash.restore(start);
      device.flash.planCut({ operation, kind });
      assert.throws(() => device.update(SECOND), PowerCut);
      assert.ok(device.flash.fired);
      device.flash.reboot();
      const served = device.served();
      seen.add(served);
      assert.ok([sha256Hex(OLD), sha256Hex(NEXT), 'none'].includes(served), `${kind} ${operation}`);
      assert.equal(device.update(SECOND), 'staged', `${kind} ${operation}`);
      assert.equal(device.served(), sha256Hex(NEXT), `${kind} ${operation}`);
      assert.equal(device.open().counterFloor(), 2);
    }
  }
  assert.equal(seen.size, 3);
});

test('a slot left half-way takes a full image, and no other update', () => {
  const device = withModel();
  device.flash.planCut({ operation: 500, kind: 'before' });
  assert.throws(() => device.update(SECOND), PowerCut);
  device.flash.reboot();
  assert.equal(device.served(), 'none');
  assert.equal(device.open().activeState(), 'bad');
  const other = makePatch(OLD, noise(20_000, 9), { ...MCU, versionCounter: 4 });
  assert.equal(device.update(other), 'NEEDS_FULL_IMAGE');
  assert.equal(device.update(FIRST), 'staged');
  assert.equal(device.served(), sha256Hex(OLD));
});
