/** The simulated NOR flash beyond its port's contract: strictness, cuts, garbage, replay. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { IoError, MallornError } from '../core/errors.js';
import { FlashRegion } from '../core/flash-region.js';
import { type CutPlan, PowerCut, SimFlash, type SimOperation } from '../targets/sim/nor-flash.js';
import { Prng } from '../targets/sim/prng.js';
import { readBack } from './contracts/flash-contract.js';
import { patternBytes } from './contracts/test-bytes.js';

const GEOMETRY = { size: 4096, blockLength: 1024, writeAlign: 8, eraseValue: 0xff };

function cutDuring(flash: SimFlash, plan: CutPlan, work: () => void): void {
  flash.planCut(plan);
  assert.throws(work, PowerCut);
  assert.ok(flash.fired);
}

function whole(flash: SimFlash): Uint8Array {
  return readBack(flash, 0, flash.status().size);
}

describe('SimFlash rules', () => {
  test('a second program without an erase is an error, also of the same bytes or of erased ones', () => {
    const flash = new SimFlash(GEOMETRY);
    flash.program(16, new Uint8Array(8).fill(0xff));
    for (const bytes of [patternBytes(8), new Uint8Array(8).fill(0xff)]) {
      assert.throws(() => flash.program(16, bytes), { name: 'Error', message: /got a written unit at 16/ });
    }
    assert.throws(() => flash.program(0, patternBytes(64)), /got a written unit at 16/);
    flash.eraseBlock(0);
    flash.program(0, patternBytes(64));
  });

  test('broken rules and power cuts are no MallornErrors', () => {
    const flash = new SimFlash(GEOMETRY);
    assert.throws(() => flash.program(1, patternBytes(8)), isForeign);
    assert.throws(() => flash.eraseBlock(9), isForeign);
    flash.planCut({ operation: 0, kind: 'before' });
    assert.throws(() => flash.eraseBlock(0), isForeign);
  });

  test('a refused call changes and counts nothing', () => {
    const flash = new SimFlash(GEOMETRY);
    flash.program(0, patternBytes(8));
    const before = whole(flash);
    assert.throws(() => flash.program(0, patternBytes(8, 2)));
    assert.throws(() => flash.program(4090, patternBytes(16)));
    assert.equal(flash.operations, 1);
    assert.deepEqual(whole(flash), before);
  });

  test('counts erases for each block and operations in all, and shows each', () => {
    const seen: SimOperation[] = [];
    const flash = new SimFlash(GEOMETRY, { onOperation: (operation) => seen.push(operation) });
    flash.eraseBlock(2);
    flash.eraseBlock(2);
    flash.eraseBlock(0);
    flash.program(8, patternBytes(16));
    flash.program(0, new Uint8Array(0));
    flash.sync();
    whole(flash);
    assert.deepEqual(
      [0, 1, 2, 3].map((block) => flash.erasesOf(block)),
      [1, 0, 2, 0],
    );
    assert.equal(flash.operations, 4);
    assert.deepEqual(seen.at(-1), { kind: 'program', offset: 8, length: 16 });
    assert.deepEqual(seen[0], { kind: 'erase', offset: 2048, length: 1024 });
  });

  for (const geometry of [
    { ...GEOMETRY, size: 4095 },
    { ...GEOMETRY, writeAlign: 3 },
    { ...GEOMETRY, writeAlign: 0 },
    { ...GEOMETRY, eraseValue: 1 },
    { ...GEOMETRY, size: 0 },
    { ...GEOMETRY, pageLength: 12 },
    { ...GEOMETRY, pageLength: 768 },
  ]) {
    test(`refuses a geometry that does not add up: ${JSON.stringify(geometry)}`, () => {
      assert.throws(() => new SimFlash(geometry), /SimFlash: expected/);
    });
  }
});

describe('SimFlash cuts', () => {
  test('before and after leave the flash as it was and as it was to be', () => {
    for (const kind of ['before', 'after'] as const) {
      const flash = new SimFlash(GEOMETRY);
      cutDuring(flash, { operation: 0, kind }, () => flash.program(8, patternBytes(16)));
      flash.reboot();
      const expected = kind === 'before' ? new Uint8Array(16).fill(0xff) : patternBytes(16);
      assert.deepEqual(readBack(flash, 8, 16), expected);
      cutDuring(flash, { operation: 0, kind }, () => flash.eraseBlock(0));
      flash.reboot();
      assert.deepEqual(readBack(flash, 8, 16), kind === 'before' ? expected : new Uint8Array(16).fill(0xff));
    }
  });

  test('every operation throws until the reboot', () => {
    const flash = new SimFlash(GEOMETRY);
    cutDuring(flash, { operation: 0, kind: 'before' }, () => flash.eraseBlock(0));
    assert.throws(() => flash.eraseBlock(1), PowerCut);
    assert.throws(() => flash.program(0, patternBytes(8)), PowerCut);
    assert.throws(() => flash.read(0, new Uint8Array(1)), PowerCut);
    assert.throws(() => flash.sync(), PowerCut);
    assert.equal(flash.operations, 1);
    flash.reboot();
    flash.program(0, patternBytes(8));
  });

  test('a plan counts from when it was made, and one that never came did not fire', () => {
    const flash = new SimFlash(GEOMETRY);
    flash.eraseBlock(0);
    flash.planCut({ operation: 2, kind: 'before' });
    flash.eraseBlock(1);
    flash.eraseBlock(2);
    assert.ok(!flash.fired);
    assert.throws(() => flash.eraseBlock(3), PowerCut);
    flash.reboot();
    assert.ok(flash.fired);
    flash.planCut({ operation: 9, kind: 'before' });
    assert.ok(!flash.fired);
    flash.eraseBlock(3);
    assert.ok(!flash.fired);
  });

  for (const eraseValue of [0xff, 0x00]) {
    test(`a program torn at any byte: whole before it, bits of one unit moved, erased behind (${eraseValue})`, () => {
      const bytes = patternBytes(40, 5);
      for (let tornByte = 0; tornByte < bytes.length; tornByte++) {
        const flash = new SimFlash({ ...GEOMETRY, eraseValue }, { seed: tornByte });
        cutDuring(flash, { operation: 0, kind: 'torn', tornByte }, () => flash.program(1024, bytes));
        flash.reboot();
        const held = readBack(flash, 1024, bytes.length);
        const unitEnd = (Math.floor(tornByte / 8) + 1) * 8;
        assert.deepEqual(held.slice(0, tornByte), bytes.slice(0, tornByte));
        for (let i = tornByte; i < unitEnd; i++) {
          const wanted = bytes[i]! ^ eraseValue;
          assert.equal((held[i]! ^ eraseValue) & ~wanted, 0, 'only bits that were to move have moved');
        }
        assert.ok(held.slice(unitEnd).every((byte) => byte === eraseValue));
        assert.throws(() => flash.program(1024, bytes), { name: 'Error' });
        if (unitEnd < bytes.length) flash.program(1024 + unitEnd, bytes.subarray(unitEnd));
      }
    });
  }

  test('different seeds tear differently and the same seed the same', () => {
    const tear = (seed: number): string => {
      const flash = new SimFlash(GEOMETRY, { seed });
      flash.program(0, patternBytes(512));
      cutDuring(flash, { operation: 0, kind: 'torn' }, () => flash.program(1024, patternBytes(256)));
      flash.reboot();
      cutDuring(flash, { operation: 0, kind: 'torn' }, () => flash.eraseBlock(0));
      flash.reboot();
      return Buffer.from(whole(flash)).toString('hex');
    };
    const images = new Set(Array.from({ length: 20 }, (_, seed) => tear(seed)));
    assert.ok(images.size > 15, `got ${images.size} different images`);
    assert.equal(tear(7), tear(7));
  });

  test('a torn erase can be seen, wears the block, and must be done again before any byte is programmed', () => {
    for (let seed = 0; seed < 60; seed++) {
      const flash = new SimFlash(GEOMETRY, { seed });
      if (seed % 2 === 0) flash.program(0, patternBytes(1024));
      cutDuring(flash, { operation: 0, kind: 'torn' }, () => flash.eraseBlock(0));
      flash.reboot();
      assert.ok(readBack(flash, 0, 1024).some((byte) => byte !== 0xff));
      assert.equal(flash.erasesOf(0), 1);
      for (const offset of [0, 512, 1016])
        assert.throws(() => flash.program(offset, patternBytes(8)), { name: 'Error' });
      flash.eraseBlock(0);
      flash.program(0, patternBytes(1024));
    }
  });

  test('a tornByte outside the program is an error of the test', () => {
    const flash = new SimFlash(GEOMETRY);
    flash.planCut({ operation: 0, kind: 'torn', tornByte: 16 });
    assert.throws(() => flash.program(0, patternBytes(16)), /expected tornByte below 16, got 16/);
  });

  test('one cut stops every region of the part', () => {
    const flash = new SimFlash(GEOMETRY);
    const slot = new FlashRegion(flash, { firstBlock: 0, blocks: 2 });
    const journal = new FlashRegion(flash, { firstBlock: 2, blocks: 2 });
    cutDuring(flash, { operation: 0, kind: 'after' }, () => journal.program(0, patternBytes(8)));
    assert.throws(() => slot.eraseBlock(0), PowerCut);
    assert.throws(() => slot.sync(), PowerCut);
    flash.reboot();
    assert.deepEqual(readBack(flash, 2048, 8), patternBytes(8));
    assert.throws(() => new FlashRegion(flash, { firstBlock: 3, blocks: 2 }));
  });
});

describe('SimFlash faults', () => {
  const FAULTS = ['erase-error', 'program-error', 'read-error', 'erase-ignored', 'program-ignored'] as const;

  test('a bad block fails in its way alone, with a coded error where the part notices, and changes nothing', () => {
    for (const fault of FAULTS) {
      const flash = new SimFlash(GEOMETRY);
      flash.program(1024, patternBytes(8));
      flash.faults.set(1, fault);
      const failing = (work: () => void, kind: string): void => {
        if (fault === `${kind}-error`) assert.throws(work, { name: 'IoError', code: 'IO' });
        else work();
      };
      failing(() => readBack(flash, 1024, 8), 'read');
      failing(() => flash.program(1032, patternBytes(8, 2)), 'program');
      if (fault === 'program-ignored') assert.ok(readBack(flash, 1032, 8).every((byte) => byte === 0xff));
      failing(() => flash.eraseBlock(1), 'erase');
      if (fault === 'erase-ignored' || fault === 'erase-error') {
        assert.deepEqual(readBack(flash, 1024, 8), patternBytes(8));
      }
      flash.program(2048, patternBytes(8));
      flash.eraseBlock(2);
      flash.faults.clear();
      flash.eraseBlock(1);
      flash.program(1024, patternBytes(8));
    }
  });

  test('reads fail as often as they were told to', () => {
    const flash = new SimFlash(GEOMETRY);
    flash.faults.failReads(2);
    for (let i = 0; i < 2; i++) assert.throws(() => readBack(flash, 0, 8), IoError);
    assert.equal(readBack(flash, 0, 8).length, 8);
  });

  test('decay flips the bits it was told to, and a restore takes it and the faults back', () => {
    const flash = new SimFlash(GEOMETRY);
    const image = flash.snapshot();
    flash.rot(2050, 0x81);
    assert.equal(readBack(flash, 2050, 1)[0], 0x7e);
    flash.faults.set(0, 'erase-error');
    flash.restore(image);
    assert.ok(whole(flash).every((byte) => byte === 0xff));
    flash.eraseBlock(0);
  });

  test('a program over several pages is an operation for each, and may be cut between them', () => {
    const seen: SimOperation[] = [];
    const geometry = { ...GEOMETRY, pageLength: 256 };
    const flash = new SimFlash(geometry, { onOperation: (operation) => seen.push(operation) });
    const bytes = patternBytes(600);
    cutDuring(flash, { operation: 2, kind: 'before' }, () => flash.program(200, bytes));
    assert.deepEqual(
      seen.map(({ offset, length }) => [offset, length]),
      [
        [200, 56],
        [256, 256],
        [512, 256],
      ],
    );
    flash.reboot();
    assert.deepEqual(readBack(flash, 200, 312), bytes.slice(0, 312));
    assert.ok(readBack(flash, 512, 512).every((byte) => byte === 0xff));
  });

  test('a cut names its operation and the seed that replays it', () => {
    const flash = new SimFlash(GEOMETRY, { seed: 77 });
    flash.planCut({ operation: 0, kind: 'torn', tornByte: 3 });
    assert.throws(() => flash.program(0, patternBytes(8)), /torn@3 operation 0 \(total 0\), seed 77/);
  });
});

describe('SimFlash snapshots', () => {
  test('restore brings back bytes, rules, counters and power, again and again', () => {
    const flash = new SimFlash(GEOMETRY);
    flash.program(0, patternBytes(1024, 1));
    flash.eraseBlock(1);
    const image = flash.snapshot();
    const before = whole(flash);
    for (let round = 0; round < 3; round++) {
      flash.eraseBlock(0);
      flash.program(1016, patternBytes(16));
      cutDuring(flash, { operation: 0, kind: 'torn' }, () => flash.eraseBlock(3));
      flash.restore(image);
      assert.ok(!flash.fired);
      assert.equal(flash.operations, 2);
      assert.deepEqual(
        [0, 1, 2, 3].map((block) => flash.erasesOf(block)),
        [0, 1, 0, 0],
      );
      assert.deepEqual(whole(flash), before);
      assert.throws(() => flash.program(0, patternBytes(8)), { name: 'Error' });
      flash.program(3072, patternBytes(8));
      flash.restore(image);
    }
  });

  test('several snapshots do not disturb one another', () => {
    const flash = new SimFlash(GEOMETRY);
    const empty = flash.snapshot();
    flash.program(0, patternBytes(8));
    const one = flash.snapshot();
    flash.program(1024, patternBytes(8));
    const two = whole(flash);
    const both = flash.snapshot();
    flash.restore(empty);
    assert.ok(whole(flash).every((byte) => byte === 0xff));
    flash.program(2048, patternBytes(8));
    flash.restore(both);
    assert.deepEqual(whole(flash), two);
    flash.restore(one);
    assert.ok(readBack(flash, 8, 4088).every((byte) => byte === 0xff));
    flash.program(1024, patternBytes(8));
  });

  test('a plan does not survive a restore', () => {
    const flash = new SimFlash(GEOMETRY);
    const image = flash.snapshot();
    flash.planCut({ operation: 0, kind: 'before' });
    flash.restore(image);
    flash.eraseBlock(0);
    assert.ok(!flash.fired);
  });
});

test('Prng replays from its seed and stays within its limits', () => {
  const draw = (seed: number): number[] => {
    const random = new Prng(seed);
    return Array.from({ length: 50 }, () => random.below(10));
  };
  assert.deepEqual(draw(3), draw(3));
  assert.notDeepEqual(draw(3), draw(4));
  assert.equal(new Set(draw(3)).size, 10);
});

function isForeign(error: unknown): boolean {
  return error instanceof Error && !(error instanceof MallornError);
}
