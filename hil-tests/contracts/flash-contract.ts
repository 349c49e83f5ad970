/** What core relies on in every FlashDevice. Each adapter runs it; a new adapter starts here. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { FlashDevice } from '../../core/ports.js';
import { patternBytes } from './test-bytes.js';

export interface FlashUnderTest {
  /** At least 3 blocks, content unspecified. */
  readonly device: FlashDevice;
  /** The same medium through a new adapter, as after a reboot. */
  readonly reopen?: () => FlashDevice;
  readonly dispose?: () => void;
}

export interface FlashContractOptions {
  /** False for devices that document that an erased block reads as anything. Default true. */
  readonly readsErased?: boolean;
}

export function flashContract(name: string, make: () => FlashUnderTest, options: FlashContractOptions = {}): void {
  const readsErased = options.readsErased ?? true;
  const withFlash = (behaviour: string, check: (flash: FlashDevice, tested: FlashUnderTest) => void): void => {
    test(behaviour, () => {
      const tested = make();
      try {
        check(tested.device, tested);
      } finally {
        tested.dispose?.();
      }
    });
  };

  describe(`FlashDevice contract: ${name}`, () => {
    withFlash('reports a geometry that adds up', (flash) => {
      const { size, blockLength, blocks, writeAlign, eraseValue } = flash.status();
      assert.equal(size, blockLength * blocks);
      assert.ok(blocks >= 3, 'the contract needs 3 blocks');
      assert.equal(blockLength % writeAlign, 0);
      assert.ok(eraseValue === 0xff || eraseValue === 0x00);
    });

    withFlash('reads back a whole programmed block', (flash) => {
      const { blockLength } = flash.status();
      const bytes = patternBytes(blockLength);
      flash.eraseBlock(1);
      flash.program(blockLength, bytes);
      assert.deepEqual(readBack(flash, blockLength, blockLength), bytes);
    });

    withFlash('programs an erased block piece by piece, in any order', (flash) => {
      const { writeAlign, blockLength } = flash.status();
      const bytes = patternBytes(4 * writeAlign);
      flash.eraseBlock(0);
      for (const piece of [2, 0, 3, 1]) {
        flash.program(piece * writeAlign, bytes.subarray(piece * writeAlign, (piece + 1) * writeAlign));
      }
      flash.program(blockLength - writeAlign, bytes.subarray(0, writeAlign));
      assert.deepEqual(readBack(flash, 0, bytes.length), bytes);
      assert.deepEqual(readBack(flash, blockLength - writeAlign, writeAlign), bytes.subarray(0, writeAlign));
    });

    withFlash('programs across a block boundary', (flash) => {
      const { blockLength, writeAlign } = flash.status();
      const bytes = patternBytes(2 * writeAlign);
      flash.eraseBlock(1);
      flash.eraseBlock(2);
      flash.program(2 * blockLength - writeAlign, bytes);
      assert.deepEqual(readBack(flash, 2 * blockLength - writeAlign, bytes.length), bytes);
    });

    withFlash('reads any range, aligned or not, and fills no more than the buffer', (flash) => {
      const { blockLength } = flash.status();
      const bytes = patternBytes(blockLength);
      flash.eraseBlock(0);
      flash.program(0, bytes);
      for (const [offset, length] of [
        [0, 0],
        [1, 1],
        [3, 5],
        [blockLength - 1, 1],
      ] as const) {
        const surround = new Uint8Array(length + 4).fill(0xa5);
        flash.read(offset, surround.subarray(2, 2 + length));
        assert.deepEqual(surround.slice(2, 2 + length), bytes.slice(offset, offset + length));
        assert.deepEqual([...surround.slice(0, 2), ...surround.slice(2 + length)], [0xa5, 0xa5, 0xa5, 0xa5]);
      }
    });

    withFlash('keeps its own copy of what was programmed', (flash) => {
      const { writeAlign } = flash.status();
      const bytes = patternBytes(writeAlign);
      flash.eraseBlock(0);
      flash.program(0, bytes);
      bytes.fill(0x5a);
      assert.deepEqual(readBack(flash, 0, writeAlign), patternBytes(writeAlign));
    });

    withFlash('erases one block and leaves its neighbours', (flash) => {
      const { blockLength } = flash.status();
      for (const block of [0, 1, 2]) {
        flash.eraseBlock(block);
        flash.program(block * blockLength, patternBytes(blockLength, block));
      }
      flash.eraseBlock(1);
      assert.deepEqual(readBack(flash, 0, blockLength), patternBytes(blockLength, 0));
      assert.deepEqual(readBack(flash, 2 * blockLength, blockLength), patternBytes(blockLength, 2));
    });

    withFlash('programs a block again after an erase', (flash) => {
      const { blockLength } = flash.status();
      for (const salt of [1, 2]) {
        flash.eraseBlock(1);
        flash.program(blockLength, patternBytes(blockLength, salt));
        assert.deepEqual(readBack(flash, blockLength, blockLength), patternBytes(blockLength, salt));
      }
    });

    withFlash('reaches its last byte', (flash) => {
      const { size, blocks, writeAlign } = flash.status();
      flash.eraseBlock(blocks - 1);
      flash.program(size - writeAlign, patternBytes(writeAlign));
      assert.deepEqual(readBack(flash, size - writeAlign, writeAlign), patternBytes(writeAlign));
    });

    withFlash('throws on anything outside the device', (flash) => {
      const { size, blocks, writeAlign } = flash.status();
      flash.eraseBlock(blocks - 1);
      assert.throws(() => flash.eraseBlock(blocks));
      assert.throws(() => flash.eraseBlock(-1));
      assert.throws(() => flash.eraseBlock(0.5));
      assert.throws(() => flash.read(size, new Uint8Array(1)));
      assert.throws(() => flash.read(-1, new Uint8Array(1)));
      assert.throws(() => flash.read(size - 1, new Uint8Array(2)));
      assert.throws(() => flash.program(size, new Uint8Array(writeAlign)));
      assert.throws(() => flash.program(-writeAlign, new Uint8Array(writeAlign)));
      assert.throws(() => flash.program(size - writeAlign, new Uint8Array(2 * writeAlign)));
    });

    withFlash('throws on a program off the write unit', (flash) => {
      const { writeAlign } = flash.status();
      if (writeAlign === 1) return;
      flash.eraseBlock(0);
      assert.throws(() => flash.program(1, new Uint8Array(writeAlign)));
      assert.throws(() => flash.program(0, new Uint8Array(writeAlign - 1)));
    });

    if (readsErased) {
      withFlash('reads an erased block, and what was not programmed of it, as eraseValue', (flash) => {
        const { blockLength, writeAlign, eraseValue } = flash.status();
        flash.eraseBlock(1);
        flash.program(blockLength, patternBytes(blockLength));
        flash.eraseBlock(1);
        assert.ok(readBack(flash, blockLength, blockLength).every((byte) => byte === eraseValue));
        flash.program(blockLength + writeAlign, patternBytes(writeAlign));
        assert.ok(readBack(flash, blockLength, writeAlign).every((byte) => byte === eraseValue));
        assert.ok(readBack(flash, blockLength + 2 * writeAlign, writeAlign).every((byte) => byte === eraseValue));
      });
    }

    withFlash('keeps what was synced for the next to open it', (flash, { reopen }) => {
      if (reopen === undefined) return;
      const { blockLength } = flash.status();
      flash.eraseBlock(1);
      flash.program(blockLength, patternBytes(blockLength));
      flash.sync();
      const reopened = reopen();
      assert.deepEqual(reopened.status(), flash.status());
      assert.deepEqual(readBack(reopened, blockLength, blockLength), patternBytes(blockLength));
    });
  });
}

export function readBack(flash: FlashDevice, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  flash.read(offset, bytes);
  return bytes;
}
