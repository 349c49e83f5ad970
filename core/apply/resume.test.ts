/** Going on from the journal, without power cuts: hil-tests/power-cuts.test.ts has those. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NodeHasher } from '../../targets/node/hashing.js';
import { copy, literal } from '../diff/pieces.js';
import { MemorySource } from '../memory-source.js';
import { buildPatch, noise, type PatchPlan, testSigner } from '../patch/build-patch.test.js';
import { encodeSignatures, makeSignature } from '../patch/signatures.js';
import type { ByteSource } from '../ports.js';
import { FlashRig, newBoot, type Part, type Update } from './flash-rig.test.js';
import { samplePatch } from './run-patch.test.js';

const PART: Part = { blockLength: 512, writeAlign: 4, eraseValue: 0xff };
const sample: Update = samplePatch();

class Stop extends Error {}

/** A boot that stops once the journal holds a checkpoint at or past `targetOffset`. */
function stopAt(rig: FlashRig, update: Update, targetOffset: number): number {
  const boot = newBoot();
  const { target } = rig.options(update);
  assert.ok(typeof target === 'function');
  const changes: Parameters<FlashRig['boot']>[1] = {
    boot,
    changes: {
      target: (header, buffer) => {
        const sink = target(header, buffer);
        const checkpoint = sink.checkpoint.bind(sink);
        let stopNext = false;
        sink.checkpoint = () => {
          const due = checkpoint();
          if (due && sink.written >= targetOffset) stopNext = true;
          return due;
        };
        const write = sink.write.bind(sink);
        sink.write = (bytes) => {
          if (stopNext) throw new Stop();
          write(bytes);
        };
        return sink;
      },
    },
  };
  assert.throws(() => rig.boot(update, changes), Stop);
  return boot.fedUpTo;
}

function countingSource(bytes: Uint8Array): { source: ByteSource; read: () => number } {
  const inner = new MemorySource(bytes);
  let count = 0;
  const source: ByteSource = {
    size: inner.size,
    read: (offset, into) => {
      count += into.length;
      inner.read(offset, into);
    },
  };
  return { source, read: () => count };
}

test('goes on at the segment behind the last checkpoint, in the frame that holds it, wherever that is', () => {
  for (const frameBytes of [64, 77, 200, 1024, 1 << 16]) {
    const update: Update = samplePatch({ header: { frameBytes } });
    for (let segment = 0; segment < 7; segment++) {
      const rig = new FlashRig(PART, update.target.length);
      stopAt(rig, update, 3072 + 1024 * segment);
      const checkpoint = rig.checkpoint(update)!;
      assert.equal(checkpoint.targetOffset, 3072 + 1024 * segment);
      const boot = rig.boot(update);
      const frame = update.geometry.frameAt(checkpoint.bodyOffset);
      assert.equal(checkpoint.frameIndex, frame);
      assert.equal(boot.resumedAt, update.preambleBytes + update.geometry.wireOffset(frame));
      rig.assertHolds(update.target);
    }
  }
});

test('does not hash the source again, and reads of it only what is left', () => {
  const rig = new FlashRig(PART, sample.target.length);
  stopAt(rig, sample, 11_111 - 871);
  const { source, read } = countingSource(sample.source);
  rig.boot(sample, { changes: { source } });
  assert.equal(read(), 0, 'the last segment is a literal');
});

test('refuses a base of another size that was put in its place meanwhile', () => {
  const rig = new FlashRig(PART, sample.target.length);
  stopAt(rig, sample, 4096);
  const source = new MemorySource(sample.source.subarray(1));
  assert.throws(() => rig.boot(sample, { changes: { source } }), { code: 'SOURCE_HASH_MISMATCH' });
});

test('resumes the same patch with other signatures: the journal knows the header, not where the body lies', () => {
  const rig = new FlashRig(PART, sample.target.length);
  stopAt(rig, sample, 5000);
  const signer = testSigner(1);
  const header = sample.bytes.subarray(0, sample.headerBytes);
  const signatures = encodeSignatures([makeSignature(header, signer, new NodeHasher())]);
  const signed: Update = {
    ...sample,
    bytes: new Uint8Array([...header, ...signatures, ...sample.bytes.subarray(sample.preambleBytes)]),
    preambleBytes: sample.headerBytes + signatures.length,
    trustedKeys: [signer.publicKey],
  };
  const boot = rig.boot(signed);
  assert.ok(boot.resumedAt > signed.preambleBytes);
  rig.assertHolds(sample.target);
});

