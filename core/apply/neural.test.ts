/** Neural patches through the applier: in any pieces, within the declared memory, on devices that know both classes or one. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { NodeHasher } from '../../targets/node/hashing.js';
import { Prng } from '../../targets/sim/prng.js';
import { createMixedModels } from '../codec/mixed-models.js';
import { NEURAL_CONTEXT_BYTES } from '../codec/neural-runner.js';
import { literal } from '../diff/pieces.js';
import { MallornError } from '../errors.js';
import { buildPatch, neuralSegment, noise, testSigner, zstdSegment } from '../patch/build-patch.test.js';
import { declaredBufferBytes } from '../patch/header.js';
import { emptySegmentHeader, readSegmentHeader, SEGMENT_NEURAL, SEGMENT_ZSTD } from '../patch/segment.js';
import { Applier, type ApplierOptions } from './applier.js';
import { DigestTarget } from './digest-target.js';
import { FlashRig } from './flash-rig.test.js';
import { ANY, applied, feed, MemoryTarget, neuralSample, Probe, type Sample } from './run-patch.test.js';

const TRUSTED = testSigner(1);
const SAMPLES = [0, 1].map((decodeClass) => neuralSample(decodeClass as 0 | 1));
const MCU = SAMPLES[0]!;
const GATEWAY = SAMPLES[1]!;

/** What a device of the patch's own class has: one of class 0 knows neither zstd nor the byte model. */
function portsFor(patch: Sample): Partial<ApplierOptions> {
  return patch.header.decodeClass === 0 ? { decompressor: null } : { mixedModels: createMixedModels };
}

function refusal(patch: Uint8Array, probe: Probe, options: ApplierOptions): MallornError {
  try {
    feed(new Applier(options), patch);
  } catch (error) {
    assert.ok(error instanceof MallornError, String(error));
    return error;
  }
  throw new Error(`accepted, after ${probe.target.written} bytes`);
}

/** Kinds of the segments of a body. */
function kindsOf(patch: Sample): number[] {
  const body: number[] = [];
  for (let i = 0; i < patch.geometry.count; i++) {
    const start = patch.preambleBytes + patch.geometry.wireOffset(i);
    const frame = patch.bytes.subarray(start, start + patch.geometry.lengthOf(i));
    body.push(...(i === patch.geometry.count - 1 ? frame : frame.subarray(16)));
  }
  const bytes = Uint8Array.from(body);
  const kinds: number[] = [];
  const segment = emptySegmentHeader();
  for (let at = 0, offset = 0; offset < patch.target.length; offset += segment.targetBytes) {
    at += readSegmentHeader(bytes.subarray(at), bytes.length - at, offset, patch.header, segment);
    at += segment.kind === 1 ? segment.plainBytes : segment.packedBytes;
    kinds.push(segment.kind);
  }
  return kinds;
}

