/** `mallorn trust` as people use it: the built command line, from the first draft to a revocation devices take. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { toHex } from '../../core/hex.js';
import { parseTrust, splitTrust } from '../../core/trust/trust-file.js';
import { testKeypair } from '../../hil-tests/support/make-patch.js';
import { repoRoot } from '../../hil-tests/support/paths.js';

const folder = mkdtempSync(join(tmpdir(), 'mallorn-trust-cli-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);
const NAMES = ['alice', 'bob', 'carol', 'release', 'build'] as const;
const keyOf = (name: (typeof NAMES)[number]) => testKeypair(40 + NAMES.indexOf(name));

before(() => {
  copyFileSync(join(repoRoot, 'dist/cli.js'), at('mallorn.mjs'));
  for (const name of NAMES) {
    writeFileSync(at(`${name}.pub`), keyOf(name).publicKey);
    writeFileSync(at(`${name}.key`), keyOf(name).privateKey);
  }
});

interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const trust = (...args: string[]): Promise<Run> => mallorn('trust', ...args);

function mallorn(...args: string[]): Promise<Run> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [at('mallorn.mjs'), ...args], { cwd: folder }, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}

async function ok(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await trust(...args);
  assert.equal(code, 0, stderr);
  return stdout;
}

const read = (name: string) => parseTrust(splitTrust(new Uint8Array(readFileSync(at(name)))).body);

describe('mallorn trust', () => {
  test('begins a file, lets keys sign, and is shown as unsigned until enough roots have signed', async () => {
    const roots = ['--root', 'bob.pub', 'alice.pub', '--threshold', '2'];
    await ok('init', '-o', 'v1.trust', ...roots, '--expires', '2036-01-01');
    await ok('add', 'v1.trust', '--key', 'release.pub', '--role', 'patch', 'image');
    await ok('add', 'v1.trust', '--key', 'build.pub', '--role', 'patch', '--expires', '2027-05-01T12:00:00Z');
    await ok('sign', 'v1.trust', '--key', 'alice.key');
    const half = await trust('show', 'v1.trust');
    assert.equal(half.code, 5);
    assert.match(half.stdout, /signed +by 1 of 2 roots, 2 needed/);
    await ok('sign', 'v1.trust', '--key', 'alice.key');
    assert.equal((await trust('show', 'v1.trust')).code, 5, 'the same root twice is one root');
    await ok('sign', 'v1.trust', '--key', 'bob.key');
    const shown = JSON.parse(await ok('show', 'v1.trust', '--json')) as Record<string, unknown>;
    assert.deepEqual([shown['version'], shown['threshold'], shown['isSigned']], [1, 2, true]);
    assert.equal(shown['expires'], '2036-01-01T00:00:00Z');
    const build = read('v1.trust').keys.find(({ publicKey }) => toHex(publicKey) === toHex(keyOf('build').publicKey));
    assert.deepEqual([build?.roles, build?.expires], [['patch'], '2027-05-01T12:00:00Z']);
  });

  test('never changes a file that was signed, and makes the next version of it', async () => {
    const before = readFileSync(at('v1.trust'));
    const refused = await trust('rotate', 'v1.trust', '--threshold', '1');
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /is signed: -o names the file for version 2/);
    await ok('revoke', 'v1.trust', '--key', 'build.pub', '-o', 'v2.trust');
    await ok('rotate', 'v2.trust', '--add-root', 'carol.pub', '--remove-root', 'alice.pub');
    assert.deepEqual(readFileSync(at('v1.trust')), before);
    const { version, revoked, keys, roots } = read('v2.trust');
    assert.equal(version, 2, 'two changes of a draft are one version');
    assert.deepEqual(revoked, [keyOf('build').publicKey]);
    assert.deepEqual([keys.length, roots.length], [1, 2]);
    const back = await trust('add', 'v2.trust', '--key', 'build.pub', '--role', 'patch');
    assert.deepEqual([back.code, back.stdout], [5, '']);
    assert.match(back.stderr, /is revoked and listed/);
  });

  test('says whether devices would take the next file', async () => {
    for (const name of ['bob', 'carol']) await ok('sign', 'v2.trust', '--key', `${name}.key`);
    assert.equal((await trust('show', 'v2.trust')).code, 0, 'enough of its own roots');
    const refused = await trust('show', 'v2.trust', '--after', 'v1.trust');
    assert.equal(refused.code, 5);
    assert.match(refused.stderr, /expected signatures by 2 of the present roots, got 1/);
    await ok('sign', 'v2.trust', '--key', 'alice.key');
    await ok('show', 'v2.trust', '--after', 'v1.trust');
    assert.equal((await trust('show', 'v1.trust', '--after', 'v2.trust')).code, 5, 'not back');
  });

  test('signs by another program too, and a document brings the files along', async () => {
    await ok('rotate', 'v2.trust', '-o', 'v3.trust', '--threshold', '1');
    const script = `import { readFileSync, writeSync } from 'node:fs';
import { createPrivateKey, sign } from 'node:crypto';
const seed = readFileSync('bob.key').subarray(0, 32);
const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
writeSync(1, sign(null, readFileSync(0), createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })));`;
    writeFileSync(at('signer.mjs'), script);
    const signer = `'${process.execPath}' signer.mjs`;
    const lie = await trust('sign', 'v3.trust', '--signer', signer, '--signer-pubkey', 'carol.pub');
    assert.equal(lie.code, 5);
    await ok('sign', 'v3.trust', '--signer', signer, '--signer-pubkey', 'bob.pub');
    assert.equal((await trust('show', 'v3.trust', '--after', 'v2.trust')).code, 5, 'the threshold of now still counts');
    await ok('sign', 'v3.trust', '--key', 'carol.key');
    await ok('show', 'v3.trust', '--after', 'v2.trust');

    writeFileSync(at('old.bin'), new Uint8Array(500));
    writeFileSync(at('new.bin'), new Uint8Array(600));
    const where = ['-o', 'www', '--base-url', 'https://models.example', '--model', 'm', '--version', '2'];
    const files = ['v2.trust', 'v3.trust'];
    const { code, stderr } = await mallorn('publish', 'old.bin', 'new.bin', ...where, '--trust', ...files);
    assert.equal(code, 0, stderr);
    const document = JSON.parse(readFileSync(at('www/desired.json'), 'utf8')) as { trust: string[] };
    assert.deepEqual(
      document.trust,
      files.map((name) => readFileSync(at(name), 'utf8')),
    );
  });

  for (const [what, args] of [
    ['a threshold above the roots', ['init', '-o', 'x', '--root', 'alice.pub', '--threshold', '2']],
    ['a root twice', ['init', '-o', 'x', '--root', 'alice.pub', 'alice.pub']],
    ['a root that signs patches too', ['add', 'draft', '--key', 'alice.pub', '--role', 'patch']],
    ['an unknown role', ['add', 'draft', '--key', 'bob.pub', '--role', 'boot']],
    ['a date that is none', ['add', 'draft', '--key', 'bob.pub', '--role', 'patch', '--expires', '2027-02-30']],
    ['the last root gone', ['revoke', 'draft', '--key', 'alice.pub']],
    ['a root to remove that is none', ['rotate', 'draft', '--remove-root', 'bob.pub']],
    ['no key to sign with', ['sign', 'draft']],
  ] as const) {
    test(`refuses ${what}, and leaves the file alone`, async () => {
      await ok('init', '-o', 'draft', '--root', 'alice.pub');
      const before = readFileSync(at('draft'));
      const { code } = await trust(...args);
      assert.ok(code === 2 || code === 5, String(code));
      assert.deepEqual(readFileSync(at('draft')), before);
      assert.throws(() => readFileSync(at('x')), /ENOENT/);
    });
  }
});
