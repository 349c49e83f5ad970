/** The simulated microcontroller and `mallorn flash`, as shipped, over TCP: what anyone can do without hardware or socat. */

import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
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
  readonly methods: readonly string[];
  readonly info: { readonly active: { readonly sha: string } };
}

async function mallorn(...args: string[]): Promise<Printed> {
  const { stdout } = await run(process.execPath, [cli, ...args, '--json']);
  return JSON.parse(stdout) as Printed;
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
