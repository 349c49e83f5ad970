import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type NorGeometry, PowerCut, SimFlash } from '../../targets/sim/nor-flash.js';
import { writeU32, writeU64 } from '../bytes.js';
import { crc32 } from '../crc32.js';
import { noise } from '../patch/build-patch.test.js';
import { type Checkpoint, Journal, type UpdateState } from './journal.js';

const UPDATE = noise(16, 1);
const RECORD_BYTES = 76;

function geometry(changes: Partial<NorGeometry> = {}): NorGeometry {
  return { size: 1024, blockLength: 512, writeAlign: 4, eraseValue: 0xff, ...changes };
}

const GEOMETRIES: readonly NorGeometry[] = [
  geometry(),
  geometry({ writeAlign: 1 }),
  geometry({ writeAlign: 16, eraseValue: 0 }),
  geometry({ writeAlign: 32, size: 2048 }),
  // One record a block.
  geometry({ blockLength: 128, size: 384, writeAlign: 128 }),
];

/** As they are numbered in SPEC.md. */
const STATES: readonly UpdateState[] = ['none', 'source-verified', 'overwriting', 'mixed', 'whole', 'needs-full-image'];

function checkpoint(n: number): Checkpoint {
  return {
    segmentStart: 2 ** 47 + n,
    targetOffset: 2 ** 47 + 3 * n + 5,
    bodyOffset: 2 ** 40 + n,
    frameHash: noise(16, n),
    frameIndex: 2 ** 31 + n,
    state: STATES[n % 6]!,
    scratchSlot: 2 ** 31 + n,
  };
}

function reopened(flash: SimFlash): Checkpoint | null {
  flash.reboot();
  return new Journal(flash).load(UPDATE);
}

describe('a journal', () => {
  test('gives back the newest record, round and round its blocks, through the same and a new object', () => {
    for (const sizes of GEOMETRIES) {
      const flash = new SimFlash(sizes);
      let journal = new Journal(flash);
      assert.equal(journal.load(UPDATE), null);
      for (let n = 1; n <= 60; n++) {
        journal.append(UPDATE, checkpoint(n));
        assert.deepEqual(journal.load(UPDATE), checkpoint(n));
        assert.deepEqual(reopened(flash), checkpoint(n));
        if (n % 7 === 0) journal = new Journal(flash);
      }
      const erases = Array.from({ length: flash.status().blocks }, (_, block) => flash.erasesOf(block));
      assert.ok(Math.max(...erases) - Math.min(...erases) <= 1, `worn evenly: ${erases}`);
      const perBlock = Math.floor(sizes.blockLength / (Math.ceil(RECORD_BYTES / sizes.writeAlign) * sizes.writeAlign));
      assert.equal(
        erases.reduce((sum, count) => sum + count),
        Math.ceil(60 / perBlock),
      );
    }
  });

  test('knows only the update that wrote last', () => {
    const flash = new SimFlash(geometry());
    const journal = new Journal(flash);
    journal.append(noise(16, 9), checkpoint(1));
    assert.equal(journal.load(UPDATE), null);
    journal.append(UPDATE, checkpoint(2));
    assert.equal(journal.load(noise(16, 9)), null, 'the older update lost its place in the slot');
    assert.deepEqual(reopened(flash), checkpoint(2));
  });

  test('keeps what it was given, also when the caller goes on using its buffers', () => {
    const journal = new Journal(new SimFlash(geometry()));
    const frameHash = noise(16, 1);
    const update = UPDATE.slice();
    journal.append(update, { ...checkpoint(1), frameHash });
    frameHash.fill(0);
    update.fill(0);
    assert.deepEqual(journal.load(UPDATE), checkpoint(1));
  });

  test('needs two blocks that hold a record each', () => {
    for (const sizes of [
      geometry({ size: 512 }),
      geometry({ blockLength: 64, writeAlign: 4 }),
      geometry({ blockLength: 128, size: 128 }),
    ]) {
      assert.throws(() => new Journal(new SimFlash(sizes)), { name: 'IoError', message: /at least 2 blocks/ });
    }
  });

  test('is laid out as SPEC.md says', () => {
    const flash = new SimFlash(geometry());
    new Journal(flash).append(UPDATE, checkpoint(4));
    const bytes = new Uint8Array(RECORD_BYTES);
    flash.read(0, bytes);
    assert.deepEqual(bytes, record(1, checkpoint(4)));
  });

  test('begins in a region full of garbage', () => {
    const flash = new SimFlash(geometry());
    flash.program(0, noise(1024));
    const journal = new Journal(flash);
    assert.equal(journal.load(UPDATE), null);
    journal.append(UPDATE, checkpoint(1));
    assert.deepEqual(reopened(flash), checkpoint(1));
  });

  test('goes on when the sequence number wraps', () => {
    const flash = new SimFlash(geometry());
    flash.program(0, record(0xfffffffe, checkpoint(1)));
    const journal = new Journal(flash);
    for (let n = 2; n <= 20; n++) {
      journal.append(UPDATE, checkpoint(n));
      assert.deepEqual(reopened(flash), checkpoint(n));
    }
  });
});

