/** The rest of the public calls: options, stats, info, signing, keys, fingerprints. The truth table has a file of its own. */

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import type { Profile } from '../../core/limits.js';
import { MemorySource } from '../../core/memory-source.js';
import { KEY_ID_BYTES } from '../../core/patch/signatures.js';
import { withFlip, withHeader } from '../../hil-tests/support/forge-patch.js';
import { makePatch, noise, sha256, testKeypair } from '../../hil-tests/support/make-patch.js';
import { modelsFolder, NO_MODELS } from '../../hil-tests/support/paths.js';
import {
  applyPatch,
  type CreateOptions,
  compareFingerprints,
  createPatch,
  explainPatch,
  Fingerprint,
  fingerprint,
  generateKeypair,
  patchInfo,
  signPatch,
  toHex,
  verifyPatch,
} from './index.js';
import { readPreamble } from './inputs.js';

const folder = mkdtempSync(join(tmpdir(), 'mallorn-api-'));
const at = (name: string): string => join(folder, name);
afterEach(() => {
  for (const name of readdirSync(folder)) rmSync(at(name), { recursive: true });
});
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const source = noise(60_000, 1);
const target = source.slice();
target.set(noise(4000, 2), 10_000);
const { publicKey, privateKey } = testKeypair(1);

describe('a mistake in a call is a RangeError before any I/O', () => {
  const wrongHalves = privateKey.slice();
  wrongHalves[40] = wrongHalves[40]! ^ 1;
  const cases: Record<string, CreateOptions> = {
    'level 0': { compressionLevel: 0 },
    'level 20': { compressionLevel: 20 },
    'level 3.5': { compressionLevel: 3.5 },
    'level NaN': { compressionLevel: Number.NaN },
    'a private key of 32 bytes': { privateKey: privateKey.slice(0, 32) },
    'a private key of 65 bytes': { privateKey: new Uint8Array(65) },
    'a private key whose halves disagree': { privateKey: wrongHalves },
    'a profile nobody knows': { profile: 'phone' as 'mcu' },
    'a profile named like a method': { profile: 'toString' as 'mcu' },
    'an erase block without inPlace': { eraseBlockBytes: 4096 },
    'an erase block that is no power of two': { inPlace: true, eraseBlockBytes: 5000 },
    'an erase block past what a unit may be': { inPlace: true, eraseBlockBytes: 2 ** 25 },
    'a family over 32 bytes': { family: 'ä'.repeat(17) },
    'a device class over 32 bytes': { deviceClass: 'x'.repeat(33) },
    'counter 0': { versionCounter: 0 },
    'counter 2^32': { versionCounter: 2 ** 32 },
    'a fractional counter': { versionCounter: 1.5 },
    'a negative minimum counter': { versionCounter: 1, minimumCounter: -1 },
    'a minimum counter above the counter': { versionCounter: 4, minimumCounter: 5 },
    'a minimum counter without a counter': { minimumCounter: 1 },
    'a time before 1970': { createdAt: new Date(-1000) },
    'a time that is none': { createdAt: new Date(Number.NaN) },
  };
  for (const [name, options] of Object.entries(cases)) {
    test(name, async () => {
      await assert.rejects(createPatch(at('missing'), at('missing'), at('output'), options), RangeError);
    });
  }

  test('a signed stand-alone patch without counter', async () => {
    await assert.rejects(createPatch(null, at('missing'), at('output'), { privateKey }), RangeError);
  });

  test('signPatch with a bad key', async () => {
    await assert.rejects(signPatch(at('missing'), wrongHalves, at('output')), RangeError);
    await assert.rejects(signPatch(at('missing'), publicKey, at('output')), RangeError);
  });

  test('what is not even of the right type is a TypeError', async () => {
    await assert.rejects(createPatch(undefined as unknown as string, target, at('output')), TypeError);
    await assert.rejects(createPatch(source, target, ''), TypeError);
    await assert.rejects(verifyPatch(source, 7 as unknown as string), TypeError);
  });

  test('limits themselves are fine', async () => {
    const options = {
      compressionLevel: 1,
      family: 'ä'.repeat(16),
      versionCounter: 2 ** 32 - 1,
      minimumCounter: 2 ** 32 - 1,
    };
    await createPatch(source, target, at('patch'), options);
    const { compression, family, versionCounter, minimumCounter } = await patchInfo(at('patch'));
    assert.deepEqual(
      [compression, family, versionCounter, minimumCounter],
      ['zstd(1)', 'ä'.repeat(16), 2 ** 32 - 1, 2 ** 32 - 1],
    );
  });
});

