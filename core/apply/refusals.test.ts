/** What the applier refuses, with which code, and how little it does before. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { literal } from '../diff/pieces.js';
import { MallornError } from '../errors.js';
import { buildPatch, noise, testSigner } from '../patch/build-patch.test.js';
import { SIGNATURE_BLOCK_BYTES } from '../patch/signatures.js';
import type { SignatureVerifier } from '../ports.js';
import { Applier, type ApplierOptions } from './applier.js';
import type { ApplyPolicy } from './policy.js';
import { ANY, applied, feed, Probe, type Sample, samplePatch } from './run-patch.test.js';

const TRUSTED = testSigner(1);
const STRANGER = testSigner(2);
const unsigned = samplePatch();
const signed = samplePatch({ signers: [TRUSTED], header: { versionCounter: 7, family: 'pose', deviceClass: 'm4' } });
const trustedKeys = [TRUSTED.publicKey];

function refusal(patch: Uint8Array, probe: Probe, options: ApplierOptions): MallornError {
  try {
    feed(new Applier(options), patch);
  } catch (error) {
    assert.ok(error instanceof MallornError, String(error));
    return error;
  }
  throw new Error(`accepted, after ${probe.target.written} bytes`);
}

describe('with a trusted key', () => {
  test('a signed patch is applied', () => {
    const probe = new Probe();
    assert.deepEqual(
      applied(signed.bytes, probe.options(signed, { trustedKeys }), probe.target, { split: () => 97 }),
      signed.target,
    );
  });

  test('a patch that is unsigned or signed by a stranger is refused before anything is decoded, read or opened', () => {
    const byStranger = samplePatch({ signers: [STRANGER] });
    for (const [patch, code] of [
      [unsigned, 'UNSIGNED'],
      [byStranger, 'UNKNOWN_SIGNER'],
    ] as const) {
      const probe = new Probe();
      assert.equal(refusal(patch.bytes, probe, probe.options(patch, { trustedKeys })).code, code);
      probe.assertUntouched();
      assert.equal(probe.sourceReads, 0);
      assert.deepEqual(probe.memoryBytes, []);
    }
  });

  test("a header put under another's signature is refused", () => {
    const other = samplePatch({ header: { family: 'pose', deviceClass: 'm4' } });
    assert.equal(other.headerBytes, signed.headerBytes);
    const forged = new Uint8Array([
      ...other.bytes.subarray(0, other.headerBytes),
      ...signed.bytes.subarray(signed.headerBytes),
    ]);
    const probe = new Probe();
    assert.equal(refusal(forged, probe, probe.options(signed, { trustedKeys })).code, 'BAD_SIGNATURE');
    probe.assertUntouched();
  });

  test('a verifier that fails is not a refusal of the patch', () => {
    const verifier: SignatureVerifier = { verify: () => 'invalid' };
    const probe = new Probe();
    assert.equal(
      refusal(signed.bytes, probe, probe.options(signed, { trustedKeys, verifier })).code,
      'VERIFY_UNAVAILABLE',
    );
    probe.assertUntouched();
  });

  test('a stand-alone patch must carry a counter', () => {
    const target = noise(100);
    for (const [versionCounter, code] of [
      [0, 'COUNTER_MISSING'],
      [1, null],
    ] as const) {
      const plan = {
        target,
        segments: [{ kind: 'stored', pieces: [literal(100)] }],
        signers: [TRUSTED],
        header: { versionCounter },
      } as const;
      const patch = buildPatch(plan);
      const probe = new Probe();
      const options = probe.options({}, { trustedKeys });
      if (code === null) assert.deepEqual(applied(patch.bytes, options, probe.target), target);
      else {
        assert.equal(refusal(patch.bytes, probe, options).code, code);
        probe.assertUntouched();
        const keyless = new Probe();
        assert.deepEqual(applied(patch.bytes, keyless.options({}), keyless.target), target);
      }
    }
  });
});

describe('policy', () => {
  const cases: readonly [string, Partial<ApplyPolicy>, string | null][] = [
    ['a target as large as the slot', { maxTargetBytes: signed.target.length }, null],
    ['a target one byte larger than the slot', { maxTargetBytes: signed.target.length - 1 }, 'FLASH_EXCEEDED'],
    ['its own family', { family: 'pose' }, null],
    ['another family', { family: 'poses' }, 'WRONG_FAMILY'],
    ['its own device class', { deviceClass: 'm4' }, null],
    ['another device class', { deviceClass: 'M4' }, 'WRONG_DEVICE_CLASS'],
    ['a floor at its counter', { counterFloor: 7 }, null],
    ['a floor above its counter', { counterFloor: 8 }, 'COUNTER_TOO_LOW'],
  ];
  for (const [what, policy, code] of cases) {
    test(`${code === null ? 'accepts' : 'refuses'} ${what}${code === null ? '' : ', with no target opened'}`, () => {
      const probe = new Probe();
      const options = probe.options(signed, { trustedKeys, policy: { ...ANY, ...policy } });
      if (code === null) assert.deepEqual(applied(signed.bytes, options, probe.target), signed.target);
      else {
        assert.equal(refusal(signed.bytes, probe, options).code, code);
        probe.assertUntouched();
        assert.equal(probe.sourceReads, 0);
      }
    });
  }

  test('lets a patch that names no family and class fit any device, but not one without a counter under a floor', () => {
    const probe = new Probe();
    const anywhere = probe.options(unsigned, { policy: { ...ANY, family: 'pose', deviceClass: 'm4' } });
    assert.deepEqual(applied(unsigned.bytes, anywhere, probe.target), unsigned.target);
    const low = new Probe();
    assert.equal(
      refusal(unsigned.bytes, low, low.options(unsigned, { policy: { ...ANY, counterFloor: 1 } })).code,
      'COUNTER_TOO_LOW',
    );
    low.assertUntouched();
  });

  test('refuses a patch that needs a base where there is none', () => {
    const baseless = new Probe();
    assert.equal(refusal(signed.bytes, baseless, baseless.options({})).code, 'WRONG_BASE');
    baseless.assertUntouched();
  });

  test('is asked only after the signature: an unsigned patch for another device is unsigned', () => {
    const probe = new Probe();
    const options = probe.options(unsigned, { trustedKeys, policy: { ...ANY, counterFloor: 9, maxTargetBytes: 1 } });
    assert.equal(refusal(unsigned.bytes, probe, options).code, 'UNSIGNED');
  });
});

/** Where frame `index` lies in the patch. */
function frameRange(patch: Sample, index: number): [start: number, end: number] {
  const start = patch.preambleBytes + patch.geometry.wireOffset(index);
  return [start, start + patch.geometry.lengthOf(index)];
}

