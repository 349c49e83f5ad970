/** The simulated microcontroller and `mallorn flash`, as shipped, over TCP: what anyone can do without hardware or socat. */

import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { makeKeyRecord } from '../core/slots/key-record.js';
import { NodeSigner } from '../targets/node/hashing.js';
import { key, MEDIUM } from './serial/models.js';
import { makePatch, sha256Hex, testKeypair } from './support/make-patch.js';
import { repoRoot } from './support/paths.js';

const run = promisify(execFile);
const cli = join(repoRoot, 'dist/cli.js');
const folder = mkdtempSync(join(tmpdir(), 'mallorn-simulator-'));
const path = (name: string): string => join(folder, name);
const running: ChildProcess[] = [];
after(async () => {
  for (const child of running) {
    const exit = once(child, 'exit');
    child.kill();
    await exit;
  }
  rmSync(folder, { recursive: true });
});

writeFileSync(path('old'), MEDIUM.old);
writeFileSync(path('key.pub'), key.publicKey);
writeFileSync(path('patch'), MEDIUM.patch);

/** Where the device listens. */
async function simulate(...more: string[]): Promise<string> {
  const args = [cli, 'simulate-mcu', '--json', '--no-pty', '--model', path('old'), ...more];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  running.push(child);
  const [text] = (await once(child.stdout, 'data')) as [Buffer];
  return (JSON.parse(text.toString()) as { tcp: string }).tcp;
}

interface Printed {
  readonly method: string;
  readonly alreadyThere: boolean;
  readonly state: string;
  readonly keys: { readonly version: number; readonly before: number; readonly alreadyThere: boolean };
  readonly methods: readonly string[];
  readonly info: { readonly active: { readonly sha: string }; readonly keys: number };
}

async function mallorn(...args: string[]): Promise<Printed> {
  const { stdout } = await run(process.execPath, [cli, ...args, '--json']);
  return JSON.parse(stdout) as Printed;
}

interface Failed {
  readonly code: number;
  readonly errorCode: string;
  readonly message: string;
  readonly stderr: string;
}

async function failing(...args: string[]): Promise<Failed> {
  const failed = await mallorn(...args).then(
    () => assert.fail('it went well'),
    (error) => error as { code: number; stdout: string; stderr: string },
  );
  const { error } = JSON.parse(failed.stdout) as { error: { code: string; message: string } };
  return { code: failed.code, errorCode: error.code, message: error.message, stderr: failed.stderr };
}

/** A record that names `signer`; its file. */
function keyRecord(version: number, signer: number, root = 60): string {
  const keys = [testKeypair(signer).publicKey];
  const record = makeKeyRecord({ version, deviceClass: '', keys }, new NodeSigner(testKeypair(root).privateKey));
  const file = path(`${version}-${signer}-${root}.mlkr`);
  writeFileSync(file, record);
  return file;
}

test('a simulated device is flashed, tells what it runs, and is not flashed twice', async () => {
  const port = await simulate('--pubkey', path('key.pub'));
  assert.deepEqual((await mallorn('devices', '--port', port)).methods, ['delta']);
  const first = await mallorn('flash', '--port', port, '--patch', path('patch'));
  assert.deepEqual([first.method, first.alreadyThere, first.state], ['delta', false, 'trial']);
  const second = await mallorn('flash', '--port', port, '--patch', path('patch'), '--confirm');
  assert.deepEqual([second.alreadyThere, second.state], [true, 'good']);
  assert.equal((await mallorn('devices', '--port', port)).info.active.sha, sha256Hex(MEDIUM.next));
});

test("a stranger's patch is refused by a device with a key, with the exit code of signatures, and taken by one without", async () => {
  const stranger = makePatch(MEDIUM.old, MEDIUM.next, {
    neural: true,
    profile: 'mcu',
    privateKey: testKeypair(9).privateKey,
    versionCounter: 5,
  });
  writeFileSync(path('stranger'), stranger);
  const [signed, unsigned] = await Promise.all([simulate('--pubkey', path('key.pub')), simulate()]);
  await assert.rejects(mallorn('flash', '--port', signed, '--patch', path('stranger')), (error) => {
    const { code, stdout } = error as { code: number; stdout: string };
    assert.equal((JSON.parse(stdout) as { error: { code: string } }).error.code, 'UNKNOWN_SIGNER');
    return code === 5;
  });
  assert.equal((await mallorn('flash', '--port', unsigned, '--patch', path('stranger'))).state, 'trial');
});

