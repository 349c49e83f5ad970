/** DESIGN.md's truth table, a test a row, through the public calls and their worker threads. */

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { MemorySource } from '../../core/memory-source.js';
import { KEY_ID_BYTES } from '../../core/patch/signatures.js';
import { withFlip, withHeader } from '../../hil-tests/support/forge-patch.js';
import { makePatch, noise, sha256, testKeypair } from '../../hil-tests/support/make-patch.js';
import {
  applyPatch,
  InvalidPatch,
  IoError,
  MallornError,
  PatchVerification,
  SignatureError,
  SourceHashMismatch,
  TargetHashMismatch,
  verifyPatch,
} from './index.js';
import { readPreamble } from './inputs.js';

const folder = mkdtempSync(join(tmpdir(), 'mallorn-truth-'));
after(() => rmSync(folder, { recursive: true }));

const source = noise(5000, 1);
const target = source.slice();
target.set(noise(3000, 2), 1000);
const ours = testKeypair(1);
const theirs = testKeypair(2);
const unsigned = makePatch(source, target, { profile: 'mcu' });
const signed = makePatch(source, target, { profile: 'mcu', privateKey: ours.privateKey });
const output = join(folder, 'output');
const firstSignature = readPreamble(new MemorySource(signed)).headerBytes.length + 1 + KEY_ID_BYTES;

interface Flags {
  readonly source: boolean;
  readonly patch: boolean;
  readonly signature: boolean;
  /** Class and code of `error`; null when valid. */
  readonly error: readonly [new (...args: never[]) => MallornError, string] | null;
}

function assertFlags(verification: PatchVerification, { source, patch, signature, error }: Flags): void {
  const { sourceValid, patchValid, signatureValid } = verification;
  assert.ok(verification instanceof PatchVerification);
  assert.deepEqual(
    { sourceValid, patchValid, signatureValid },
    { sourceValid: source, patchValid: patch, signatureValid: signature },
  );
  assert.equal(verification.isValid(), error === null);
  assert.deepEqual(verification.expectedTarget, sha256(target));
  if (error === null) {
    assert.equal(verification.error, null);
    assert.deepEqual(verification.actualTarget, sha256(target));
    return;
  }
  assert.ok(verification.error instanceof error[0], String(verification.error));
  assert.equal(verification.error.code, error[1]);
}

async function assertApplies(patch: Uint8Array, publicKey: Uint8Array | undefined, signature: boolean): Promise<void> {
  rmSync(output, { force: true });
  const verification = await applyPatch(source, patch, output, publicKey === undefined ? {} : { publicKey });
  assertFlags(verification, { source: true, patch: true, signature, error: null });
  assert.deepEqual(new Uint8Array(readFileSync(output)), target);
  rmSync(output);
  assert.deepEqual(readdirSync(folder), []);
}

async function assertRefused(
  from: Uint8Array | null,
  patch: Uint8Array,
  publicKey: Uint8Array | undefined,
  [kind, code]: NonNullable<Flags['error']>,
): Promise<void> {
  await assert.rejects(applyPatch(from, patch, output, publicKey === undefined ? {} : { publicKey }), (error) => {
    assert.ok(error instanceof kind && error instanceof MallornError, String(error));
    assert.equal(error.code, code);
    assert.equal(error.name, kind.name);
    return true;
  });
  assert.deepEqual(readdirSync(folder), [], 'no output and no temporary file');
}

