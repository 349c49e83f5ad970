/** What core and the agent rely on in every SlotStore. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { IoError } from '../../core/errors.js';
import type { FlashDevice, SlotContents, SlotStore } from '../../core/ports.js';
import { readRange } from './byte-source-contract.js';
import { readBack } from './flash-contract.js';
import { patternBytes } from './test-bytes.js';

export interface SlotStoreUnderTest {
  /** Without any model; slots of at least 200,000 bytes, a journal of at least 2 blocks. */
  readonly store: SlotStore;
  /** The same medium after a reboot; the store before it is not used any more. */
  readonly reopen: () => SlotStore;
  readonly dispose?: () => void;
}

const OLD = patternBytes(150_001, 1);
const NEW = patternBytes(170_003, 2);

export function slotStoreContract(name: string, make: () => SlotStoreUnderTest): void {
  const withStore = (behaviour: string, check: (store: SlotStore, reopen: () => SlotStore) => void): void => {
    test(behaviour, () => {
      const { store, reopen, dispose } = make();
      try {
        check(store, reopen);
      } finally {
        dispose?.();
      }
    });
  };

  describe(`SlotStore contract: ${name}`, () => {
    withStore('starts with nothing', (store, reopen) => {
      for (const each of acrossReboot(store, reopen)) {
        assert.equal(each.active(), null);
        assert.equal(each.previous(), null);
        assert.equal(each.counterFloor(), 0);
        assert.throws(() => each.openActive(), IoError);
        assert.throws(() => each.rollback(), IoError);
      }
    });

    withStore('makes what was written and committed active', (store, reopen) => {
      update(store, OLD, 3);
      for (const each of acrossReboot(store, reopen)) {
        assert.deepEqual(each.active(), contentsOf(OLD, 3));
        assert.deepEqual(activeBytes(each), OLD);
        assert.equal(each.previous(), null);
      }
    });

    withStore('keeps the model before it as previous', (store, reopen) => {
      update(store, OLD, 1);
      update(store, NEW, 2);
      for (const each of acrossReboot(store, reopen)) {
        assert.deepEqual(activeBytes(each), NEW);
        assert.deepEqual(each.active(), contentsOf(NEW, 2));
        assert.deepEqual(each.previous(), contentsOf(OLD, 1));
      }
    });

    withStore('rolls back to previous', (store, reopen) => {
      update(store, OLD, 1);
      update(store, NEW, 2);
      store.rollback();
      for (const each of acrossReboot(store, reopen)) {
        assert.deepEqual(each.active(), contentsOf(OLD, 1));
        assert.deepEqual(activeBytes(each), OLD);
      }
    });

    withStore('changes nothing active while the other slot is written', (store, reopen) => {
      update(store, OLD, 1);
      const running = store.openActive();
      write(store.openInactive(NEW.length), NEW);
      assert.deepEqual(readRange(running, 0, OLD.length), OLD);
      for (const each of acrossReboot(store, reopen)) {
        assert.deepEqual(each.active(), contentsOf(OLD, 1));
        assert.deepEqual(activeBytes(each), OLD);
      }
    });

    withStore('forgets previous as soon as its slot is opened for writing', (store, reopen) => {
      update(store, OLD, 1);
      update(store, NEW, 2);
      store.openInactive(OLD.length);
      for (const each of acrossReboot(store, reopen)) {
        assert.equal(each.previous(), null);
        assert.throws(() => each.rollback(), IoError);
        assert.deepEqual(activeBytes(each), NEW);
      }
    });

    withStore('keeps the bytes of an interrupted update for its resume', (store, reopen) => {
      update(store, OLD, 1);
      const { blockLength } = store.openInactive(NEW.length).status();
      const half = Math.floor(NEW.length / 2 / blockLength) * blockLength;
      const flash = store.openInactive(NEW.length);
      write(flash, NEW.subarray(0, half));
      flash.sync();
      const again = reopen().openInactive(NEW.length);
      assert.deepEqual(readBack(again, 0, half), NEW.slice(0, half));
    });

    withStore('gives a slot at least as large as asked for', (store) => {
      for (const size of [0, 1, 65536, 65537, 200_000]) assert.ok(store.openInactive(size).status().size >= size);
    });

    withStore('raises the counter floor and never lowers it', (store, reopen) => {
      update(store, OLD, 7, 5);
      assert.equal(store.counterFloor(), 5);
      update(store, NEW, 8, 2);
      assert.equal(store.counterFloor(), 5);
      update(store, OLD, 9, 6);
      store.rollback();
      for (const each of acrossReboot(store, reopen)) assert.equal(each.counterFloor(), 6);
    });

    withStore('refuses a commit that no openInactive came before', (store) => {
      update(store, OLD, 1);
      update(store, NEW, 2);
      assert.throws(() => store.commit(contentsOf(OLD, 3), 0));
      assert.deepEqual(activeBytes(store), NEW);
      assert.deepEqual(store.previous(), contentsOf(OLD, 1));
    });

    withStore('keeps the journal until its update is committed', (store, reopen) => {
      update(store, OLD, 1);
      store.openInactive(NEW.length);
      const journal = store.journal();
      const { blocks, writeAlign } = journal.status();
      const record = patternBytes(16 * writeAlign);
      assert.ok(blocks >= 2);
      journal.eraseBlock(0);
      journal.program(0, record);
      journal.sync();
      const again = reopen();
      again.openInactive(NEW.length);
      assert.deepEqual(readBack(again.journal(), 0, record.length), record);
    });

    withStore('never shows a journal to an update that did not write it', (store, reopen) => {
      update(store, OLD, 1);
      for (const model of [NEW, OLD, NEW]) {
        const journal = store.journal();
        const { writeAlign, eraseValue } = journal.status();
        const start = readBack(journal, 0, 16 * writeAlign);
        assert.ok(start.every((byte) => byte === eraseValue));
        journal.program(0, patternBytes(16 * writeAlign));
        update(store, model, 1);
      }
      const journal = reopen().journal();
      assert.ok(readBack(journal, 0, 64).every((byte) => byte === journal.status().eraseValue));
    });

    withStore('updates many times over', (store) => {
      for (let round = 1; round <= 6; round++) {
        const model = round % 2 === 0 ? OLD : NEW;
        update(store, model, round);
        assert.deepEqual(activeBytes(store), model);
        assert.equal(store.previous()?.counter ?? 0, round - 1);
      }
    });
  });
}