test('a device gets other keys, and with them a patch by the new one in the same command', async () => {
  writeFileSync(path('root.pub'), testKeypair(60).publicKey);
  const options = { neural: true, profile: 'mcu', privateKey: testKeypair(61).privateKey, versionCounter: 5 } as const;
  writeFileSync(path('by-next'), makePatch(MEDIUM.old, MEDIUM.next, options));
  const port = await simulate('--pubkey', path('key.pub'), '--root-key', path('root.pub'));
  const alone = await mallorn('flash', '--port', port, '--keys', keyRecord(1, 7));
  assert.deepEqual(alone, { port, keys: { version: 1, before: 0, alreadyThere: false } });
  const again = await mallorn('flash', '--port', port, '--keys', keyRecord(1, 7));
  assert.deepEqual(again.keys, { version: 1, before: 1, alreadyThere: true });
  const both = await mallorn('flash', '--port', port, '--keys', keyRecord(2, 61), '--patch', path('by-next'));
  assert.deepEqual([both.keys.version, both.keys.before, both.state], [2, 1, 'trial']);
  assert.equal((await mallorn('devices', '--port', port)).info.keys, 2);
  const { stdout } = await run(process.execPath, [cli, 'flash', '--port', port, '--keys', keyRecord(3, 7)]);
  assert.match(stdout, /^keys +version 3 in force, before version 2$/m);

  const older = await failing('flash', '--port', port, '--keys', keyRecord(1, 7), '--patch', path('by-next'));
  assert.deepEqual([older.code, older.errorCode], [7, 'COUNTER_TOO_LOW']);
  assert.match(older.message, /expected a version above the device's 3, got 1/);
  const strange = await failing('flash', '--port', port, '--keys', keyRecord(4, 7, 66));
  assert.deepEqual([strange.code, strange.errorCode], [5, 'BAD_SIGNATURE']);
  assert.equal((await mallorn('devices', '--port', port)).info.keys, 3);
});

test('when the patch is refused after the keys were taken, both are said', async () => {
  writeFileSync(path('root.pub'), testKeypair(60).publicKey);
  const port = await simulate('--pubkey', path('key.pub'), '--root-key', path('root.pub'));
  const failed = await failing('flash', '--port', port, '--keys', keyRecord(1, 61), '--patch', path('patch'));
  assert.deepEqual([failed.code, failed.errorCode], [5, 'UNKNOWN_SIGNER']);
  assert.match(failed.stderr, /^warning: keys: version 1 in force, before the factory's; what followed failed$/m);
});

test('devices that take no key records say why, and what is none is not sent', async () => {
  const record = keyRecord(1, 7);
  const [rootless, unsigned] = await Promise.all([simulate('--pubkey', path('key.pub')), simulate()]);
  const noRoot = await failing('flash', '--port', rootless, '--keys', record);
  assert.deepEqual([noRoot.code, noRoot.errorCode], [5, 'UNKNOWN_SIGNER']);
  assert.match(noRoot.message, /built without a root key/);
  const noKeys = await failing('flash', '--port', unsigned, '--keys', record);
  assert.deepEqual([noKeys.code, noKeys.errorCode], [6, 'IO']);
  assert.match(noKeys.message, /takes no key records: it checks no signatures/);
  const noRecord = await failing('flash', '--port', '/dev/mallorn-not-there', '--keys', path('key.pub'));
  assert.deepEqual([noRecord.code, noRecord.errorCode], [7, 'BAD_KEY_RECORD']);
  assert.equal((await failing('flash', '--port', rootless)).code, 2, 'neither keys nor a patch');
  assert.equal((await failing('flash', '--port', rootless, '--keys', record, '--confirm')).code, 2);
});