/** A record, written down a second time from SPEC.md. */
function record(sequence: number, at: Checkpoint): Uint8Array {
  const bytes = new Uint8Array(RECORD_BYTES);
  bytes.set([0x4d, 0x4c, 0x4a, 0x31]); // "MLJ1"
  writeU32(bytes, 4, sequence);
  bytes.set(UPDATE, 8);
  bytes.set(at.frameHash, 24);
  writeU32(bytes, 40, at.scratchSlot);
  writeU32(bytes, 44, at.frameIndex);
  writeU64(bytes, 48, at.bodyOffset);
  writeU64(bytes, 56, at.targetOffset);
  writeU64(bytes, 64, at.targetOffset - at.segmentStart);
  bytes[71] = STATES.indexOf(at.state);
  writeU32(bytes, 72, crc32(bytes, 0, 72));
  return bytes;
}

describe('a journal under power cuts', () => {
  /** Cuts the append of record `last` at its operation `operation`, reboots, and goes on to append ten more. */
  function survive(
    sizes: NorGeometry,
    last: number,
    cut: { operation: number; kind: 'before' | 'after' | 'torn'; tornByte?: number },
  ): void {
    const flash = new SimFlash(sizes, { seed: last * 1000 + (cut.tornByte ?? 0) });
    const journal = new Journal(flash);
    for (let n = 1; n < last; n++) journal.append(UPDATE, checkpoint(n));
    flash.planCut(cut);
    assert.throws(() => journal.append(UPDATE, checkpoint(last)), PowerCut);
    assert.ok(flash.fired);
    const found = reopened(flash);
    const expected = [last - 1, last].map((n) => (n === 0 ? null : checkpoint(n)));
    assert.ok(
      expected.some((one) => JSON.stringify(one) === JSON.stringify(found)),
      `record ${last - 1} or ${last}`,
    );
    if (cut.kind === 'after' && cut.operation === operations(sizes, last) - 1)
      assert.deepEqual(found, checkpoint(last));
    const next = new Journal(flash);
    for (let n = last; n < last + 10; n++) {
      next.append(UPDATE, checkpoint(n));
      assert.deepEqual(reopened(flash), checkpoint(n));
    }
  }

  /** Erases and programs that appending record `n` takes. */
  function operations(sizes: NorGeometry, n: number): number {
    const perBlock = Math.floor(sizes.blockLength / (Math.ceil(RECORD_BYTES / sizes.writeAlign) * sizes.writeAlign));
    return (n - 1) % perBlock === 0 ? 2 : 1;
  }

  test('keeps the record before, or the new one whole, at every operation of every append', () => {
    let cuts = 0;
    for (const sizes of GEOMETRIES) {
      for (let last = 1; last <= 14; last++) {
        for (let operation = 0; operation < operations(sizes, last); operation++) {
          for (const kind of ['before', 'after', 'torn'] as const) {
            survive(sizes, last, { operation, kind });
            cuts++;
          }
        }
      }
    }
    assert.ok(cuts > 250);
  });

  test('keeps the record before, or the new one whole, torn at each of its bytes', () => {
    for (const sizes of GEOMETRIES) {
      const length = Math.ceil(RECORD_BYTES / sizes.writeAlign) * sizes.writeAlign;
      for (let tornByte = 0; tornByte < length; tornByte++) {
        for (const last of [3, 6, 7])
          survive(sizes, last, { operation: operations(sizes, last) - 1, kind: 'torn', tornByte });
      }
    }
  });

  test('starts afresh where every record was torn, and does not trust one of them', () => {
    const flash = new SimFlash(geometry());
    for (let attempt = 0; attempt < 20; attempt++) {
      flash.reboot();
      const journal = new Journal(flash);
      assert.equal(journal.load(UPDATE), null);
      flash.planCut({ operation: attempt % 6 === 0 ? 1 : 0, kind: 'torn', tornByte: 40 });
      assert.throws(() => journal.append(UPDATE, checkpoint(1)), PowerCut);
      assert.ok(flash.fired);
    }
    flash.reboot();
    new Journal(flash).append(UPDATE, checkpoint(1));
    assert.deepEqual(reopened(flash), checkpoint(1));
  });

  test('does not take an old record for new after an interrupted erase', () => {
    // Enough seeds to see every way an erase stops: old records may survive in the block that was being erased.
    for (let seed = 1; seed <= 40; seed++) {
      const flash = new SimFlash(geometry(), { seed });
      const journal = new Journal(flash);
      for (let n = 1; n <= 12; n++) journal.append(UPDATE, checkpoint(n));
      flash.planCut({ operation: 0, kind: 'torn' });
      assert.throws(() => journal.append(UPDATE, checkpoint(13)), PowerCut);
      assert.deepEqual(reopened(flash), checkpoint(12));
    }
  });
});