describe('neural: true', () => {
  /** A change here and there, which zstd and the models make something of, and a stretch of news. */
  const tuned = target.slice();
  noise(30_000, 3).forEach((chance, i) => {
    if (chance < 60) tuned[20_000 + i] = tuned[20_000 + i]! + (chance % 5) - 2;
  });

  const made: Partial<Record<Profile, Uint8Array>> = {};
  /** The patch from `source` to `tuned`, made once. */
  async function neuralPatch(profile: Profile): Promise<Uint8Array> {
    if (made[profile] === undefined) {
      await createPatch(source, tuned, at('made'), { profile, neural: true });
      made[profile] = new Uint8Array(readFileSync(at('made')));
    }
    return made[profile];
  }

  for (const profile of ['gateway', 'mcu'] as const) {
    test(`in the ${profile} profile makes a smaller patch that verifies and applies byte for byte`, async () => {
      await createPatch(source, tuned, at('zstd'), { profile, compressionLevel: 19 });
      const patch = await neuralPatch(profile);
      assert.ok(patch.length < 0.97 * statSync(at('zstd')).size, `${patch.length} bytes`);
      const info = await patchInfo(patch);
      assert.deepEqual([info.compression, info.neural, info.profile], ['neural', true, profile]);
      assert.ok((await verifyPatch(source, patch)).isValid());
      await applyPatch(source, patch, at('output'));
      assert.deepEqual(new Uint8Array(readFileSync(at('output'))), tuned);
    });

    test(`in the ${profile} profile gives the same patch every time, signed or not, and with no base at all`, async () => {
      for (const from of [source, null]) {
        const counter = { versionCounter: 3 };
        await createPatch(from, tuned, at('one'), { profile, neural: true, ...counter });
        await createPatch(from, tuned, at('signed'), { profile, neural: true, privateKey, ...counter });
        await signPatch(at('one'), privateKey, at('signed later'));
        assert.deepEqual(readFileSync(at('signed later')), readFileSync(at('signed')));
        assert.ok((await verifyPatch(from, at('signed'), { publicKey })).isValid());
      }
    });
  }

  test('in the mcu profile leaves nothing to zstd: the level changes no more than what the header says of it', async () => {
    await createPatch(source, tuned, at('least'), { profile: 'mcu', neural: true, compressionLevel: 1 });
    await createPatch(source, tuned, at('most'), { profile: 'mcu', neural: true, compressionLevel: 19 });
    const [least, most] = ['least', 'most'].map((name) => new Uint8Array(readFileSync(at(name))));
    assert.deepEqual(withHeader(most!, { level: 1 }), least);
    const kinds = new Set((await explainPatch(at('most'), { source })).segments.map(({ kind }) => kind));
    assert.ok(!kinds.has('zstd') && kinds.has('neural'), [...kinds].join());
  });

  test('is explained: the ops of its segments cover the target', async () => {
    for (const profile of ['gateway', 'mcu'] as const) {
      const { segments, tensors } = await explainPatch(await neuralPatch(profile), { source });
      assert.equal(
        segments.reduce((sum, { targetBytes }) => sum + targetBytes, 0),
        tuned.length,
      );
      const [outside] = tensors!;
      assert.equal(outside!.copiedBytes + outside!.deltaBytes + outside!.literalBytes, tuned.length);
    }
  });

  test('with a decoder memory other than its class has is refused by every call, and breaks none', async () => {
    for (const profile of ['gateway', 'mcu'] as const) {
      const patch = await neuralPatch(profile);
      for (const contextBytes of [0, 2, 1 << 22]) {
        const wrong = withHeader(patch, { contextBytes });
        const refused = { name: 'InvalidPatch', code: 'BAD_HEADER' };
        await assert.rejects(applyPatch(source, wrong, at('output')), refused);
        await assert.rejects(explainPatch(wrong, { source }), refused);
        await explainPatch(wrong);
        assert.equal((await verifyPatch(source, wrong)).error?.code, 'BAD_HEADER');
      }
    }
  });

  test('that is no boolean is a TypeError', async () => {
    await assert.rejects(createPatch(source, tuned, at('output'), { neural: 1 as unknown as boolean }), TypeError);
  });
});

