/** Peers that are not ours: Python's smpclient against our device, and our gateway against servers made of the smp package. */

import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { sha256Hex } from '../support/make-patch.js';
import { repoRoot } from '../support/paths.js';
import { LARGE } from './models.js';
import { mallorn, Rig } from './rig.js';
import type { Case } from './run-cases.js';

const SCRIPTS = join(repoRoot, 'hil-tests/serial/interop');
const CACHE = process.env['MALLORN_SERIAL_CACHE'] ?? join(repoRoot, '.cache/serial');
const PYTHON = join(CACHE, 'venv/bin/python');
const BOARD_PACKET_BYTES = 640;

export const INTEROP_CASES: readonly Case[] = [
  ...(['console', 'raw'] as const).map((framing) => ({
    name: `smpclient talks to the device in ${framing} framing, and uploads a patch as an image`,
    run: () => smpclientUploads(framing),
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