test('goes inside a copy longer than a mebibyte, and not back to its start', () => {
  const source = noise(3 << 20);
  const target = source.slice(100, 100 + (5 << 19));
  const plan: PatchPlan = { source, target, segments: [{ kind: 'copy', length: target.length, source: 100 }] };
  const update: Update = { ...buildPatch({ ...plan, header: { profile: 'gateway' } }), source, target };
  const rig = new FlashRig({ blockLength: 65536, writeAlign: 1, eraseValue: 0xff }, target.length);
  stopAt(rig, update, 1 << 20);
  const checkpoint = rig.checkpoint(update)!;
  assert.deepEqual([checkpoint.segmentStart, checkpoint.targetOffset], [0, 1 << 20]);
  const counted = countingSource(source);
  rig.boot(update, { changes: { source: counted.source } });
  assert.equal(counted.read(), target.length - (1 << 20));
  rig.assertHolds(target);
});

test('a finished update resumes at the end of the file: it is hashed again and needs no byte of the body', () => {
  for (const frameBytes of [200, 1 << 16]) {
    const update: Update = samplePatch({ header: { frameBytes } });
    const rig = new FlashRig(PART, update.target.length);
    rig.boot(update);
    const operations = rig.part.operations;
    const boot = rig.boot(update);
    assert.equal(boot.resumedAt, update.bytes.length);
    assert.equal(rig.part.operations, operations, 'nothing is erased or programmed');
  }
});

test('the journal of another update is not gone on with', () => {
  const rig = new FlashRig(PART, sample.target.length);
  stopAt(rig, sample, 9000);
  const other: Update = samplePatch({ target: sample.target.slice().fill(1, 11_000) });
  assert.equal(rig.boot(other).resumedAt, other.preambleBytes);
  rig.assertHolds(other.target);
  assert.equal(rig.boot(sample).resumedAt, sample.preambleBytes, 'nor is the first one gone on with after that');
  rig.assertHolds(sample.target);
});

test('a target that does not read back is written afresh the next time, with the base verified again', () => {
  const rig = new FlashRig(PART, sample.target.length);
  stopAt(rig, sample, 9000);
  // The part forgot a bit of what the journal vouches for.
  rig.slot.eraseBlock(2);
  rig.slot.program(2 * 512, noise(512));
  assert.throws(() => rig.boot(sample), { code: 'TARGET_HASH_MISMATCH' });
  const { source, read } = countingSource(sample.source);
  assert.equal(rig.boot(sample, { changes: { source } }).resumedAt, sample.preambleBytes);
  assert.ok(read() > sample.source.length);
  rig.assertHolds(sample.target);
});

test('a stand-alone patch resumes too', () => {
  const target = noise(5000);
  const segments = [0, 1, 2, 3, 4].map(
    (i) => ({ kind: i % 2 === 0 ? 'stored' : 'zstd', pieces: [literal(i === 4 ? 904 : 1024)] }) as const,
  );
  const update: Update = {
    ...buildPatch({ target, segments, header: { segmentBytes: 1024, frameBytes: 128 } }),
    source: noise(0),
    target,
  };
  const rig = new FlashRig(PART, target.length);
  stopAt(rig, update, 2048);
  assert.ok(rig.boot(update).resumedAt > update.preambleBytes);
  rig.assertHolds(target);
});

test('without a journal every attempt starts afresh', () => {
  const rig = new FlashRig(PART, sample.target.length);
  stopAt(rig, sample, 9000);
  const { journal: _, ...options } = rig.options(sample);
  const boot = rig.boot(sample, { changes: { ...options, journal: undefined } as object });
  assert.equal(boot.resumedAt, sample.preambleBytes);
});

test('a copy op inside a segment is no place to go on from', () => {
  const source = noise(4096);
  const plan: PatchPlan = {
    source,
    target: source,
    segments: [{ kind: 'stored', pieces: [copy(4096, 0)] }],
    header: { segmentBytes: 4096 },
  };
  const update: Update = { ...buildPatch(plan), source, target: source };
  const rig = new FlashRig(PART, 4096);
  rig.boot(update);
  // One record when the base was verified, one when the target was whole.
  assert.equal(rig.journalErases(), 1);
  assert.equal(
    rig.part.operations - 8 - 1 - 16,
    1 + 2,
    "erases and programs of the slot, and the slot's old content, aside",
  );
});