/** The store, and once its user is done with that, what a reboot makes of it. */
function* acrossReboot(store: SlotStore, reopen: () => SlotStore): Generator<SlotStore> {
  yield store;
  yield reopen();
}

export function contentsOf(model: Uint8Array, counter: number): SlotContents {
  return { size: model.length, sha256: new Uint8Array(createHash('sha256').update(model).digest()), counter };
}

export function activeBytes(store: SlotStore): Uint8Array {
  const source = store.openActive();
  return readRange(source, 0, source.size);
}

/** A whole update, as the applier would do it. */
export function update(store: SlotStore, model: Uint8Array, counter: number, minimumCounter = 0): void {
  const flash = store.openInactive(model.length);
  write(flash, model);
  flash.sync();
  store.commit(contentsOf(model, counter), minimumCounter);
}

/** Erases and programs block by block; pads the last program to the write unit. */
export function write(flash: FlashDevice, bytes: Uint8Array): void {
  const { blockLength, writeAlign, eraseValue } = flash.status();
  for (let offset = 0; offset < bytes.length; offset += blockLength) {
    const run = bytes.subarray(offset, offset + blockLength);
    const padded = new Uint8Array(Math.ceil(run.length / writeAlign) * writeAlign).fill(eraseValue);
    padded.set(run);
    flash.eraseBlock(offset / blockLength);
    flash.program(offset, padded);
  }
}
