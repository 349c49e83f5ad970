/**
 * Peers that are not ours: Python's smpclient and Rust's mcumgrctl against our device, and our gateway against servers made of the smp
 * package.
 */

import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { DELTA_ACTIVATE, DELTA_CONFIRM, DELTA_INFO, GROUP_DELTA } from '../../core/smp/packet.js';
import { makePatch, sha256Hex, testKeypair } from '../support/make-patch.js';
import { repoRoot } from '../support/paths.js';
import { LARGE } from './models.js';
import { mallorn, Rig } from './rig.js';
import type { Case } from './run-cases.js';

const SCRIPTS = join(repoRoot, 'hil-tests/serial/interop');
const CACHE = process.env['MALLORN_SERIAL_CACHE'] ?? join(repoRoot, '.cache/serial');
const PYTHON = join(CACHE, 'venv/bin/python');
const MCUMGRCTL = join(CACHE, 'rust/bin/mcumgrctl');
const BOARD_PACKET_BYTES = 640;

export const INTEROP_CASES: readonly Case[] = [
  ...(['console', 'raw'] as const).map((framing) => ({
    name: `smpclient talks to the device in ${framing} framing, and uploads a patch as an image`,
    run: () => smpclientUploads(framing),
  })),
  ...(
    [
      ['uploads a patch as an image, runs it on trial and keeps it, by the delta group', mcumgrctlUpdates],
      ['in raw framing uploads a patch, and may not switch to it', mcumgrctlUploadsRaw],
      ['is refused the patch of a stranger, and the old model stays', mcumgrctlIsRefused],
    ] as const
  ).map(([what, run]) => ({
    name: `mcumgrctl ${what}`,
    cannot: () =>
      existsSync(MCUMGRCTL) ? null : 'mcumgrctl is not there: scripts/serial-setup.sh builds it with cargo',
    run,
  })),
  { name: 'the gateway uploads an image to a server made of the smp package', run: () => uploadsTo('image', []) },
  {
    name: 'the gateway writes a file to a server made of the smp package',
    run: () => uploadsTo('file', ['--file-path', '/lfs/model']),
  },
];

async function smpclientUploads(framing: string): Promise<number> {
  return Rig.with(LARGE, {}, async (rig) => {
    const arguments_ = [join(SCRIPTS, 'client_peer.py'), rig.pty, framing, rig.patch];
    const { stdout } = await promisify(execFile)(PYTHON, arguments_);
    const { packets, ...answers } = JSON.parse(stdout) as { packets: number };
    assert.deepEqual(answers, {
      echo: 'hello',
      bufSize: BOARD_PACKET_BYTES,
      bufCount: 2,
      uploaded: LARGE.patch.length,
    });
    assert.ok(packets > 10);
    // The model is staged: only activating is left.
    const before = (await rig.count()).toDevice;
    const { code, stderr } = await mallorn(rig.flashArgs());
    assert.equal(code, 0, stderr);
    assert.ok((await rig.count()).toDevice - before < 500);
    assert.equal(rig.activeHash(), sha256Hex(LARGE.next));
    return 0;
  });
}

/** What it prints, as JSON where it has any. @throws with what it says where its exit code is not 0 */
async function mcumgrctl(rig: Rig, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(MCUMGRCTL, ['--serial', rig.pty, '--json', '--quiet', ...args]);
  return stdout;
}

/** Bytes come as arrays of numbers. */
interface InfoSlot {
  readonly state: string;
  readonly sha?: readonly number[];
}

async function infoBy(rig: Rig): Promise<{ active: InfoSlot; other: InfoSlot }> {
  return JSON.parse(await mcumgrctl(rig, 'raw', 'read', String(GROUP_DELTA), String(DELTA_INFO)));
}

async function changeBy(rig: Rig, command: number): Promise<string> {
  const answer = JSON.parse(await mcumgrctl(rig, 'raw', 'write', String(GROUP_DELTA), String(command)));
  return (answer as { active: InfoSlot }).active.state;
}