describe('createPatch', () => {
  test('counts what it made', async () => {
    const stats = await createPatch(source, target, at('patch'));
    const patchSize = statSync(at('patch')).size;
    assert.deepEqual(stats, {
      sourceSize: source.length,
      targetSize: target.length,
      patchSize,
      compressionRatio: target.length / patchSize,
      tensorsModified: 0,
      tensorsUnchanged: 0,
    });
    assert.ok(patchSize < 5000);
  });

  test('counts the tensors of a real model', { skip: modelsFolder === null && NO_MODELS }, async () => {
    const pair = join(modelsFolder!, 'mlperf-kws-a');
    const stats = await createPatch(join(pair, 'old.tflite'), join(pair, 'new.tflite'), at('patch'));
    const info = await patchInfo(at('patch'));
    assert.equal(info.format, 'TFLite');
    assert.equal(info.tensorsModified, stats.tensorsModified);
    assert.equal(stats.tensorsModified + stats.tensorsUnchanged, 21);
    const { tensors, segments } = await explainPatch(at('patch'), { source: join(pair, 'old.tflite') });
    assert.equal(tensors!.length, 22, 'and what lies outside');
    const explained = tensors!.reduce(
      (sum, row) => sum + row.copiedBytes + row.deltaBytes + row.castBytes + row.literalBytes,
      0,
    );
    assert.equal(explained, stats.targetSize);
    assert.equal(
      segments.reduce((sum, { targetBytes }) => sum + targetBytes, 0),
      stats.targetSize,
    );
  });

  test('is reproducible, and takes its time from the option, else SOURCE_DATE_EPOCH, else none', async () => {
    const createdAt = new Date(1_700_000_000_999);
    await createPatch(source, target, at('one'), { createdAt });
    process.env['SOURCE_DATE_EPOCH'] = '1700000000';
    try {
      await createPatch(source, target, at('two'));
      process.env['SOURCE_DATE_EPOCH'] = 'yesterday';
      await assert.rejects(createPatch(source, target, at('three')), RangeError);
    } finally {
      delete process.env['SOURCE_DATE_EPOCH'];
    }
    await createPatch(source, target, at('none'));
    assert.deepEqual(readFileSync(at('one')), readFileSync(at('two')));
    assert.deepEqual((await patchInfo(at('one'))).createdAt, new Date(1_700_000_000_000));
    assert.equal((await patchInfo(at('none'))).createdAt, null);
  });

  test('handles empty and equal files', async () => {
    const empty = new Uint8Array(0);
    for (const [from, to] of [
      [empty, empty],
      [empty, target],
      [source, empty],
      [source, source],
      [null, empty],
      [null, target],
    ] as const) {
      await createPatch(from, to, at('patch'));
      assert.ok((await verifyPatch(from, at('patch'))).isValid());
      await applyPatch(from, at('patch'), at('output'));
      assert.deepEqual(new Uint8Array(readFileSync(at('output'))), to);
    }
  });

  test('warns of a model that it has to treat as plain bytes', async () => {
    const broken = target.slice();
    broken.set([0x54, 0x46, 0x4c, 0x33], 4);
    const warnings: string[] = [];
    await createPatch(source, broken, at('patch'), { onWarning: (message) => warnings.push(message) });
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]!, /TFLite.*byte/);
    assert.equal((await patchInfo(at('patch'))).format, 'Binary');
  });
});

describe('an in-place patch', () => {
  for (const neural of [false, true]) {
    test(`${neural ? 'neural' : 'zstd'}: says so, verifies, applies as any other, is explained, and costs 16 bytes a changed unit`, async () => {
      for (const profile of ['gateway', 'mcu'] as const) {
        await createPatch(source, target, at('plain'), { profile, neural });
        await createPatch(source, target, at('patch'), { profile, neural, inPlace: true });
        const [plain, info] = [await patchInfo(at('plain')), await patchInfo(at('patch'))];
        assert.deepEqual([plain.inPlace, plain.unitBytes], [false, 0]);
        assert.deepEqual([info.inPlace, info.unitBytes], [true, info.segmentBytes]);
        const units = Math.ceil(info.targetSize / info.unitBytes);
        assert.ok(info.patchSize <= plain.patchSize * 1.02 + 16 * units, `${info.patchSize}, else ${plain.patchSize}`);
        assert.ok((await verifyPatch(source, at('patch'))).isValid());
        await applyPatch(source, at('patch'), at('output'));
        assert.deepEqual(new Uint8Array(readFileSync(at('output'))), target);
        const { segments } = await explainPatch(at('patch'), { source });
        assert.equal(
          segments.reduce((sum, { targetBytes }) => sum + targetBytes, 0),
          target.length,
        );
      }
    });
  }

  test('has units of the erase block where that is larger than a segment', async () => {
    for (const [eraseBlockBytes, unitBytes] of [
      [4096, 16384],
      [131072, 131072],
    ] as const) {
      await createPatch(source, target, at('patch'), { profile: 'mcu', inPlace: true, eraseBlockBytes });
      assert.equal((await patchInfo(at('patch'))).unitBytes, unitBytes);
    }
  });

  test('handles empty, equal and absent files', async () => {
    const empty = new Uint8Array(0);
    for (const [from, to] of [
      [empty, empty],
      [empty, target],
      [source, empty],
      [source, source],
      [null, target],
    ] as const) {
      await createPatch(from, to, at('patch'), { profile: 'mcu', inPlace: true });
      assert.ok((await verifyPatch(from, at('patch'))).isValid());
    }
  });
});