for (const patch of SAMPLES) {
  const { decodeClass } = patch.header;

  describe(`class ${decodeClass}`, () => {
    test('has neural segments, and zstd ones in class 1 alone', () => {
      const kinds = new Set(kindsOf(patch));
      assert.ok(kinds.has(SEGMENT_NEURAL));
      assert.equal(kinds.has(SEGMENT_ZSTD), decodeClass === 1);
    });

    test('applies whole, one byte at a time and at random splits', () => {
      const random = new Prng(3);
      for (const split of [(left: number) => left, () => 1, () => 1 + random.below(300), () => random.below(2000)]) {
        const probe = new Probe();
        assert.deepEqual(
          applied(patch.bytes, probe.options(patch, portsFor(patch)), probe.target, { split }),
          patch.target,
        );
        assert.equal(probe.decompressed > 0, decodeClass === 1);
      }
    });

    test('never writes more at a time than an I/O buffer', () => {
      const probe = new Probe();
      const applier = new Applier(probe.options(patch, portsFor(patch)));
      let before = 0;
      feed(applier, patch.bytes, {
        onPush: () => {
          assert.ok(probe.target.written - before <= 256);
          before = probe.target.written;
        },
      });
    });

    test('holds what it declares, in one piece that may be dirty and starts at any multiple of 4', () => {
      const declared = declaredBufferBytes(patch.header);
      assert.ok(patch.header.contextBytes === NEURAL_CONTEXT_BYTES[decodeClass]);
      for (const start of [0, 4, 12]) {
        const probe = new Probe();
        const guard = 32;
        const room = new Uint8Array(start + declared + guard).fill(0xa5);
        const memory = (byteLength: number): Uint8Array => {
          assert.equal(byteLength, declared);
          return room.subarray(start, start + byteLength);
        };
        const options = probe.options(patch, { ...portsFor(patch), memory });
        assert.deepEqual(applied(patch.bytes, options, probe.target, { split: () => 333 }), patch.target);
        assert.ok(room.subarray(0, start).every((byte) => byte === 0xa5));
        assert.ok(room.subarray(start + declared).every((byte) => byte === 0xa5));
      }
    });

    test('is refused by a device with one byte less', () => {
      const maxBufferBytes = declaredBufferBytes(patch.header);
      const exact = new Probe();
      const ports = portsFor(patch);
      const enough = exact.options(patch, { ...ports, policy: { ...ANY, maxBufferBytes } });
      assert.deepEqual(applied(patch.bytes, enough, exact.target), patch.target);
      const probe = new Probe();
      const policy = { ...ANY, maxBufferBytes: maxBufferBytes - 1 };
      assert.equal(refusal(patch.bytes, probe, probe.options(patch, { ...ports, policy })).code, 'BUFFERS_EXCEEDED');
      probe.assertUntouched();
      assert.deepEqual(probe.memoryBytes, []);
    });

    test('is refused where a buffer is declared smaller than a segment needs', () => {
      const { packedBytes, plainBytes, dictionaryBytes } = patch.header;
      for (const [field, bytes] of Object.entries({ packedBytes, plainBytes, dictionaryBytes })) {
        if (bytes === 0) continue;
        const less = neuralSample(decodeClass as 0 | 1, { header: { [field]: bytes - 1 } });
        const probe = new Probe();
        assert.equal(refusal(less.bytes, probe, probe.options(less, portsFor(less))).code, 'BAD_SEGMENT', field);
      }
    });

    test('is refused unless it declares the contexts of its class, to the byte', () => {
      const right = NEURAL_CONTEXT_BYTES[decodeClass]!;
      for (const contextBytes of [
        0,
        right - 4,
        right - 1,
        right + 1,
        right + 4,
        NEURAL_CONTEXT_BYTES[1 - decodeClass]!,
      ]) {
        const wrong = neuralSample(decodeClass as 0 | 1, { header: { contextBytes } });
        const probe = new Probe();
        assert.equal(refusal(wrong.bytes, probe, probe.options(wrong, portsFor(wrong))).code, 'BAD_HEADER');
        probe.assertUntouched();
        assert.deepEqual(probe.memoryBytes, []);
      }
    });

    test('signed and resumed: goes on from the journal on a device of its class', () => {
      const target = new MemoryTarget();
      const signed = neuralSample(decodeClass as 0 | 1, { signers: [TRUSTED] });
      const probe = new Probe();
      const trustedKeys = [TRUSTED.publicKey];
      const options = { ...probe.options(signed, { ...portsFor(signed), trustedKeys }), target: () => target };
      assert.deepEqual(applied(signed.bytes, options, target, { split: () => 77 }), signed.target);
      const rig = new FlashRig({ blockLength: 1024, writeAlign: 4, eraseValue: 0xff }, signed.target.length);
      const update = { ...signed, trustedKeys };
      const changes = portsFor(signed);
      rig.part.planCut({ operation: 60, kind: 'torn' });
      assert.throws(() => rig.boot(update, { changes }));
      const { resumedAt } = rig.boot(update, { changes });
      assert.ok(resumedAt > signed.preambleBytes);
      rig.assertHolds(signed.target);
    });

    test('as a stand-alone patch reads no source, also where one is at hand', () => {
      const target = noise(1000, 4);
      const alone = buildPatch({
        target,
        segments: [{ kind: 'neural', pieces: [literal(600, 6), literal(400)] }],
        header: { codec: 'neural', decodeClass },
      });
      for (const source of [undefined, noise(50, 9)]) {
        const probe = new Probe();
        const options = probe.options(
          source === undefined ? {} : { source },
          portsFor({ ...patch, header: alone.header }),
        );
        assert.deepEqual(applied(alone.bytes, options, probe.target), target);
        assert.equal(probe.sourceReads, 0);
      }
    });

    test('with payloads that its maker garbled never writes past the target, and ends in InvalidPatch or a wrong hash', () => {
      const random = new Prng(decodeClass + 11);
      const source = noise(5000, 1);
      const codes = new Set<string>();
      for (let run = 0; run < 300; run++) {
        const target = noise(2500, run);
        // Signed by someone trusted, framed right, and garbage all the same.
        const segments = [0, 1000, 2000].map((at) => {
          const length = Math.min(1000, target.length - at);
          const packed = Uint8Array.from({ length: 1 + random.below(120) }, () => random.below(256));
          const some = decodeClass === 1 && random.below(2) === 1;
          const range = some ? { dictionaryBytes: 100, dictionaryOffset: random.below(4900) } : {};
          return { kind: 'raw' as const, bytes: neuralSegment({ at, length, packed, ...range }).slice() };
        });
        const header = { codec: 'neural', decodeClass, segmentBytes: 1024, packedBytes: 120 } as const;
        const sizes = decodeClass === 0 ? {} : { plainBytes: 1000, dictionaryBytes: 100 };
        const built = buildPatch({ source, target, segments, header: { ...header, ...sizes } });
        const sink = new DigestTarget(new NodeHasher());
        const probe = new Probe();
        const options = {
          ...probe.options({ source }, portsFor({ ...patch, header: built.header })),
          target: () => sink,
        };
        const { code } = refusal(built.bytes, probe, options);
        assert.ok(sink.written <= target.length);
        codes.add(code);
      }
      for (const code of codes) assert.ok(['BAD_OP', 'TARGET_HASH_MISMATCH'].includes(code), code);
    });
  });
}

