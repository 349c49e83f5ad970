import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NodeHasher } from '../../targets/node/hashing.js';
import { type NorGeometry, SimFlash, type SimOperation } from '../../targets/sim/nor-flash.js';
import { noise, sha256 } from '../patch/build-patch.test.js';
import { FlashTarget } from './flash-target.js';

const GEOMETRIES: readonly NorGeometry[] = [
  { size: 8192, blockLength: 1024, writeAlign: 1, eraseValue: 0xff },
  { size: 8192, blockLength: 1024, writeAlign: 16, eraseValue: 0x00 },
  { size: 8192, blockLength: 128, writeAlign: 32, eraseValue: 0xff },
  { size: 8192, blockLength: 4096, writeAlign: 256, eraseValue: 0xff },
];
const IO_BYTES = 256;

interface Opened {
  readonly flash: SimFlash;
  readonly operations: SimOperation[];
  readonly target: FlashTarget;
}

/** A slot that holds something else already. */
function open(geometry: NorGeometry, targetSize: number): Opened {
  const operations: SimOperation[] = [];
  const flash = new SimFlash(geometry, { onOperation: (operation) => operations.push(operation) });
  flash.program(0, noise(geometry.size, 99));
  operations.length = 0;
  return { flash, operations, target: openTarget(flash, targetSize) };
}

function openTarget(flash: SimFlash, targetSize: number): FlashTarget {
  return new FlashTarget({ flash, targetSize, hasher: new NodeHasher(), buffer: new Uint8Array(IO_BYTES) });
}

function read(flash: SimFlash, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  flash.read(0, bytes);
  return bytes;
}

function digestOf(target: FlashTarget): Uint8Array {
  const digest = new Uint8Array(32);
  while (!target.stepDigest(digest));
  return digest;
}

test('the flash holds what was written, in whatever pieces it came, and its hash is read back from there', () => {
  for (const geometry of GEOMETRIES) {
    for (const size of [0, 1, 255, 256, 1024, 5000, 8191, 8192]) {
      for (const piece of [1, 100, 256, 5000]) {
        const { flash, target } = open(geometry, size);
        const bytes = noise(size, size);
        for (let at = 0; at < size; at += piece) target.write(bytes.subarray(at, at + piece));
        assert.equal(target.written, size);
        target.finish();
        assert.deepEqual(read(flash, size), bytes);
        assert.deepEqual(digestOf(target), sha256(bytes));
      }
    }
  }
});

test('each block is erased once, just before its first program, and no other', () => {
  for (const geometry of GEOMETRIES) {
    const { operations, target } = open(geometry, 5000);
    target.write(noise(5000));
    target.finish();
    const erased = operations.filter(({ kind }) => kind === 'erase').map(({ offset }) => offset / geometry.blockLength);
    assert.deepEqual(
      erased,
      Array.from({ length: Math.ceil(5000 / geometry.blockLength) }, (_, block) => block),
    );
    operations.forEach(({ kind, offset }, i) => {
      if (kind === 'erase') assert.deepEqual([operations[i + 1]?.kind, operations[i + 1]?.offset], ['program', offset]);
    });
  }
});

test('the end is padded to the write unit with the value of erased flash', () => {
  const geometry = GEOMETRIES[1]!;
  const { flash, operations, target } = open(geometry, 1001);
  target.write(noise(1001));
  target.finish();
  assert.deepEqual(operations.at(-1), { kind: 'program', offset: 768, length: 240 });
  assert.deepEqual([...read(flash, 1008).subarray(1001)], new Array(7).fill(0));
});

test('a checkpoint lies on a block end and nowhere else, and everything before it is in the flash', () => {
  for (const geometry of GEOMETRIES) {
    const { flash, target } = open(geometry, 8192);
    const bytes = noise(8192);
    for (let at = 0; at < 8192; at += 64) {
      target.write(bytes.subarray(at, at + 64));
      const due = (at + 64) % geometry.blockLength === 0;
      assert.equal(target.checkpoint(), due);
      if (due) assert.deepEqual(read(flash, at + 64), bytes.subarray(0, at + 64));
    }
  }
});

test('resumes at any checkpoint, and erases what lies past it again, but nothing before', () => {
  for (const geometry of GEOMETRIES) {
    const bytes = noise(5000);
    for (let offset = 0; offset <= 5000; offset += geometry.blockLength) {
      const { flash } = open(geometry, 5000);
      const first = openTarget(flash, 5000);
      first.write(bytes.subarray(0, Math.min(offset + 300, 5000)));
      const before = Array.from({ length: flash.status().blocks }, (_, block) => flash.erasesOf(block));
      const second = openTarget(flash, 5000);
      second.resume(offset);
      assert.equal(second.written, offset);
      second.write(bytes.subarray(offset));
      second.finish();
      assert.deepEqual(digestOf(second), sha256(bytes));
      for (let block = 0; block * geometry.blockLength < offset; block++)
        assert.equal(flash.erasesOf(block), before[block]);
    }
  }
});

test('resumes at its end, also off the block grid, only to be hashed', () => {
  const geometry = GEOMETRIES[0]!;
  const { flash, operations, target } = open(geometry, 5001);
  target.write(noise(5001));
  target.finish();
  const before = operations.length;
  const again = openTarget(flash, 5001);
  again.resume(5001);
  again.finish();
  assert.equal(operations.length, before);
  assert.deepEqual(digestOf(again), sha256(noise(5001)));
});

test('hashing reads at most a buffer a step', () => {
  const { flash, target } = open(GEOMETRIES[0]!, 5000);
  target.write(noise(5000));
  target.finish();
  let largest = 0;
  const readFlash = flash.read.bind(flash);
  flash.read = (offset, into) => {
    largest = Math.max(largest, into.length);
    readFlash(offset, into);
  };
  let steps = 1;
  const digest = new Uint8Array(32);
  while (!target.stepDigest(digest)) steps++;
  assert.deepEqual([largest, steps], [IO_BYTES, Math.ceil(5000 / IO_BYTES)]);
});

test('a target larger than the slot is refused before anything is erased', () => {
  const flash = new SimFlash(GEOMETRIES[0]!);
  assert.throws(() => openTarget(flash, 8193), { name: 'InvalidPatch', code: 'FLASH_EXCEEDED' });
  assert.equal(flash.operations, 0);
});
