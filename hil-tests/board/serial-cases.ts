/** The emulated board on a PTY, and the shipped command at its other end: the cable pulled, the board reset, the gateway killed. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LARGE, SEGMENT_BYTES, type Update } from '../serial/models.js';
import { noise, sha256Hex } from '../support/make-patch.js';
import { repoRoot } from '../support/paths.js';
import type { Case } from './cases.js';
import { EmulatedBoard } from './emulated-board.js';
import { type FlashImage, makeImage } from './flash-image.js';

/** Updates, and how often each is broken off: beginning anew takes the emulated board seconds. */
const PULLED = { updates: 4, breaks: 5 };
const RESET = { updates: 1, breaks: 5 };
const KILLED = { updates: 1, breaks: 3 };
const CLI = join(repoRoot, 'dist/cli.js');

export const SERIAL_CASES: readonly Case[] = [
  {
    name: `the cable pulled at ${PULLED.updates * PULLED.breaks} random points: the update goes on and ends byte for byte`,
    run: ({ unsigned }) => breakOffEach(unsigned, PULLED, pullCable),
  },
  {
    name: `the board reset at ${RESET.breaks} random points: the update goes on`,
    run: ({ unsigned }) => breakOffEach(unsigned, RESET, resetBoard),
  },
  {
    name: `the gateway killed at ${KILLED.breaks} random points of a signed update: the next one goes on`,
    run: ({ signed }) => breakOffEach(signed, KILLED, killGateway),
  },
];

/** What one update goes through. */
interface Scene {
  board: EmulatedBoard;
  readonly folder: string;
  readonly firmware: string;
  cable: Cable | null;
  gateway: Gateway;
  /** Bytes from gateway to board. */
  carried: number;
}

interface Gateway {
  readonly child: ChildProcess;
  readonly ended: Promise<{ code: number | null; stderr: string }>;
}

interface Cable {
  readonly socat: ChildProcess;
  readonly held: Socket;
}

async function pullCable(scene: Scene): Promise<void> {
  await unplug(scene);
  await sleep(300);
  scene.cable = await plug(scene);
}

async function resetBoard(scene: Scene): Promise<void> {
  const image = await scene.board.cutPower();
  scene.board = await powerUp(scene, image);
  // The adapter is still plugged in; what hangs on it is another line now.
  await unplug(scene);
  scene.cable = await plug(scene);
}

async function killGateway(scene: Scene): Promise<void> {
  scene.gateway.child.kill('SIGKILL');
  await scene.gateway.ended;
  scene.gateway = startGateway(scene);
}

type BreakOff = (scene: Scene) => Promise<void>;

async function breakOffEach(firmware: string, { updates, breaks }: typeof PULLED, breakOff: BreakOff): Promise<void> {
  const moments = noise(updates * breaks, 23);
  for (let i = 0; i < updates; i++) {
    const shares = [...moments.subarray(i * breaks, (i + 1) * breaks)].map((byte) => byte / 256).sort((x, y) => x - y);
    await updateThrough(firmware, LARGE, shares, breakOff);
  }
}

/** One update, broken off whenever that share of the patch went over the line. */
async function updateThrough(
  firmware: string,
  of: Update,
  shares: readonly number[],
  breakOff: BreakOff,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'mallorn-board-'));
  writeFileSync(join(folder, 'patch'), of.patch);
  const factory = makeImage({ keys: of.trustedKeys, model: of.old });
  const started: Partial<Scene> & Pick<Scene, 'folder' | 'firmware'> = { folder, firmware };
  const scene = started as Scene;
  scene.carried = 0;
  scene.board = await powerUp(scene, factory);
  let image: FlashImage;
  try {
    scene.cable = await plug(scene);
    scene.gateway = startGateway(scene);
    for (const share of shares) {
      while (scene.carried < share * of.patch.length) await sleep(1);
      await breakOff(scene);
    }
    const { code, stderr } = await scene.gateway.ended;
    assert.equal(code, 0, stderr);
  } finally {
    scene.gateway?.child.kill('SIGKILL');
    await unplug(scene);
    image = await scene.board.cutPower();
    rmSync(folder, { recursive: true });
  }
  assert.equal(sha256Hex(image.activeModel()), sha256Hex(of.next), `broken off at ${shares}`);
  // At most a segment twice each time, and what is said besides.
  const most = of.patch.length + shares.length * (SEGMENT_BYTES + 2048);
  assert.ok(scene.carried < 1.1 * most, `broken off at ${shares}: ${scene.carried} bytes on the line`);
}

function powerUp({ firmware, folder }: Scene, image: FlashImage): Promise<EmulatedBoard> {
  for (const name of ['serial.sock', 'control.sock']) rmSync(join(folder, name), { force: true });
  return EmulatedBoard.powerUp({ firmware, folder, image });
}

async function plug(scene: Scene): Promise<Cable> {
  const pty = join(scene.folder, 'tty');
  const path = `${pty}.sock`;
  rmSync(path, { force: true });
  const server = createServer();
  server.listen(path);
  await once(server, 'listening');
  const socat = spawn('socat', [`PTY,link=${pty},rawer,ignoreeof`, `UNIX-CONNECT:${path}`], { stdio: 'ignore' });
  const [gateway] = (await once(server, 'connection')) as [Socket];
  server.close();
  gateway.on('error', () => gateway.destroy());
  const { serial } = scene.board;
  gateway.on('data', (bytes) => {
    scene.carried += bytes.length;
    serial.write(bytes);
  });
  serial.removeAllListeners('data');
  serial.on('data', (bytes) => gateway.write(bytes));
  while (!existsSync(pty)) await sleep(2);
  return { socat, held: gateway };
}

async function unplug(scene: Scene): Promise<void> {
  const { cable } = scene;
  if (cable === null || cable === undefined) return;
  scene.cable = null;
  const exit = once(cable.socat, 'exit');
  cable.socat.kill('SIGKILL');
  await exit;
  cable.held.destroy();
  rmSync(join(scene.folder, 'tty'), { force: true });
}

function startGateway({ folder }: Scene): Gateway {
  const args = ['flash', '--json', '--port', join(folder, 'tty'), '--patch', join(folder, 'patch')];
  const child = spawn(process.execPath, [CLI, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  return { child, ended: once(child, 'close').then(([code]) => ({ code: code as number | null, stderr })) };
}
