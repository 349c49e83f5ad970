/** The built command line, as users get it: one file, copied away from everything else, run with plain node. */

import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makeKeyRecord } from '../core/slots/key-record.js';
import { EmbeddedBroker } from '../hil-tests/support/embedded-broker.js';
import { withFlip, withHeader } from '../hil-tests/support/forge-patch.js';
import { makePatch, noise, sha256Hex, testKeypair } from '../hil-tests/support/make-patch.js';
import { repoRoot } from '../hil-tests/support/paths.js';
import { NodeSigner } from '../targets/node/hashing.js';
import { SlotDirectory } from '../targets/node/slot-directory.js';
import { childTopics, DEFAULT_TOPIC_PREFIX, deviceTopics, modelTopics } from './topics.js';

const built = join(repoRoot, 'dist/cli.js');
const folder = mkdtempSync(join(tmpdir(), 'mallorn-cli-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);
const cli = at('mallorn.mjs');

const source = noise(50_000, 1);
const target = source.slice();
target.set(noise(4000, 2), 10_000);
const ours = testKeypair(1);
const theirs = testKeypair(2);

interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function mallorn(...args: string[]): Promise<Run> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [cli, ...args], { cwd: folder }, (_error, stdout, stderr) => {
      resolve({ code: child.exitCode, stdout, stderr });
    });
  });
}

/** Runs with --json and gives the one document on stdout. */
async function json(...args: string[]): Promise<{ code: number | null; document: Record<string, unknown> }> {
  const { code, stdout } = await mallorn(...args, '--json');
  return { code, document: JSON.parse(stdout) as Record<string, unknown> };
}

before(() => {
  assert.ok(existsSync(built), 'dist/cli.js is there: run npm run build first');
  copyFileSync(built, cli);
  const signed = makePatch(source, target, { privateKey: ours.privateKey });
  const files: Record<string, Uint8Array> = {
    'source.bin': source,
    'target.bin': target,
    'other.bin': noise(50_000, 3),
    'our.pub': ours.publicKey,
    'our.key': ours.privateKey,
    'their.pub': theirs.publicKey,
    'unsigned.mlrn': makePatch(source, target),
    'signed.mlrn': signed,
    'damaged.mlrn': withFlip(signed, signed.length - 1),
    'lying.mlrn': withHeader(signed, { targetHash: new Uint8Array(32).fill(7) }, ours.privateKey),
    'alone.mlrn': makePatch(null, target, { versionCounter: 1 }),
  };
  for (const [name, bytes] of Object.entries(files)) writeFileSync(at(name), bytes);
});

