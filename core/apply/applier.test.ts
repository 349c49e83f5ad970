import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { literal } from '../diff/pieces.js';
import { PROFILES } from '../limits.js';
import {
  buildPatch,
  copySegment,
  noise,
  rawZstd,
  sha256,
  storedSegment,
  zstdSegment,
} from '../patch/build-patch.test.js';
import type { PatchHeader } from '../patch/header.js';
import { declaredBufferBytes } from '../patch/header.js';
import { Applier, type PushResult } from './applier.js';
import { ANY, applied, feed, Probe, samplePatch } from './run-patch.test.js';

const sample = samplePatch();

/** Small seeded choices, so that a failing split repeats. */
function choices(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

describe('a patch', () => {
  test('gives its target fed whole, one byte at a time, and at random splits', () => {
    const splits = [(left: number) => left, () => 1, () => 7, () => 200];
    for (let seed = 1; seed <= 30; seed++) {
      const choose = choices(seed);
      splits.push((left) => choose(seed % 2 === 0 ? 400 : left + 1));
    }
    for (const split of splits) {
      const probe = new Probe();
      assert.deepEqual(applied(sample.bytes, probe.options(sample), probe.target, { split }), sample.target);
      assert.equal(probe.opened, 1);
    }
  });

  test('gives its target in frames from the smallest to larger than the body, for both profiles', () => {
    for (const profile of ['mcu', 'gateway'] as const) {
      for (const frameBytes of [64, 65, 100, 1024, 1 << 20]) {
        const patch = samplePatch({ header: { profile, frameBytes } });
        const probe = new Probe();
        assert.deepEqual(applied(patch.bytes, probe.options(patch), probe.target, { split: () => 61 }), patch.target);
      }
    }
  });

  test('may have an empty target', () => {
    for (const source of [noise(10), new Uint8Array(0)]) {
      const patch = buildPatch({ source, target: new Uint8Array(0), segments: [] });
      const probe = new Probe();
      assert.deepEqual(applied(patch.bytes, probe.options({ source }), probe.target), new Uint8Array(0));
      assert.ok(probe.target.finished);
    }
  });

  test('may change nothing: one copy of the whole source', () => {
    const source = noise(70_000);
    const patch = buildPatch({ source, target: source, segments: [{ kind: 'copy', length: 70_000, source: 0 }] });
    const probe = new Probe();
    assert.ok(patch.bytes.length < 220);
    assert.deepEqual(applied(patch.bytes, probe.options({ source }), probe.target), source);
  });

  test('may stand alone, and then does without a base and ignores one at hand', () => {
    const target = noise(3000, 5);
    const segments = [
      { kind: 'stored', pieces: [literal(1024)] },
      { kind: 'zstd', pieces: [literal(1976)] },
    ] as const;
    const patch = buildPatch({ target, segments, header: { segmentBytes: 2048 } });
    for (const source of [undefined, noise(50)]) {
      const probe = new Probe();
      assert.deepEqual(
        applied(patch.bytes, probe.options(source === undefined ? {} : { source }), probe.target),
        target,
      );
      assert.equal(probe.sourceReads, 0);
    }
  });

  test('that stands alone cannot read a base that is at hand', () => {
    const source = noise(100);
    // A copy op of 10 bytes, so that the result would depend on the device.
    const bytes = storedSegment(10, Uint8Array.of(2, 0, 10));
    const patch = buildPatch({
      target: source.subarray(0, 10),
      segments: [{ kind: 'raw', bytes }],
      header: { plainBytes: 3 },
    });
    const probe = new Probe();
    assert.throws(() => feed(new Applier(probe.options({ source })), patch.bytes), {
      code: 'BAD_OP',
      message: /source's 0 bytes/,
    });
  });
});

describe('push', () => {
  test('writes at most one I/O buffer, decompresses at most once and reads at most one buffer of the source', () => {
    for (const profile of ['mcu', 'gateway'] as const) {
      const source = noise(300_000);
      const patch = buildPatch({
        source,
        target: new Uint8Array([...source.subarray(0, 200_000), ...noise(1000)]),
        segments: [
          { kind: 'copy', length: 200_000, source: 0 },
          { kind: 'zstd', pieces: [literal(1000)], dictionary: { offset: 5, length: 150_000 } },
        ],
        header: { profile },
      });
      const { ioBytes } = PROFILES[profile];
      const probe = new Probe();
      const applier = new Applier(probe.options({ source }));
      let seen = { written: 0, decompressed: 0, reads: 0 };
      const onPush = (): void => {
        const now = { written: probe.target.written, decompressed: probe.decompressed, reads: probe.sourceReads };
        assert.ok(now.written - seen.written <= ioBytes);
        assert.ok(now.decompressed - seen.decompressed <= 1);
        assert.ok(now.reads - seen.reads <= 1);
        seen = now;
      };
      feed(applier, patch.bytes, { onPush });
      assert.equal(seen.written, 201_000);
    }
  });

  test('takes whole chunks when it asks for more, and answers done once and for all', () => {
    const probe = new Probe();
    const applier = new Applier(probe.options(sample));
    const answers: PushResult['kind'][] = [];
    feed(applier, sample.bytes, { split: () => 100, onPush: ({ kind }) => answers.push(kind) });
    assert.equal(answers.at(-1), 'done');
    assert.equal(answers.indexOf('done'), answers.length - 1);
    assert.deepEqual(applier.push(new Uint8Array(0)), { kind: 'done', consumed: 0 });
    assert.deepEqual(applier.actualTarget, sha256(sample.target));
    applier.end();
  });

  test('after it threw throws again: half a step is not gone on with', () => {
    const probe = new Probe();
    const applier = new Applier(probe.options({ source: noise(10) }));
    assert.throws(() => feed(applier, sample.bytes), { code: 'SOURCE_HASH_MISMATCH' });
    assert.throws(() => applier.push(new Uint8Array(0)), /an applier that threw/);
  });

  test('tells header and progress only once the header is believed', () => {
    const probe = new Probe();
    const applier = new Applier(probe.options(sample));
    applier.push(sample.bytes.subarray(0, sample.preambleBytes - 1));
    assert.equal(applier.header, null);
    assert.equal(applier.targetOffset, 0);
    applier.push(sample.bytes.subarray(sample.preambleBytes - 1, sample.preambleBytes));
    assert.deepEqual(applier.header, sample.header);
    assert.deepEqual(applier.actualTarget, new Uint8Array(32));
  });
});

describe('declared buffers', () => {
  test('are what the applier asks for, once, and with one byte less in the policy it refuses', () => {
    const declared = declaredBufferBytes(sample.header);
    const enough = new Probe();
    applied(sample.bytes, enough.options(sample, { policy: { ...ANY, maxBufferBytes: declared } }), enough.target);
    assert.deepEqual(enough.memoryBytes, [declared]);
    const short = new Probe();
    const options = short.options(sample, { policy: { ...ANY, maxBufferBytes: declared - 1 } });
    assert.throws(() => feed(new Applier(options), sample.bytes), { code: 'BUFFERS_EXCEEDED' });
    assert.deepEqual(short.memoryBytes, []);
    short.assertUntouched();
  });

  test('are enough: nothing outside them is written, and every byte of them has a use', () => {
    const guard = 64;
    const probe = new Probe();
    let arena = new Uint8Array(0);
    const memory = (byteLength: number): Uint8Array => {
      arena = new Uint8Array(byteLength + 2 * guard).fill(0xa5);
      return arena.subarray(guard, guard + byteLength);
    };
    assert.deepEqual(applied(sample.bytes, probe.options(sample, { memory }), probe.target), sample.target);
    const inside = arena.subarray(guard, arena.length - guard);
    assert.ok(arena.subarray(0, guard).every((byte) => byte === 0xa5));
    assert.ok(arena.subarray(arena.length - guard).every((byte) => byte === 0xa5));
    // All but the second I/O buffer, which belongs to the target and which this one does not use.
    assert.ok(longestRun(inside.subarray(0, inside.length - PROFILES.mcu.ioBytes), 0xa5) < 8);
  });

  test('that are less than the body needs make the segment bad, not the buffers larger', () => {
    const { packedBytes, plainBytes, dictionaryBytes } = sample.header;
    for (const header of [
      { packedBytes: packedBytes - 1 },
      { plainBytes: plainBytes - 1 },
      { dictionaryBytes: dictionaryBytes - 1 },
    ]) {
      const patch = samplePatch({ header });
      const probe = new Probe();
      assert.throws(() => feed(new Applier(probe.options(patch)), patch.bytes), { code: 'BAD_SEGMENT' });
    }
  });
});

function longestRun(bytes: Uint8Array, value: number): number {
  let longest = 0;
  let run = 0;
  for (const byte of bytes) {
    run = byte === value ? run + 1 : 0;
    longest = Math.max(longest, run);
  }
  return longest;
}

describe('the source', () => {
  test('that is another one is refused before a target is opened', () => {
    const flipped = sample.source.slice();
    flipped[8999]! ^= 1;
    for (const source of [
      flipped,
      sample.source.subarray(1),
      new Uint8Array([...sample.source, 0]),
      new Uint8Array(0),
    ]) {
      const probe = new Probe();
      const applier = new Applier(probe.options({ source }));
      assert.throws(() => feed(applier, sample.bytes), { code: 'SOURCE_HASH_MISMATCH' });
      probe.assertUntouched();
      assert.deepEqual(applier.actualTarget, new Uint8Array(32), 'no hash of the source passes for one of the target');
    }
  });

  test('that the caller has verified is not hashed again, but must have its size', () => {
    const probe = new Probe();
    const options = probe.options(sample, { sourceVerified: true });
    const applier = new Applier(options);
    applier.push(sample.bytes.subarray(0, sample.preambleBytes));
    assert.equal(probe.sourceReads, 0);
    assert.equal(probe.opened, 1);
    const short = new Probe();
    const shorter = short.options({ source: sample.source.subarray(1) }, { sourceVerified: true });
    assert.throws(() => feed(new Applier(shorter), sample.bytes), { code: 'SOURCE_HASH_MISMATCH' });
    short.assertUntouched();
  });

  test('is not read before the header is believed, and the target not opened before the source is', () => {
    const probe = new Probe();
    const applier = new Applier(probe.options(sample));
    applier.push(sample.bytes.subarray(0, sample.preambleBytes - 1));
    assert.equal(probe.sourceReads, 0);
    let rest = sample.bytes.subarray(sample.preambleBytes - 1);
    let hashing = 0;
    while (probe.opened === 0) {
      assert.equal(probe.target.written, 0);
      rest = rest.subarray(applier.push(rest).consumed);
      hashing++;
    }
    assert.equal(hashing, Math.ceil(sample.source.length / PROFILES.mcu.ioBytes));
  });
});

describe('a target that comes out wrong', () => {
  test('is refused and its hash told', () => {
    const header: Partial<PatchHeader> = { targetHash: noise(32) };
    const patch = samplePatch({ header });
    const probe = new Probe();
    const applier = new Applier(probe.options(patch));
    assert.throws(() => feed(applier, patch.bytes), { code: 'TARGET_HASH_MISMATCH' });
    assert.deepEqual(applier.actualTarget, sha256(patch.target));
  });
});

describe('a body that its header does not promise', () => {
  const source = noise(2000);
  const target = source.subarray(0, 1500);
  const bodyOf = (...segments: Uint8Array[]) => segments.map((bytes) => ({ kind: 'raw', bytes }) as const);
  const refuse = (segments: readonly { kind: 'raw'; bytes: Uint8Array }[], code: string, message: RegExp): void => {
    const header = { plainBytes: 1000, packedBytes: 1000, segmentBytes: 1024, frameBytes: 64 };
    const patch = buildPatch({ source, target, segments, header });
    for (const split of [(left: number) => left, () => 1]) {
      const probe = new Probe();
      assert.throws(() => feed(new Applier(probe.options({ source })), patch.bytes, { split }), { code, message });
    }
  };

  test('because it ends early is refused where it ends', () => {
    refuse(bodyOf(copySegment(0, 1000, 0)), 'BAD_SEGMENT', /ends 500 target bytes early/);
    refuse(
      bodyOf(copySegment(0, 1000, 0), copySegment(1000, 500, 1000).subarray(0, 2)),
      'BAD_SEGMENT',
      /ends 500 target bytes early/,
    );
    const stored = storedSegment(500, Uint8Array.of(0, ...noise(500)));
    refuse(
      bodyOf(copySegment(0, 1000, 0), stored.subarray(0, stored.length - 1)),
      'BAD_SEGMENT',
      /ends 500 target bytes early/,
    );
  });

  test('because it goes on after the last target byte is refused', () => {
    refuse(
      bodyOf(copySegment(0, 1500, 0), new Uint8Array(1)),
      'BAD_SEGMENT',
      /expected the last segment to end the body, got 1 more/,
    );
    refuse(
      bodyOf(copySegment(0, 1500, 0), copySegment(1500, 1, 0)),
      'BAD_SEGMENT',
      /expected the last segment to end the body/,
    );
  });

  test('because a segment is malformed is refused', () => {
    refuse(bodyOf(copySegment(0, 1501, 0)), 'BAD_SEGMENT', /1 to 1500 target bytes/);
    refuse(
      bodyOf(zstdSegment({ at: 0, length: 1024, plainBytes: 990, packed: noise(100) })),
      'BAD_SEGMENT',
      /zstd payload/,
    );
    refuse(bodyOf(storedSegment(1024, noise(900).fill(0xff))), 'BAD_OP', /ops within/);
  });
});

describe('a device without zstd', () => {
  test('takes patches that need none', () => {
    const target = noise(1000);
    const patch = buildPatch({ target, segments: [{ kind: 'stored', pieces: [literal(1000)] }] });
    const probe = new Probe();
    assert.deepEqual(applied(patch.bytes, probe.options({}, { decompressor: null }), probe.target), target);
  });

  test('refuses a patch that declares zstd payloads, and a zstd segment in one that declares none', () => {
    const declared = new Probe();
    assert.throws(() => feed(new Applier(declared.options(sample, { decompressor: null })), sample.bytes), {
      code: 'UNSUPPORTED_CODEC',
    });
    declared.assertUntouched();
    const target = noise(100);
    for (const packed of [new Uint8Array(0), rawZstd(target, target)]) {
      const bytes = zstdSegment({ at: 0, length: 100, plainBytes: 100, packed });
      const patch = buildPatch({ target, segments: [{ kind: 'raw', bytes }], header: { plainBytes: 200 } });
      const probe = new Probe();
      const applier = new Applier(probe.options({}, { decompressor: null }));
      assert.throws(() => feed(applier, patch.bytes), { code: 'BAD_SEGMENT', message: /packed size/ });
    }
  });
});