async function mcumgrctlUpdates(): Promise<number> {
  return Rig.with(LARGE, {}, async (rig) => {
    assert.equal((await mcumgrctl(rig, 'os', 'echo', 'hello')).trim(), 'hello');
    const params = JSON.parse(await mcumgrctl(rig, 'os', 'mcumgr-parameters'));
    assert.deepEqual(params, { buf_size: BOARD_PACKET_BYTES, buf_count: 2 });
    await mcumgrctl(rig, 'image', 'upload', rig.patch);
    const { active, other } = await infoBy(rig);
    assert.deepEqual([active.state, other.state], ['good', 'staged']);
    assert.equal(Buffer.from(other.sha ?? []).toString('hex'), sha256Hex(LARGE.next));
    assert.deepEqual([rig.activeHash(), rig.board.stagedHash()], [sha256Hex(LARGE.old), sha256Hex(LARGE.next)]);
    assert.equal(await changeBy(rig, DELTA_ACTIVATE), 'trial');
    assert.deepEqual([rig.activeHash(), rig.board.activeState()], [sha256Hex(LARGE.next), 'trial']);
    assert.equal(await changeBy(rig, DELTA_CONFIRM), 'good');
    await mcumgrctl(rig, 'os', 'system-reset');
    assert.equal((await infoBy(rig)).active.state, 'good');
    assert.deepEqual([rig.activeHash(), rig.board.activeState()], [sha256Hex(LARGE.next), 'good']);
    return 0;
  });
}

async function mcumgrctlUploadsRaw(): Promise<number> {
  return Rig.with(LARGE, {}, async (rig) => {
    assert.equal((await mcumgrctl(rig, '--raw', 'os', 'echo', 'hello')).trim(), 'hello');
    await mcumgrctl(rig, '--raw', 'image', 'upload', rig.patch);
    const switchRaw = mcumgrctl(rig, '--raw', 'raw', 'write', String(GROUP_DELTA), String(DELTA_ACTIVATE));
    await assert.rejects(switchRaw, /MGMT_ERR_ENOTSUP/);
    assert.deepEqual([rig.activeHash(), rig.board.stagedHash()], [sha256Hex(LARGE.old), sha256Hex(LARGE.next)]);
    return 0;
  });
}

async function mcumgrctlIsRefused(): Promise<number> {
  return Rig.with(LARGE, {}, async (rig) => {
    const { privateKey } = testKeypair(8);
    const options = { neural: true, profile: 'mcu', privateKey, versionCounter: 5 } as const;
    writeFileSync(rig.patch, makePatch(LARGE.old, LARGE.next, options));
    await assert.rejects(mcumgrctl(rig, 'image', 'upload', rig.patch), /Device returned error code: group=64,rc=/);
    assert.deepEqual([rig.activeHash(), rig.board.stagedHash()], [sha256Hex(LARGE.old), null]);
    return 1;
  });
}

async function uploadsTo(groups: 'image' | 'file', more: readonly string[]): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'mallorn-interop-'));
  const path = (name: string): string => join(folder, name);
  writeFileSync(path('patch'), LARGE.patch);
  writeFileSync(path('model'), LARGE.next);
  const server = spawn(PYTHON, [join(SCRIPTS, 'server_peer.py'), groups, path('out')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const args = ['flash', '--json', '--port', await firstLine(server), '--patch', path('patch'), ...more];
    const without = await mallorn(args);
    assert.equal(without.code, 6, 'a whole model is never sent without being given');
    const { code, stdout, stderr } = await mallorn([...args, '--model', path('model')]);
    assert.equal(code, 0, `${stderr}${stdout}`);
    assert.equal((JSON.parse(stdout) as { method: string }).method, groups);
    assert.ok(existsSync(path('out')));
    assert.equal(sha256Hex(readFileSync(path('out'))), sha256Hex(LARGE.next));
    return Number(readFileSync(path('out.lost'), 'utf8'));
  } finally {
    const exit = once(server, 'exit');
    server.kill();
    await exit;
    rmSync(folder, { recursive: true });
  }
}

async function firstLine(child: ChildProcess): Promise<string> {
  const [text] = (await once(child.stdout!, 'data')) as [Buffer];
  return text.toString().trim();
}