test('is a program of its own: executable, with a line that says what runs it', () => {
  assert.match(readFileSync(built, 'utf8').slice(0, 20), /^#!\/usr\/bin\/env node\n/);
  if (process.platform !== 'win32') assert.equal(statSync(built).mode & 0o777, 0o755);
});

describe('the way of a patch', () => {
  test('keygen, create, info, verify, apply', async () => {
    const keys = await mallorn('keygen', '-o', 'keys');
    assert.equal(keys.code, 0);
    assert.deepEqual([statSync(at('keys/mallorn.pub')).size, statSync(at('keys/mallorn.key')).size], [32, 64]);
    if (process.platform !== 'win32') assert.equal(statSync(at('keys/mallorn.key')).mode & 0o777, 0o600);
    const options = [
      '--level',
      '19',
      '--profile',
      'mcu',
      '--family',
      'kws',
      '--device-class',
      'm7',
      '--in-place',
      '--erase-block',
      '65536',
      '--counter',
      '5',
      '--min-counter',
      '2',
    ];
    const created = await mallorn(
      'create',
      'source.bin',
      'target.bin',
      '-o',
      'new.mlrn',
      '--key',
      'keys/mallorn.key',
      ...options,
    );
    assert.equal(created.code, 0, created.stderr);
    assert.equal(created.stderr, '', 'quiet in a pipe');
    const { document: info } = await json('info', 'new.mlrn');
    assert.equal(info['compression'], 'zstd(19)');
    assert.deepEqual([info['profile'], info['family'], info['deviceClass']], ['mcu', 'kws', 'm7']);
    assert.deepEqual([info['versionCounter'], info['minimumCounter'], info['signed']], [5, 2, true]);
    assert.deepEqual([info['inPlace'], info['unitBytes']], [true, 65536]);
    assert.equal(info['targetHash'], sha256Hex(target));
    const verified = await mallorn('verify', 'source.bin', 'new.mlrn', '--pubkey', 'keys/mallorn.pub');
    assert.equal(verified.code, 0);
    assert.match(verified.stdout, /^result +valid\n/);
    const applied = await mallorn('apply', 'source.bin', 'new.mlrn', '-o', 'out.bin', '--pubkey', 'keys/mallorn.pub');
    assert.equal(applied.code, 0);
    assert.deepEqual(new Uint8Array(readFileSync(at('out.bin'))), target);
  });

  test('without a source', async () => {
    assert.equal((await mallorn('create', '--no-source', 'target.bin', '-o', 'full.mlrn')).code, 0);
    assert.equal((await mallorn('verify', '--no-source', 'full.mlrn')).code, 0);
    assert.equal((await mallorn('apply', '--no-source', 'full.mlrn', '-o', 'full.bin')).code, 0);
    assert.deepEqual(new Uint8Array(readFileSync(at('full.bin'))), target);
    assert.equal((await json('info', 'full.mlrn')).document['standalone'], true);
  });

  test('of a whole folder, where a file fails and another has no old version', async () => {
    for (const [path, bytes] of [
      ['old/a.bin', source],
      ['new/a.bin', target],
      ['old/deep/b.bin', noise(3000, 4)],
      ['new/deep/b.bin', noise(3000, 5)],
      ['old/bad.bin', source],
      ['new/bad.bin', target],
      ['new/fresh.bin', noise(100, 6)],
      ['old/gone.bin', noise(100, 7)],
    ] as const) {
      mkdirSync(at(dirname(path)), { recursive: true });
      writeFileSync(at(path), bytes);
    }
    mkdirSync(at('new/patches/bad.bin.mlrn'), { recursive: true });
    const batch = ['create', '--batch', 'old', 'new', '-o', 'new/patches', '--level', '4'];
    // The second run finds the first one's patches below the new models and takes them for no models.
    for (const more of [[], ['--concurrency', '1']]) {
      const { code, document } = await json(...batch, ...more);
      assert.equal(code, 6, 'a folder lies where the patch of bad.bin should');
      assert.deepEqual([document['created'], document['failed'], document['skipped']], [2, 1, 1]);
      const files = document['files'] as Record<string, unknown>[];
      const kinds = files.map(({ name, kind }) => [name, kind]);
      assert.deepEqual(kinds, [
        ['a.bin', 'created'],
        ['bad.bin', 'failed'],
        ['deep/b.bin', 'created'],
        ['fresh.bin', 'skipped'],
      ]);
      assert.equal(files[0]!['patchSize'], statSync(at('new/patches/a.bin.mlrn')).size);
      assert.equal((files[1]!['error'] as { name: string }).name, 'IoError');
    }
    assert.equal((await mallorn('create', 'old/a.bin', 'new/a.bin', '-o', 'alone.a', '--level', '4')).code, 0);
    assert.deepEqual(readFileSync(at('new/patches/a.bin.mlrn')), readFileSync(at('alone.a')));
    rmSync(at('new/patches'), { recursive: true });
    const { code, stdout, stderr } = await mallorn(...batch, '--full');
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(stdout, /^created {2}fresh\.bin: .*\n4 created, 0 failed, 0 skipped\n$/m);
    assert.equal((await mallorn('apply', '--no-source', 'new/patches/fresh.bin.mlrn', '-o', 'fresh')).code, 0);
    assert.deepEqual(new Uint8Array(readFileSync(at('fresh'))), noise(100, 6));
  });

  test('create --neural, for gateways and microcontrollers', async () => {
    for (const profile of ['gateway', 'mcu']) {
      const created = await mallorn(
        'create',
        'source.bin',
        'target.bin',
        '-o',
        'n.mlrn',
        '--neural',
        '--profile',
        profile,
      );
      assert.deepEqual([created.code, created.stderr], [0, '']);
      const { document: info } = await json('info', 'n.mlrn');
      assert.deepEqual([info['compression'], info['neural'], info['profile']], ['neural', true, profile]);
      assert.equal((await mallorn('verify', 'source.bin', 'n.mlrn')).code, 0);
      assert.equal((await mallorn('apply', 'source.bin', 'n.mlrn', '-o', 'n.out')).code, 0);
      assert.deepEqual(new Uint8Array(readFileSync(at('n.out'))), target);
    }
  });

  test('key-record', async () => {
    const record = await mallorn(
      'key-record',
      'our.pub',
      '--key',
      'our.key',
      '--record-version',
      '3',
      '-o',
      'keys.mlkr',
    );
    assert.equal(record.code, 0);
    const { publicKey, privateKey } = ours;
    const expected = makeKeyRecord({ version: 3, deviceClass: '', keys: [publicKey] }, new NodeSigner(privateKey));
    assert.deepEqual(new Uint8Array(readFileSync(at('keys.mlkr'))), expected);
    const zero = ['key-record', 'our.pub', '--key', 'our.key', '--record-version', '0', '-o', 'none.mlkr'];
    assert.notEqual((await mallorn(...zero)).code, 0);
    assert.ok(!existsSync(at('none.mlkr')));
  });

  test('sign', async () => {
    assert.equal((await mallorn('sign', 'unsigned.mlrn', '--key', 'our.key', '-o', 'resigned.mlrn')).code, 0);
    assert.deepEqual(readFileSync(at('resigned.mlrn')), readFileSync(at('signed.mlrn')));
  });

  test('keys in PEM, encrypted, as a line of OpenSSH, and in another program', async () => {
    writeFileSync(at('passphrase'), 'open sesame\n');
    const made = await mallorn(
      'keygen',
      '-o',
      'pem',
      '--format',
      'ssh',
      '--encrypt',
      '--passphrase-file',
      'passphrase',
    );
    assert.equal(made.code, 0, made.stderr);
    assert.match(readFileSync(at('pem/mallorn.pub'), 'utf8'), /^ssh-ed25519 [A-Za-z0-9+/]+={0,2} mallorn\n$/);
    assert.match(readFileSync(at('pem/mallorn.key'), 'utf8'), /^-----BEGIN ENCRYPTED PRIVATE KEY-----\n/);
    const sign = ['sign', 'unsigned.mlrn', '-o', 'pem.mlrn', '--key', 'pem/mallorn.key'];
    const asked = await mallorn(...sign);
    assert.deepEqual([asked.code, existsSync(at('pem.mlrn'))], [2, false]);
    assert.match(asked.stderr, /needs a passphrase: --passphrase-file/);
    assert.equal((await mallorn(...sign, '--passphrase-file', 'passphrase')).code, 0);
    assert.equal((await mallorn('verify', 'source.bin', 'pem.mlrn', '--pubkey', 'pem/mallorn.pub')).code, 0);
    const signer = `"${process.execPath}" '${at('signer.mjs')}' {message}`;
    const script = `import { readFileSync, writeSync } from 'node:fs';
import { createPrivateKey, sign } from 'node:crypto';
const key = createPrivateKey({ key: readFileSync('pem/mallorn.key'), passphrase: 'open sesame' });
writeSync(1, sign(null, readFileSync(process.argv[2]), key));`;
    writeFileSync(at('signer.mjs'), script);
    const external = ['--signer', signer, '--signer-pubkey', 'pem/mallorn.pub'];
    assert.equal((await mallorn('sign', 'unsigned.mlrn', '-o', 'ext.mlrn', ...external)).code, 0);
    assert.deepEqual(readFileSync(at('ext.mlrn')), readFileSync(at('pem.mlrn')));
    const stated = ['--signer', signer, '--signer-pubkey', 'our.pub'];
    assert.equal((await mallorn('sign', 'unsigned.mlrn', '-o', 'bad.mlrn', ...stated)).code, 5);
    assert.equal((await mallorn('sign', 'unsigned.mlrn', '-o', 'bad.mlrn', '--signer', signer)).code, 2);
    assert.ok(!existsSync(at('bad.mlrn')));
  });

  test('info --verbose, with and without the source', async () => {
    const blind = await mallorn('info', 'unsigned.mlrn', '--verbose');
    assert.match(blind.stdout, /give --source/);
    const seeing = await mallorn('info', 'unsigned.mlrn', '--verbose', '--source', 'source.bin');
    assert.match(seeing.stdout, /\(outside tensors\)( +[0-9,]+){4}\n/);
    const { document } = await json('info', 'unsigned.mlrn', '--verbose', '--source', 'source.bin');
    assert.ok(Array.isArray(document['segments']) && Array.isArray(document['tensors']));
  });

  test('fingerprint', async () => {
    const { code, document } = await json('fingerprint', 'source.bin');
    assert.equal(code, 0);
    assert.deepEqual([document['format'], document['fileSize']], ['binary', 50_000]);
    assert.equal((await mallorn('fingerprint', 'source.bin', '--compare', 'source.bin')).code, 0);
    assert.equal((await mallorn('fingerprint', 'source.bin', '--compare', 'other.bin')).code, 1);
    const compared = await json('fingerprint', 'source.bin', '--compare', 'other.bin');
    assert.deepEqual([compared.code, compared.document['same']], [1, false]);
  });

  test('publish lays out a folder, and tells devices through a broker', async () => {
    const broker = await EmbeddedBroker.start();
    try {
      const options = [
        '-o',
        'www',
        '--base-url',
        'https://models.example/kws',
        '--model',
        'kws',
        '--version',
        '2',
        '--key',
        'our.key',
      ];
      const told = ['--counter', '2', '--full-image', '--mqtt', broker.url, '--device', 'one', 'two'];
      const { code, document } = await json('publish', 'source.bin', 'other.bin', 'target.bin', ...options, ...told);
      assert.equal(code, 0, JSON.stringify(document));
      const desired = JSON.parse(readFileSync(at('www/desired.json'), 'utf8')) as {
        patches: unknown[];
        fullImage: object | null;
      };
      assert.equal(desired.patches.length, 2);
      assert.notEqual(desired.fullImage, null);
      assert.deepEqual(document['desired'], desired);
      for (const device of ['one', 'two']) {
        assert.deepEqual(
          JSON.parse(broker.payloadOf(deviceTopics(DEFAULT_TOPIC_PREFIX, device).desired) ?? 'null'),
          desired,
        );
      }
      const phase = ['--fraction', '0.25', '--spread', '600'];
      const again = [...phase, '--model-topic', '--mqtt', broker.url, '--device', 'one'];
      assert.equal((await mallorn('publish', 'source.bin', 'target.bin', ...options, ...again)).code, 0);
      const phased = JSON.parse(broker.payloadOf(modelTopics(DEFAULT_TOPIC_PREFIX, 'one', 'kws').desired) ?? '{}');
      assert.deepEqual([phased.model, phased.rollout], ['kws', { fraction: 0.25, windowSeconds: 600 }]);
      assert.equal(phased.targetSize, statSync(at('target.bin')).size);
      assert.equal((await mallorn('publish', 'source.bin', 'target.bin', ...options, '--fraction', '1.5')).code, 2);
      const child = ['--child', 'camera', '--mqtt', broker.url, '--device', 'one'];
      assert.equal((await mallorn('publish', 'source.bin', 'target.bin', ...options, ...child)).code, 0);
      const { patches } = JSON.parse(
        broker.payloadOf(childTopics(DEFAULT_TOPIC_PREFIX, 'one', 'camera').desired) ?? 'null',
      ) as typeof desired;
      assert.deepEqual(
        patches.map((patch) => (patch as { profile: string }).profile),
        ['mcu'],
      );
      const inPlace = ['--in-place', '--erase-block', '65536', '--full-image', '--counter', '3'];
      const oneSlot = await json('publish', 'source.bin', 'target.bin', ...options, ...inPlace, '--profile', 'mcu');
      const files = oneSlot.document['files'] as { path: string; source: string | null }[];
      assert.equal(files.length, 2);
      for (const { path, source } of files) {
        const { document: info } = await json('info', path);
        assert.deepEqual([info['inPlace'], info['unitBytes']], source === null ? [false, 0] : [true, 65536]);
      }
      const wrongs = [['--child', 'camera'], [...child, '--model-topic'], ['--model-topic'], ['--erase-block', '4096']];
      for (const wrong of wrongs) {
        assert.equal((await mallorn('publish', 'source.bin', 'target.bin', ...options, ...wrong)).code, 2);
      }
    } finally {
      await broker.stop();
    }
  });
});

describe('exit codes', () => {
  const cases: readonly (readonly [number, string, string, readonly string[]])[] = [
    [2, 'an unknown command', 'USAGE', ['destroy']],
    [2, 'an unknown option', 'USAGE', ['info', 'signed.mlrn', '--loud']],
    [2, 'a missing output', 'USAGE', ['create', 'source.bin', 'target.bin']],
    [2, 'a missing source', 'USAGE', ['create', 'target.bin', '-o', 'o']],
    [2, 'a batch of one folder', 'USAGE', ['create', '--batch', '.', '-o', 'o']],
    [2, 'a batch without sources', 'USAGE', ['create', '--batch', '--no-source', '.', '.', '-o', 'o']],
    [2, 'a batch into its own models', 'USAGE', ['create', '--batch', '.', '.', '-o', '.']],
    [2, '--full without a batch', 'USAGE', ['create', 'source.bin', 'target.bin', '-o', 'o', '--full']],
    [2, 'a source beside --no-source', 'USAGE', ['apply', '--no-source', 'source.bin', 'alone.mlrn', '-o', 'o']],
    [2, 'a level that is no number', 'USAGE', ['create', 'source.bin', 'target.bin', '-o', 'o', '--level', 'best']],
    [2, 'level 20', 'USAGE', ['create', 'source.bin', 'target.bin', '-o', 'o', '--level', '20']],
    [2, 'a profile nobody knows', 'USAGE', ['create', 'source.bin', 'target.bin', '-o', 'o', '--profile', 'phone']],
    [2, 'a public key where a private one belongs', 'USAGE', ['sign', 'signed.mlrn', '--key', 'our.pub', '-o', 'o']],
    [
      2,
      'a broker without devices',
      'USAGE',
      [
        'publish',
        'target.bin',
        '-o',
        'w',
        '--base-url',
        'http://x/',
        '--model',
        'm',
        '--version',
        '1',
        '--mqtt',
        'mqtt://x',
      ],
    ],
    [2, 'an agent configuration that is none', 'USAGE', ['agent', '--config', 'our.pub']],
    [3, 'apply with a wrong source', 'SOURCE_HASH_MISMATCH', ['apply', 'other.bin', 'signed.mlrn', '-o', 'o']],
    [
      3,
      'apply without the source it needs',
      'SOURCE_HASH_MISMATCH',
      ['apply', '--no-source', 'signed.mlrn', '-o', 'o'],
    ],
    [3, 'info with a wrong source', 'SOURCE_HASH_MISMATCH', ['info', 'signed.mlrn', '-v', '--source', 'other.bin']],
    [4, 'apply of a patch that lies', 'TARGET_HASH_MISMATCH', ['apply', 'source.bin', 'lying.mlrn', '-o', 'o']],
    [
      5,
      'apply of an unsigned patch with a key',
      'UNSIGNED',
      ['apply', 'source.bin', 'unsigned.mlrn', '-o', 'o', '--pubkey', 'our.pub'],
    ],
    [
      5,
      'apply with an unknown key',
      'UNKNOWN_SIGNER',
      ['apply', 'source.bin', 'signed.mlrn', '-o', 'o', '--pubkey', 'their.pub'],
    ],
    [6, 'a file that is missing', 'IO', ['info', 'nowhere.mlrn']],
    [6, 'a batch of a folder that is missing', 'IO', ['create', '--batch', 'nowhere', '.', '-o', 'o']],
    [6, 'a key that is missing', 'IO', ['sign', 'signed.mlrn', '--key', 'nowhere.key', '-o', 'o']],
    [6, 'a folder that is missing', 'IO', ['apply', 'source.bin', 'signed.mlrn', '-o', 'nowhere/o']],
    [6, 'an output that is an input', 'OUTPUT_IS_INPUT', ['apply', 'source.bin', 'signed.mlrn', '-o', 'source.bin']],
    [7, 'a damaged patch', 'BAD_FRAME', ['apply', 'source.bin', 'damaged.mlrn', '-o', 'o']],
    [7, 'something that is no patch', 'BAD_MAGIC', ['info', 'source.bin']],
  ];
  for (const [expected, name, errorCode, args] of cases) {
    test(`${expected}: ${name}`, async () => {
      const [plain, { code, document }] = await Promise.all([mallorn(...args), json(...args)]);
      assert.equal(plain.code, expected, plain.stderr);
      assert.equal(plain.stdout, '');
      assert.match(plain.stderr, /\S/);
      assert.equal(code, expected);
      assert.deepEqual(Object.keys(document), ['error']);
      const error = document['error'] as Record<string, unknown>;
      assert.equal(error['code'], errorCode);
      assert.equal(typeof error['name'], 'string');
      assert.match(String(error['message']), /\S/);
      assert.ok(!existsSync(at('o')));
    });
  }

  for (const [expected, name, args] of [
    [0, 'a valid patch', ['source.bin', 'signed.mlrn', '--pubkey', 'our.pub']],
    [3, 'a wrong source', ['other.bin', 'signed.mlrn']],
    [4, 'a patch that lies', ['source.bin', 'lying.mlrn']],
    [5, 'an unsigned patch', ['source.bin', 'unsigned.mlrn', '--pubkey', 'our.pub']],
    [7, 'a damaged patch', ['source.bin', 'damaged.mlrn']],
  ] as const) {
    test(`${expected}: verify of ${name}`, async () => {
      const [plain, { code, document }] = await Promise.all([mallorn('verify', ...args), json('verify', ...args)]);
      assert.deepEqual([plain.code, code], [expected, expected]);
      assert.equal(document['valid'], expected === 0);
      assert.equal(document['error'] === null, expected === 0);
    });
  }

  test('0: --help and --version', async () => {
    const help = await mallorn('--help');
    assert.equal(help.code, 0);
    assert.match(help.stdout, /Exit codes: 0 ok/);
    assert.match((await mallorn('--version')).stdout, /^\d+\.\d+\.\d+\n$/);
  });

  test('6: keygen never overwrites a key, not even one of two', async () => {
    writeFileSync(at('mallorn.pub'), 'precious');
    assert.equal((await mallorn('keygen', '-o', '.')).code, 6);
    assert.equal(readFileSync(at('mallorn.pub'), 'utf8'), 'precious');
    assert.ok(!existsSync(at('mallorn.key')));
  });
});

test('agent runs until it is told to end, with its worker thread in the same file', async () => {
  const broker = await EmbeddedBroker.start();
  try {
    const config = {
      device: 'gw-1',
      mqtt: { url: broker.url },
      model: { name: 'kws', slots: 'slots' },
      stateFolder: 'state',
      trustedKeys: ['our.pub'],
    };
    writeFileSync(at('agent.json'), JSON.stringify(config));
    SlotDirectory.open(at('slots'), { create: true }).close();
    const child = spawn(process.execPath, [cli, 'agent', '--config', 'agent.json'], { cwd: folder, stdio: 'ignore' });
    const ended = once(child, 'exit');
    try {
      const topics = deviceTopics(DEFAULT_TOPIC_PREFIX, 'gw-1');
      const birth = JSON.parse(await broker.waitFor(topics.birth, () => true)) as Record<string, unknown>;
      assert.equal(typeof birth['agentVersion'], 'string');
      await broker.waitFor(topics.reported, () => true);
    } finally {
      child.kill('SIGTERM');
    }
    assert.deepEqual((await ended).slice(0, 1), [0]);
  } finally {
    await broker.stop();
  }
});

describe('signals', { skip: process.platform === 'win32' && 'has none' }, () => {
  test('SIGINT ends create cleanly: no output, no temporary file, and the shell is told', async () => {
    const sizeBytes = 30 << 20;
    writeFileSync(at('old.big'), noise(sizeBytes, 4));
    writeFileSync(at('new.big'), noise(sizeBytes, 5));
    await interrupted('create', 'old.big', 'new.big', '-o', 'big.mlrn', '--level', '9');
  });

  test('and apply, which works on the thread that hears of it', async () => {
    // Half a second of decoding.
    writeFileSync(
      at('slow'),
      noise(400_000, 6).map((byte) => byte & 15),
    );
    assert.equal((await mallorn('create', '--no-source', 'slow', '-o', 'slow.mlrn', '--neural')).code, 0);
    await interrupted('apply', '--no-source', 'slow.mlrn', '-o', 'slow.out');
  });
});

/** Ends a command once it has begun to write. */
async function interrupted(...args: string[]): Promise<void> {
  const before = readdirSync(folder);
  const child = spawn(process.execPath, [cli, ...args], { cwd: folder });
  await tempFileIn(child, before);
  child.kill('SIGINT');
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  assert.deepEqual([code, signal], [null, 'SIGINT']);
  assert.deepEqual(readdirSync(folder), before);
}

/** Until the child has begun to write. */
async function tempFileIn(child: ChildProcess, before: readonly string[]): Promise<void> {
  while (readdirSync(folder).length === before.length) {
    assert.equal(child.exitCode, null, 'the child is at work');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
