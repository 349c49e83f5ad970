/**
 * A microcontroller follows a trust file: the built command line makes the files and the records of them, and the shipped device program
 * in QuickJS takes the records, and patches by whom they name.
 */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { toHex } from '../core/hex.js';
import { makeImage } from './board/flash-image.js';
import { Refused } from './board/smp-client.js';
import { makePatch, noise, sha256Hex, testKeypair } from './support/make-patch.js';
import { repoRoot } from './support/paths.js';
import { QuickJsDevice } from './support/quickjs-device.js';

const FLASH_BYTES = 256 << 10;
const HEAP_LIMIT_BYTES = FLASH_BYTES + (900 << 10);
const OLD = noise(3000, 1);
const NEXT = noise(3000, 2);
const NAMES = ['alice', 'bob', 'boards', 'factory', 'release', 'successor', 'ci'] as const;
type Name = (typeof NAMES)[number];
const keyOf = (name: Name) => testKeypair(60 + NAMES.indexOf(name));
const FACTS = { rootKey: toHex(keyOf('boards').publicKey) };

const folder = mkdtempSync(join(tmpdir(), 'mallorn-trust-mcu-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);
const recordOf = (name: string): Uint8Array => new Uint8Array(readFileSync(at(name)));

function trust(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const command = [join(repoRoot, 'dist/cli.js'), 'trust', ...args];
    const child = execFile(process.execPath, command, { cwd: folder }, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}

async function ok(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await trust(...args);
  assert.equal(code, 0, stderr);
  return stdout;
}

async function signed(file: string): Promise<void> {
  for (const root of ['alice.key', 'bob.key']) await ok('sign', file, '--key', root);
}

async function refused(file: string, why: RegExp, ...more: string[]): Promise<void> {
  const { code, stderr } = await trust('key-record', file, '--key', 'boards.key', '-o', 'none.mlkr', ...more);
  assert.equal(code, 5, stderr);
  assert.match(stderr, why);
  assert.ok(!existsSync(at('none.mlkr')));
}

before(async () => {
  for (const name of NAMES) {
    writeFileSync(at(`${name}.pub`), keyOf(name).publicKey);
    writeFileSync(at(`${name}.key`), keyOf(name).privateKey);
  }
  await ok('init', '-o', 'v1.trust', '--root', 'alice.pub', 'bob.pub', '--threshold', '2');
  await ok('add', 'v1.trust', '--key', 'release.pub', '--role', 'patch', 'image');
  await ok('add', 'v1.trust', '--key', 'ci.pub', '--role', 'patch');
  await ok('add', 'v1.trust', '--key', 'factory.pub', '--role', 'image');
  await signed('v1.trust');
  await ok('revoke', 'v1.trust', '--key', 'release.pub', '-o', 'v2.trust');
  await ok('add', 'v2.trust', '--key', 'successor.pub', '--role', 'patch', 'image');
});

describe('a microcontroller that follows a trust file', () => {
  test('takes patches by the keys of its record; a revoked key is refused after the next, and no record goes back', async () => {
    await ok('key-record', 'v1.trust', '--key', 'boards.key', '--device-class', 'test', '-o', 'v1.mlkr');
    await signed('v2.trust');
    const last = ['--device-class', 'test', '--after', 'v1.trust', '-o', 'v2.mlkr'];
    await ok('key-record', 'v2.trust', ...externalSigner('boards'), ...last);

    const image = makeImage({ keys: [keyOf('factory').publicKey], model: OLD, flashBytes: FLASH_BYTES });
    const device = await QuickJsDevice.powerUp(image, HEAP_LIMIT_BYTES, FACTS);
    assert.equal(await device.client.rotateKeys(recordOf('v1.mlkr')), 1);
    assert.equal(await outcome(device, 'factory'), 'UNKNOWN_SIGNER', 'whole models alone are what it may sign');
    assert.equal(await outcome(device, 'ci'), 'UNKNOWN_SIGNER', 'patches alone');
    assert.equal(await outcome(device, 'release'), 'staged');

    assert.equal(await device.client.rotateKeys(recordOf('v2.mlkr')), 2);
    await assert.rejects(device.client.rotateKeys(recordOf('v1.mlkr')), { reason: 'COUNTER_TOO_LOW' });
    const after = await QuickJsDevice.powerUp(device.cutPower(), HEAP_LIMIT_BYTES, FACTS);
    assert.equal(await outcome(after, 'release'), 'UNKNOWN_SIGNER');
    assert.equal(await outcome(after, 'successor'), 'staged');
    assert.equal(sha256Hex(after.cutPower().activeModel()), sha256Hex(OLD), 'staged, not activated');
  });

  test('gets no record of a file that too few roots have signed, or that does not follow', async () => {
    await ok('rotate', 'v1.trust', '-o', 'half.trust');
    await ok('sign', 'half.trust', '--key', 'bob.key');
    await refused('half.trust', /expected signatures by 2 of its own roots, got 1/);
    await ok('sign', 'half.trust', '--key', 'alice.key');
    await refused('v1.trust', /expected a version above 2, got 1/, '--after', 'half.trust');
  });

  test('gets no expired key, none of an expired file, and none that lacks a role', async () => {
    await ok('init', '-o', 'old.trust', '--root', 'alice.pub');
    await ok('add', 'old.trust', '--key', 'release.pub', '--role', 'patch', 'image', '--expires', '2020-01-01');
    await ok('add', 'old.trust', '--key', 'ci.pub', '--role', 'patch');
    await ok('sign', 'old.trust', '--key', 'alice.key');
    await refused('old.trust', /expected a key for image and patch that counts at .*, got none/);
    const patchKeys = ['key-record', 'old.trust', '--role', 'patch', '--key', 'boards.key', '-o', 'ci.mlkr', '--json'];
    const { version, keys, leftOut } = JSON.parse(await ok(...patchKeys)) as Record<string, unknown>;
    assert.deepEqual([version, keys], [1, [toHex(keyOf('ci').publicKey)]]);
    assert.deepEqual(leftOut, [toHex(keyOf('release').publicKey)]);
    await ok('rotate', 'old.trust', '--expires', '2021-01-01', '-o', 'older.trust');
    await ok('sign', 'older.trust', '--key', 'alice.key');
    await refused('older.trust', /got none/, '--role', 'patch');
  });
});

/** `staged`, or why not. Nothing is activated, so that every patch starts from the same model. */
async function outcome({ client }: QuickJsDevice, signer: Name): Promise<string> {
  const options = { profile: 'mcu', neural: true, versionCounter: 5, privateKey: keyOf(signer).privateKey } as const;
  return client.update(makePatch(OLD, NEXT, options)).then(
    () => 'staged',
    (error) => (error instanceof Refused ? error.reason : String(error)),
  );
}

function externalSigner(name: Name): string[] {
  const script = `import { readFileSync, writeSync } from 'node:fs';
import { createPrivateKey, sign } from 'node:crypto';
const seed = readFileSync('${name}.key').subarray(0, 32);
const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
writeSync(1, sign(null, readFileSync(0), createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })));`;
  writeFileSync(at('signer.mjs'), script);
  return ['--signer', `'${process.execPath}' signer.mjs`, '--signer-pubkey', `${name}.pub`];
}