/** Target bytes that the frames before `index` hold whole: what may be written when that one is bad. */
function writtenBefore(patch: Sample, index: number): number {
  const probe = new Probe();
  const applier = new Applier(probe.options(patch));
  let rest = patch.bytes.subarray(0, frameRange(patch, index)[0]);
  for (;;) {
    const { kind, consumed } = applier.push(rest);
    rest = rest.subarray(consumed);
    if (kind !== 'busy') return probe.target.written;
  }
}

describe('a damaged patch', () => {
  const limit = (patch: Sample): number[] =>
    Array.from({ length: patch.geometry.count }, (_, i) => writtenBefore(patch, i));

  for (const [what, patch, keys] of [
    ['unsigned', unsigned, []],
    ['signed', signed, trustedKeys],
  ] as const) {
    test(`(${what}) is refused for every flipped byte, and no frame from the damaged one on is decoded`, () => {
      const limits = limit(patch);
      for (let at = 0; at < patch.bytes.length; at++) {
        const bytes = patch.bytes.slice();
        bytes[at]! ^= 1 << (at % 8);
        const inSignature = at > patch.headerBytes && at < patch.preambleBytes;
        const probe = new Probe();
        const { code } = refusal(bytes, probe, probe.options(patch, { trustedKeys: keys }));
        if (at < patch.preambleBytes) {
          // The count of signatures is the one byte that nothing vouches for: more than one moves where the frames are looked for.
          if (at !== patch.headerBytes) probe.assertUntouched();
          assert.equal(probe.target.written, 0);
          if (at < 4) assert.equal(code, 'BAD_MAGIC');
          else if (at === 4) assert.equal(code, 'BAD_VERSION');
          else if (inSignature) assert.ok(code === 'BAD_SIGNATURE' || code === 'UNKNOWN_SIGNER', code);
          // A wrong length or count moves where the digest, the signatures or the frames are looked for.
          else assert.ok(['HEADER_DIGEST', 'BAD_HEADER', 'TRUNCATED', 'UNSIGNED', 'BAD_FRAME'].includes(code), code);
        } else {
          const index = Math.floor((at - patch.preambleBytes) / patch.header.frameBytes);
          assert.equal(code, 'BAD_FRAME');
          assert.ok(probe.target.written <= limits[index]!);
        }
      }
    });

    test(`(${what}) is refused for truncations everywhere and for bytes behind its end`, () => {
      const step = (length: number): number =>
        length < patch.preambleBytes + 300 || length > patch.bytes.length - 300 ? 1 : 7;
      for (let length = 0; length < patch.bytes.length; length += step(length)) {
        const probe = new Probe();
        const { code } = refusal(patch.bytes.subarray(0, length), probe, probe.options(patch, { trustedKeys: keys }));
        assert.equal(code, 'TRUNCATED', `after ${length} bytes`);
        if (length < patch.preambleBytes) probe.assertUntouched();
      }
      for (const extra of [new Uint8Array(1), noise(3000), patch.bytes]) {
        for (const split of [(left: number) => left, () => 1]) {
          const probe = new Probe();
          const applier = new Applier(probe.options(patch, { trustedKeys: keys }));
          assert.throws(() => feed(applier, new Uint8Array([...patch.bytes, ...extra]), { split }), {
            code: 'TRAILING_BYTES',
          });
        }
      }
    });
  }

  test('is refused where frames are swapped, doubled, dropped or taken from another patch', () => {
    const limits = limit(unsigned);
    // A change at the end changes the hash in every frame before it.
    const other = samplePatch({ target: unsigned.target.slice().fill(7, 11_000, 11_010) });
    const frames = Array.from({ length: unsigned.geometry.count }, (_, i) =>
      unsigned.bytes.slice(...frameRange(unsigned, i)),
    );
    const preamble = unsigned.bytes.subarray(0, unsigned.preambleBytes);
    const last = frames.length - 1;
    for (let i = 0; i < last - 1; i++) {
      const swapped = frames.slice();
      [swapped[i], swapped[i + 1]] = [swapped[i + 1]!, swapped[i]!];
      const doubled = [...frames.slice(0, i + 1), ...frames.slice(i)];
      const dropped = [...frames.slice(0, i), ...frames.slice(i + 1)];
      const foreign = frames.slice();
      foreign[i] = other.bytes.slice(...frameRange(other, i));
      for (const [wrong, bad] of [
        [swapped, i],
        [doubled, i + 1],
        [dropped, i],
        [foreign, i],
      ] as const) {
        const probe = new Probe();
        const { code } = refusal(
          new Uint8Array([preamble, ...wrong].flatMap((bytes) => [...bytes])),
          probe,
          probe.options(unsigned),
        );
        assert.equal(code, 'BAD_FRAME');
        assert.ok(probe.target.written <= limits[bad]!);
      }
    }
  });

  test('whose signatures are cut out is merely unsigned: the body does not move', () => {
    const stripped = new Uint8Array([
      ...signed.bytes.subarray(0, signed.headerBytes),
      0,
      ...signed.bytes.subarray(signed.headerBytes + 1 + SIGNATURE_BLOCK_BYTES),
    ]);
    const probe = new Probe();
    assert.deepEqual(applied(stripped, probe.options(signed), probe.target), signed.target);
    const strict = new Probe();
    assert.equal(refusal(stripped, strict, strict.options(signed, { trustedKeys })).code, 'UNSIGNED');
    strict.assertUntouched();
  });
});