describe('applyPatch and verifyPatch', () => {
  for (const [name, patch] of [
    ['unsigned', unsigned],
    ['signed', signed],
  ] as const) {
    test(`${name}, no key given: valid, and the signature flag stays false`, async () => {
      await assertApplies(patch, undefined, false);
      const verification = await verifyPatch(source, patch);
      assertFlags(verification, { source: true, patch: true, signature: false, error: null });
    });
  }

  test('a key that verifies one signature: all flags true', async () => {
    await assertApplies(signed, ours.publicKey, true);
    const verification = await verifyPatch(source, signed, { publicKey: ours.publicKey });
    assertFlags(verification, { source: true, patch: true, signature: true, error: null });
  });

  for (const [name, patch, publicKey, code] of [
    ['an unsigned patch', unsigned, ours.publicKey, 'UNSIGNED'],
    ['an unknown signer', signed, theirs.publicKey, 'UNKNOWN_SIGNER'],
    ['a wrong signature', withFlip(signed, firstSignature), ours.publicKey, 'BAD_SIGNATURE'],
  ] as const) {
    test(`a key is given and the patch has ${name}: SignatureError, nothing else is looked at`, async () => {
      await assertRefused(source, patch, publicKey, [SignatureError, code]);
      const verification = await verifyPatch(source, patch, { publicKey });
      assertFlags(verification, { source: false, patch: false, signature: false, error: [SignatureError, code] });
      assert.equal(verification.actualTarget, null);
    });
  }

  test('a wrong signature comes before a wrong source', async () => {
    const verification = await verifyPatch(noise(5000, 9), unsigned, { publicKey: ours.publicKey });
    assertFlags(verification, { source: false, patch: false, signature: false, error: [SignatureError, 'UNSIGNED'] });
  });

  for (const [name, wrong] of [
    ['of the right length', noise(5000, 9)],
    ['of another length', noise(4999, 1)],
    ['that is missing altogether', null],
  ] as const) {
    test(`a wrong source ${name}: SourceHashMismatch, and the frame chain is still checked`, async () => {
      const error = [SourceHashMismatch, 'SOURCE_HASH_MISMATCH'] as const;
      await assertRefused(wrong, signed, undefined, error);
      const plain = await verifyPatch(wrong, unsigned);
      assertFlags(plain, { source: false, patch: true, signature: false, error });
      assert.equal(plain.actualTarget, null);
      const keyed = await verifyPatch(wrong, signed, { publicKey: ours.publicKey });
      assertFlags(keyed, { source: false, patch: true, signature: true, error });
      const damaged = await verifyPatch(wrong, withFlip(unsigned, unsigned.length - 1));
      assertFlags(damaged, { source: false, patch: false, signature: false, error });
      const longer = await verifyPatch(wrong, new Uint8Array([...unsigned, 0]));
      assertFlags(longer, { source: false, patch: false, signature: false, error });
    });
  }

  for (const [name, patch, code] of [
    ['corrupt', withFlip(signed, signed.length - 1), 'BAD_FRAME'],
    ['truncated', signed.subarray(0, signed.length - 1), 'TRUNCATED'],
    ['trailing bytes', new Uint8Array([...signed, 0]), 'TRAILING_BYTES'],
  ] as const) {
    test(`${name}: InvalidPatch`, async () => {
      const error = [InvalidPatch, code] as const;
      await assertRefused(source, patch, undefined, error);
      await assertRefused(source, patch, ours.publicKey, error);
      assertFlags(await verifyPatch(source, patch), { source: true, patch: false, signature: false, error });
      const keyed = await verifyPatch(source, patch, { publicKey: ours.publicKey });
      assertFlags(keyed, { source: true, patch: false, signature: true, error });
    });
  }

  test('decodes to a wrong hash: TargetHashMismatch, and the hash it decoded to', async () => {
    const lying = withHeader(unsigned, { targetHash: new Uint8Array(32).fill(7) }, ours.privateKey);
    await assertRefused(source, lying, ours.publicKey, [TargetHashMismatch, 'TARGET_HASH_MISMATCH']);
    const { publicKey } = ours;
    const verification = await verifyPatch(source, lying, { publicKey });
    assert.ok(verification.error instanceof TargetHashMismatch);
    assert.deepEqual(
      [verification.sourceValid, verification.patchValid, verification.signatureValid],
      [true, false, true],
    );
    assert.deepEqual(verification.expectedTarget, new Uint8Array(32).fill(7));
    assert.deepEqual(verification.actualTarget, sha256(target));
  });

  for (const [name, patch, code] of [
    ['a file of something else', noise(1000, 3), 'BAD_MAGIC'],
    ['no bytes at all', new Uint8Array(0), 'TRUNCATED'],
    ['a format version from the future', withFlip(unsigned, 4), 'BAD_VERSION'],
    ['a damaged header', withFlip(signed, 100), 'HEADER_DIGEST'],
    ['a header field out of range', withHeader(unsigned, { segmentBytes: 5000 }), 'BAD_HEADER'],
    ['a cut inside the header', unsigned.subarray(0, 50), 'TRUNCATED'],
  ] as const) {
    test(`unreadable header, ${name}: both throw InvalidPatch`, async () => {
      await assertRefused(source, patch, undefined, [InvalidPatch, code]);
      await assertRefused(source, patch, ours.publicKey, [InvalidPatch, code]);
      await assert.rejects(verifyPatch(source, patch), { name: 'InvalidPatch', code });
    });
  }

  test('unreadable file: both throw IoError', async () => {
    const missing = join(folder, 'missing');
    for (const [from, patch] of [
      [missing, unsigned],
      [source, missing],
      [source, folder],
    ] as const) {
      await assert.rejects(applyPatch(from, patch, output), (error) => error instanceof IoError && error.code === 'IO');
      await assert.rejects(verifyPatch(from, patch), (error) => error instanceof IoError && error.code === 'IO');
    }
    assert.deepEqual(readdirSync(folder), []);
  });

  test('bad key length: both reject with RangeError before any I/O', async () => {
    for (const publicKey of [new Uint8Array(31), new Uint8Array(64), new Uint8Array(0)]) {
      const missing = join(folder, 'missing');
      await assert.rejects(applyPatch(missing, missing, output, { publicKey }), RangeError);
      await assert.rejects(verifyPatch(missing, missing, { publicKey }), RangeError);
    }
  });

  test('aborted before it starts: signal.reason, no output', async () => {
    const signal = AbortSignal.abort('enough');
    await assert.rejects(applyPatch(source, unsigned, output, { signal }), (reason) => reason === 'enough');
    await assert.rejects(verifyPatch(source, unsigned, { signal }), (reason) => reason === 'enough');
    assert.equal(existsSync(output), false);
  });

  test('a stand-alone patch is applied to nothing, and to nothing else', async () => {
    const alone = makePatch(null, target, { versionCounter: 1, privateKey: ours.privateKey });
    const { publicKey } = ours;
    assertFlags(await applyPatch(null, alone, output, { publicKey }), {
      source: true,
      patch: true,
      signature: true,
      error: null,
    });
    assert.deepEqual(new Uint8Array(readFileSync(output)), target);
    rmSync(output);
    await assertRefused(source, alone, undefined, [SourceHashMismatch, 'SOURCE_HASH_MISMATCH']);
  });

  test('a stand-alone patch that is signed but carries no counter is refused where the signature matters', async () => {
    const alone = makePatch(null, target, { privateKey: ours.privateKey });
    await assertRefused(null, alone, ours.publicKey, [InvalidPatch, 'COUNTER_MISSING']);
    assert.ok((await verifyPatch(null, alone)).isValid());
  });

  test('inputs may be paths or bytes', async () => {
    const paths = { source: join(folder, 'source'), patch: join(folder, 'patch') };
    writeFileSync(paths.source, source);
    writeFileSync(paths.patch, signed);
    for (const from of [paths.source, source]) {
      for (const patch of [paths.patch, signed, Buffer.from(signed)]) {
        assert.ok((await applyPatch(from, patch, output)).isValid());
        assert.deepEqual(new Uint8Array(readFileSync(output)), target);
        assert.ok((await verifyPatch(from, patch)).isValid());
      }
    }
    for (const name of readdirSync(folder)) rmSync(join(folder, name));
  });
});
