/** Updates through a real serial port (a PTY), with the shipped command at one end and the simulated device at the other. */

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { sha256Hex } from '../support/make-patch.js';
import { BUFFER_SIZES } from './link-cases.js';
import { LARGE, MEDIUM, SEGMENT_BYTES, type Update } from './models.js';
import { ended, mallorn, Rig, startMallorn } from './rig.js';
import type { Case } from './run-cases.js';

/** Least share of patch bytes in all bytes from the gateway to the device, with buffers of 2048 bytes. */
const LEAST = { console: 0.7, raw: 0.95 } as const;
type Framing = keyof typeof LEAST;
export const efficiency: Record<Framing, number> = { console: 0, raw: 0 };

export const PORT_CASES: readonly Case[] = [
  ...(['console', 'raw'] as const).map((framing) => ({
    name: `efficiency in ${framing} framing, counted at the PTY`,
    run: () => measure(framing),
  })),
  ...(
    [
      [9600, MEDIUM],
      [115_200, LARGE],
    ] as const
  ).map(([baud, of]) => ({
    name: `an update at ${baud} baud`,
    run: async () => {
      await Rig.with(of, { baud }, async (rig) => {
        const began = performance.now();
        await flashes(rig, of);
        const { toDevice } = await rig.count();
        const leastMs = (toDevice * 10_000) / baud;
        const tookMs = performance.now() - began;
        console.log(`  ${baud} baud: ${Math.round(tookMs)} ms, the line alone ${Math.round(leastMs)} ms`);
        assert.ok(toDevice < 1.1 * of.patch.length + 500, `${toDevice} bytes on the line`);
      });
      return 0;
    },
  })),
  {
    name: 'the adapter unplugged and plugged in again: told, waited for, and the update goes on',
    run: () =>
      Rig.with(LARGE, { baud: BROKEN_OFF_BAUD }, async (rig) => {
        const flash = startMallorn(rig.flashArgs());
        const outcome = ended(flash);
        await until(rig, 0.4);
        await rig.pull();
        await sleep(700);
        await rig.plug();
        const { code, stderr, stdout } = await outcome;
        assert.equal(code, 0, stderr);
        // That it is gone is seen by whoever reads or writes first.
        assert.match(stderr, /^warning: .*tty: .*; trying again in \d+ ms/);
        assert.ok(Number(JSON.parse(stdout).resumedAt) > 0);
        await endsWell(rig);
        return 1;
      }),
  },
  {
    name: 'the gateway killed: the next one goes on',
    run: () =>
      Rig.with(LARGE, { baud: BROKEN_OFF_BAUD }, async (rig) => {
        const flash = startMallorn(rig.flashArgs());
        const outcome = ended(flash);
        await until(rig, 0.6);
        flash.kill('SIGKILL');
        assert.equal((await outcome).code, null, 'it was killed half-way');
        await flashes(rig, LARGE);
        await endsWell(rig);
        return 1;
      }),
  },
  {
    name: "the device's power cut: the update goes on when it is back",
    run: () =>
      Rig.with(LARGE, { baud: BROKEN_OFF_BAUD }, async (rig) => {
        const flash = startMallorn(rig.flashArgs());
        const outcome = ended(flash);
        await until(rig, 0.6);
        await rig.cutPower();
        assert.equal(flash.exitCode, null, 'it was cut half-way');
        await rig.powerUp();
        const { code, stderr } = await outcome;
        assert.equal(code, 0, stderr);
        await endsWell(rig);
        return 1;
      }),
  },
  {
    name: 'a machine without udevadm lists its ports and does not crash',
    run: async () => {
      const { code, stdout, stderr } = await mallorn(['devices', '--json'], { PATH: '/nowhere' });
      assert.equal(code, 0, stderr);
      assert.ok(Array.isArray(JSON.parse(stdout).ports));
      return 0;
    },
  },
  {
    name: 'a port that is not there is an error and no crash',
    run: async () => {
      const missing = await mallorn(['devices', '--json', '--port', '/dev/mallorn-not-there']);
      assert.equal(missing.code, 6);
      assert.equal(JSON.parse(missing.stdout).error.name, 'IoError');
      return 0;
    },
  },
];

/** Slow enough for an update to be broken off half-way also on a loaded machine: nine seconds. */
export const BROKEN_OFF_BAUD = 38_400;

async function measure(framing: Framing): Promise<number> {
  for (const packetBytes of BUFFER_SIZES) {
    const share = await Rig.with(LARGE, { packetBytes }, async (rig) => {
      await flashes(rig, LARGE, '--framing', framing);
      return LARGE.patch.length / (await rig.count()).toDevice;
    });
    console.log(`  buffers of ${packetBytes} bytes: ${share.toFixed(3)}`);
    if (packetBytes === 2048) efficiency[framing] = Number(share.toFixed(4));
  }
  assert.ok(efficiency[framing] >= LEAST[framing], `expected at least ${LEAST[framing]}, got ${efficiency[framing]}`);
  return 0;
}

async function flashes(rig: Rig, { next }: Update, ...more: string[]): Promise<void> {
  const { code, stderr, stdout } = await mallorn(rig.flashArgs(...more));
  assert.equal(code, 0, `${stderr}${stdout}`);
  assert.equal(rig.activeHash(), sha256Hex(next));
}

/** At most a segment, and what is on its way, went over the line twice. */
export async function endsWell(rig: Rig): Promise<void> {
  assert.equal(rig.activeHash(), sha256Hex(LARGE.next));
  const { toDevice } = await rig.count();
  const most = LARGE.patch.length + SEGMENT_BYTES;
  assert.ok(toDevice < 1.1 * most + 4096, `${toDevice} bytes for a patch of ${LARGE.patch.length}`);
}

/** So much of the patch is through. */
export async function until(rig: Rig, share: number): Promise<void> {
  const least = share * LARGE.patch.length;
  await soon(async () => (await rig.count()).toDevice >= least, `${least} bytes to the device`);
}

const SOON_MS = 60_000;

export async function soon(isSo: () => Promise<boolean> | boolean, what: string): Promise<void> {
  const began = performance.now();
  while (!(await isSo())) {
    assert.ok(performance.now() - began < SOON_MS, `not in ${SOON_MS} ms: ${what}`);
    await sleep(10);
  }
}