describe('a noisy link', () => {
  const last = unsigned.geometry.count - 1;

  test('is asked for a damaged frame again, from its first byte, and what was fed before is kept', () => {
    for (const index of [0, 1, last]) {
      const [start, end] = frameRange(unsigned, index);
      const probe = new Probe();
      let damages = 3;
      const seeks: number[] = [];
      const target = applied(unsigned.bytes, probe.options(unsigned, { frameRetries: 3 }), probe.target, {
        split: () => 50,
        link: (offset, chunk) => {
          if (damages === 0 || offset + chunk.length < end || offset > end) return chunk;
          damages--;
          const noisy = chunk.slice();
          noisy[0]! ^= 0x80;
          return noisy;
        },
        onPush: (result) => {
          if (result.kind === 'seek') seeks.push(result.patchOffset);
        },
      });
      assert.deepEqual(target, unsigned.target);
      assert.deepEqual(seeks, [start, start, start]);
    }
  });

  test('is asked for a frame as often as allowed, then the patch is refused; each frame has its own tries', () => {
    for (const frameRetries of [0, 1, 4]) {
      const probe = new Probe();
      let seeks = 0;
      const applier = new Applier(probe.options(unsigned, { frameRetries }));
      const [start] = frameRange(unsigned, 2);
      const link = (offset: number, chunk: Uint8Array): Uint8Array =>
        offset >= start ? chunk.map((byte) => byte ^ 1) : chunk;
      const onPush = ({ kind }: { kind: string }): void => {
        if (kind === 'seek') seeks++;
      };
      assert.throws(() => feed(applier, unsigned.bytes, { split: () => 40, link, onPush }), { code: 'BAD_FRAME' });
      assert.equal(seeks, frameRetries);
    }
    const probe = new Probe();
    const tried = new Set<number>();
    const target = applied(unsigned.bytes, probe.options(unsigned, { frameRetries: 1 }), probe.target, {
      // Whole frames, each damaged the first time.
      split: (left) => (left === unsigned.bytes.length ? unsigned.preambleBytes : unsigned.header.frameBytes),
      link: (offset, chunk) => {
        if (offset < unsigned.preambleBytes || tried.has(offset)) return chunk;
        tried.add(offset);
        return chunk.map((byte) => byte ^ 1);
      },
    });
    assert.deepEqual(target, unsigned.target);
  });
});

test('garbage behind a believable start never gets past the frames, and never breaks anything else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(unsigned.preambleBytes + 300), (garbage, kept) => {
      const bytes = new Uint8Array([...unsigned.bytes.subarray(0, kept), ...garbage]);
      const probe = new Probe();
      refusal(bytes, probe, probe.options(unsigned));
      if (kept < unsigned.preambleBytes + unsigned.header.frameBytes) assert.equal(probe.target.written, 0);
    }),
    { numRuns: 500, seed: 1 },
  );
});