describe('patchInfo', () => {
  test('says what the header says', async () => {
    await createPatch(source, target, at('patch'), {
      privateKey,
      profile: 'mcu',
      compressionLevel: 7,
      family: 'kws',
      deviceClass: 'm7',
      versionCounter: 9,
      minimumCounter: 3,
    });
    const info = await patchInfo(at('patch'));
    const { sourceHash, targetHash, signers, bufferBytes, version, ...rest } = info;
    assert.deepEqual([sourceHash, targetHash], [sha256(source), sha256(target)]);
    assert.deepEqual(signers, [sha256(publicKey).slice(0, 8)]);
    assert.ok(bufferBytes > 1024);
    assert.ok(Number.isInteger(version));
    assert.deepEqual(rest, {
      format: 'Binary',
      patchSize: statSync(at('patch')).size,
      sourceSize: source.length,
      targetSize: target.length,
      compression: 'zstd(7)',
      neural: false,
      tensorsModified: 0,
      tensorsUnchanged: 0,
      signed: true,
      createdAt: null,
      profile: 'mcu',
      standalone: false,
      family: 'kws',
      deviceClass: 'm7',
      versionCounter: 9,
      minimumCounter: 3,
      frameBytes: 1024,
      segmentBytes: 16384,
      inPlace: false,
      unitBytes: 0,
    });
  });

  test('refuses a file of another length than its header says, and takes one whose body is damaged', async () => {
    const patch = makePatch(source, target);
    await assert.rejects(patchInfo(patch.subarray(0, -1)), { name: 'InvalidPatch', code: 'TRUNCATED' });
    await assert.rejects(patchInfo(Uint8Array.of(...patch, 0)), { name: 'InvalidPatch', code: 'TRAILING_BYTES' });
    assert.equal((await patchInfo(withFlip(patch, patch.length - 1))).signed, false);
  });
});

describe('signPatch', () => {
  const unsigned = makePatch(source, target, { profile: 'mcu' });
  const { headerBytes, preambleBytes } = readPreamble(new MemorySource(unsigned));
  const body = unsigned.subarray(preambleBytes);
  const firstSignature = headerBytes.length + 1 + KEY_ID_BYTES;

  test('adds a signature and leaves the rest alone: the same file as one signed when it was made', async () => {
    await signPatch(unsigned, privateKey, at('signed'));
    assert.deepEqual(
      new Uint8Array(readFileSync(at('signed'))),
      makePatch(source, target, { profile: 'mcu', privateKey }),
    );
    assert.ok((await verifyPatch(source, at('signed'), { publicKey })).isValid());
  });

  test('with the same key replaces, with another key adds', async () => {
    const other = testKeypair(2);
    await signPatch(unsigned, privateKey, at('one'));
    await signPatch(at('one'), privateKey, at('again'));
    assert.deepEqual(readFileSync(at('again')), readFileSync(at('one')));
    await signPatch(at('one'), other.privateKey, at('two'));
    const info = await patchInfo(at('two'));
    assert.deepEqual(
      info.signers.map(toHex),
      [publicKey, other.publicKey].map((key) => toHex(sha256(key).slice(0, 8))),
    );
    for (const key of [publicKey, other.publicKey]) {
      assert.ok((await verifyPatch(source, at('two'), { publicKey: key })).signatureValid);
    }
    assert.deepEqual(new Uint8Array(readFileSync(at('two')).subarray(-body.length)), body);
    // A damaged signature of ours is replaced as well.
    await signPatch(withFlip(readFileSync(at('two')), firstSignature), privateKey, at('mended'));
    assert.deepEqual(readFileSync(at('mended')), readFileSync(at('two')));
  });

  test('says so when there is no room for another signature', async () => {
    let patch = unsigned;
    for (let i = 1; i <= 8; i++) {
      await signPatch(patch, testKeypair(i).privateKey, at(`${i}`));
      patch = new Uint8Array(readFileSync(at(`${i}`)));
    }
    assert.equal((await patchInfo(patch)).signers.length, 8);
    await assert.rejects(signPatch(patch, testKeypair(9).privateKey, at('9')), {
      name: 'SignatureError',
      code: 'TOO_MANY_SIGNATURES',
    });
    await signPatch(patch, testKeypair(8).privateKey, at('8 again'));
    assert.ok(!readdirSync(folder).includes('9'));
  });

  test('refuses a stand-alone patch without counter, and a damaged patch', async () => {
    const alone = makePatch(null, target);
    await assert.rejects(signPatch(alone, privateKey, at('output')), { name: 'InvalidPatch', code: 'COUNTER_MISSING' });
    const damaged = withFlip(unsigned, unsigned.length - 1);
    await assert.rejects(signPatch(damaged, privateKey, at('output')), { name: 'InvalidPatch', code: 'BAD_FRAME' });
    await assert.rejects(signPatch(unsigned.subarray(0, -1), privateKey, at('output')), { code: 'TRUNCATED' });
    assert.deepEqual(readdirSync(folder), []);
    await signPatch(withHeader(alone, { versionCounter: 1 }), privateKey, at('output'));
    assert.ok((await verifyPatch(null, at('output'), { publicKey })).isValid());
  });
});

