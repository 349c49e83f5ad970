/** The device program on Linux, in the real `qjs`: whole signed updates over SMP, killed and gone on with. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DELTA_ACTIVATE, DELTA_CONFIRM, GROUP_DELTA } from '../../core/smp/packet.js';
import { makePatch, noise, type PatchOptions, sha256Hex, testKeypair } from '../support/make-patch.js';
import type { Case } from './cases.js';
import { LinuxDevice } from './linux-device.js';
import { CHUNK_BYTES, type SmpClient } from './smp-client.js';
import { openTty, type TtyPort } from './tty-port.js';

const FLASH_BYTES = 512 << 10;
const SCRATCH_BLOCKS = 8;
const KILLS = [0.1, 0.3, 0.5, 0.7, 0.9];
const key = testKeypair(7);
const MCU: PatchOptions = { neural: true, profile: 'mcu', privateKey: key.privateKey };
const OLD = noise(90_000, 5);
const NEXT = OLD.slice();
for (let i = 3000; i < 80_000; i += 9) NEXT[i] = NEXT[i]! + 1;

export const LINUX_CASES: readonly Case[] = [
  {
    name: `qjs on Linux: an update through a pipe is killed ${KILLS.length} times and ends byte for byte in the flash`,
    run: () =>
      withDevice('file', 0, async (device) => {
        await install(device.onPipe(), makePatch(null, OLD, { ...MCU, versionCounter: 1 }), true);
        assert.equal(sha256Hex(device.image().activeModel()), sha256Hex(OLD));
        const patch = makePatch(OLD, NEXT, { ...MCU, versionCounter: 2 });
        let last = 0;
        for (const share of KILLS) {
          await device.cutPower();
          const began = await sendUpTo(device.onPipe(), patch, share * patch.length);
          assert.ok(began >= last, `went on at ${began}, before ${last}`);
          last = began;
        }
        assert.ok(last > patch.length / 2, `the last but one start was at ${last} of ${patch.length}`);
        await device.cutPower();
        assert.equal(sha256Hex(device.image().activeModel()), sha256Hex(OLD));
        await install(device.onPipe(), patch, true);
        assert.equal(sha256Hex(device.image().activeModel()), sha256Hex(NEXT));
      }),
  },
  {
    name: 'qjs on Linux: an in-place update through a terminal, on flash that is erased by a command, is killed and finishes',
    run: () =>
      withDevice('mtd', SCRATCH_BLOCKS, async (device) => {
        const ports: TtyPort[] = [];
        const powerUp = (): Promise<SmpClient> => {
          for (const port of ports.splice(0)) port.close();
          return device.onTerminal((path) => {
            const port = openTty(path);
            ports.push(port);
            return port;
          });
        };
        const options = { ...MCU, unitBytes: 16384 };
        await install(await powerUp(), makePatch(null, OLD, { ...options, versionCounter: 1 }), false);
        const patch = makePatch(OLD, NEXT, { ...options, versionCounter: 2 });
        await device.cutPower();
        await sendUpTo(await powerUp(), patch, 0.6 * patch.length);
        await device.cutPower();
        await install(await powerUp(), patch, false);
        for (const port of ports) port.close();
        await device.cutPower();
        assert.equal(sha256Hex(device.image(SCRATCH_BLOCKS).activeModel()), sha256Hex(NEXT));
      }),
  },
];

async function withDevice(
  kind: 'file' | 'mtd',
  scratchBlocks: number,
  use: (device: LinuxDevice) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'mallorn-linux-'));
  const options = scratchBlocks === 0 ? [] : ['--one-slot', String(scratchBlocks)];
  const device = new LinuxDevice(folder, FLASH_BYTES, kind, options);
  try {
    device.format([key.publicKey]);
    await use(device);
  } finally {
    await device.cutPower();
    rmSync(folder, { recursive: true });
  }
}

async function install(client: SmpClient, patch: Uint8Array, twoSlots: boolean): Promise<void> {
  await client.update(patch);
  if (!twoSlots) return;
  await client.request(GROUP_DELTA, DELTA_ACTIVATE, {}, true);
  await client.request(GROUP_DELTA, DELTA_CONFIRM, {}, true);
}

/** Sends the patch up to there; gives where the device wanted it from. */
async function sendUpTo(client: SmpClient, patch: Uint8Array, end: number): Promise<number> {
  const enough = new Error('enough');
  let began = 0;
  const update = client.update(patch, CHUNK_BYTES, (offset) => {
    began ||= offset;
    if (offset >= end) throw enough;
  });
  await assert.rejects(update, enough);
  return began;
}