describe('decode classes', () => {
  test('a device without the byte model refuses class 1 before it touches anything, and takes class 0', () => {
    const probe = new Probe();
    const { code, message } = refusal(GATEWAY.bytes, probe, probe.options(GATEWAY));
    assert.equal(code, 'UNSUPPORTED_CODEC');
    assert.match(message, /decode class.*at most 0, got 1/);
    probe.assertUntouched();
    assert.deepEqual(probe.memoryBytes, []);
    const small = new Probe();
    assert.deepEqual(applied(MCU.bytes, small.options(MCU), small.target), MCU.target);
  });

  test('a device with the byte model but without zstd refuses class 1 too: its patches may hold zstd segments', () => {
    const probe = new Probe();
    const ports = { mixedModels: createMixedModels, decompressor: null };
    assert.equal(refusal(GATEWAY.bytes, probe, probe.options(GATEWAY, ports)).code, 'UNSUPPORTED_CODEC');
    probe.assertUntouched();
    const small = new Probe();
    assert.deepEqual(applied(MCU.bytes, small.options(MCU, ports), small.target), MCU.target);
  });

  test('a zstd segment in class 0 is refused, also by a device that has zstd', () => {
    const target = noise(100);
    const packed = Uint8Array.of(1, 0, 0);
    const segment = zstdSegment({ at: 0, length: 100, plainBytes: 101, packed });
    const header = { codec: 'neural', decodeClass: 0, packedBytes: 10, plainBytes: 200 } as const;
    const patch = buildPatch({ target, segments: [{ kind: 'raw', bytes: segment }], header });
    const probe = new Probe();
    const { code, message } = refusal(patch.bytes, probe, probe.options({}));
    assert.equal(code, 'BAD_SEGMENT');
    assert.match(message, /no zstd segment in decode class 0/);
  });

  test('a neural segment in a zstd patch is refused', () => {
    const target = noise(100);
    const segment = neuralSegment({ at: 0, length: 100, packed: new Uint8Array(5) });
    const header = { packedBytes: 10, plainBytes: 200 };
    const patch = buildPatch({ target, segments: [{ kind: 'raw', bytes: segment }], header });
    const probe = new Probe();
    assert.equal(
      refusal(patch.bytes, probe, probe.options({}, { mixedModels: createMixedModels })).code,
      'BAD_SEGMENT',
    );
  });

  test('class 1 holds the whole segment: a byte less of plain bytes is refused, class 0 needs none', () => {
    const target = noise(1000, 4);
    const segments = [{ kind: 'neural', pieces: [literal(1000)] }] as const;
    for (const [decodeClass, plainBytes] of [
      [1, 999],
      [1, 1000],
      [0, 0],
    ] as const) {
      const header = { codec: 'neural', decodeClass, plainBytes } as const;
      const patch = buildPatch({ target, segments, header });
      const probe = new Probe();
      const options = probe.options({}, { mixedModels: createMixedModels });
      if (plainBytes === 999) assert.equal(refusal(patch.bytes, probe, options).code, 'BAD_SEGMENT');
      else assert.deepEqual(applied(patch.bytes, options, probe.target), target);
    }
  });

  test('class 0 keeps its state within 4 KiB, and holds neither plain bytes nor a dictionary for neural segments', () => {
    assert.ok(NEURAL_CONTEXT_BYTES[0]! <= 4096);
    const target = noise(1000, 4);
    const segments = [{ kind: 'neural', pieces: [literal(1000)] }] as const;
    const { header } = buildPatch({ target, segments, header: { codec: 'neural' } });
    assert.deepEqual([header.plainBytes, header.dictionaryBytes], [0, 0]);
  });
});