describe('generateKeypair', () => {
  test('makes a pair that signs, and another one each time', async () => {
    const [one, two] = await Promise.all([generateKeypair(), generateKeypair()]);
    assert.deepEqual([one.publicKey.length, one.privateKey.length], [32, 64]);
    assert.deepEqual(one.privateKey.subarray(32), one.publicKey);
    assert.notDeepEqual(one.privateKey, two.privateKey);
    await createPatch(source, target, at('patch'), { privateKey: one.privateKey });
    assert.ok((await verifyPatch(source, at('patch'), { publicKey: one.publicKey })).signatureValid);
    const stranger = await verifyPatch(source, at('patch'), { publicKey: two.publicKey });
    assert.equal(stranger.error?.code, 'UNKNOWN_SIGNER');
  });
});

describe('fingerprint', () => {
  test('is the same for a path and for its bytes, at any size around the two regions', async () => {
    for (const size of [0, 1, 4095, 4096, 4097, 65_536, 65_537, 69_632, 69_633, 200_000]) {
      const bytes = noise(size, 5);
      writeFileSync(at('model'), bytes);
      const [fromPath, fromBytes] = [await fingerprint(at('model')), await fingerprint(bytes)];
      assert.ok(fromPath instanceof Fingerprint);
      assert.deepEqual(fromPath, fromBytes, `${size} bytes`);
      assert.equal(fromPath.fileSize, size);
    }
  });

  test('compares fingerprints, paths and bytes', async () => {
    writeFileSync(at('model'), source);
    const taken = await fingerprint(source);
    assert.equal(await compareFingerprints(taken, at('model')), true);
    assert.equal(await compareFingerprints(target, taken), false, 'the change lies in the first 64 KiB');
  });

  test('of what cannot be read is an IoError', async () => {
    await assert.rejects(fingerprint(at('missing')), { name: 'IoError' });
    await assert.rejects(fingerprint(folder), { name: 'IoError' });
  });
});

test('explainPatch accounts for every byte, and says what it cannot know without the source', async () => {
  for (const profile of ['gateway', 'mcu'] as const) {
    await createPatch(source, target, at('patch'), { profile });
    const { segments, tensors } = await explainPatch(at('patch'), { source });
    assert.deepEqual(
      tensors!.map(({ name }) => name),
      [''],
      'plain bytes have no tensors',
    );
    assert.equal(tensors![0]!.copiedBytes + tensors![0]!.deltaBytes + tensors![0]!.literalBytes, target.length);
    assert.ok(tensors![0]!.copiedBytes > 50_000);
    const blind = await explainPatch(at('patch'));
    assert.equal(blind.tensors, null);
    assert.equal(blind.segments.length, segments.length);
    await assert.rejects(explainPatch(at('patch'), { source: target }), { name: 'SourceHashMismatch' });
  }
});
