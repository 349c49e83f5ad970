/** Key records through a PTY, with the shipped command at one end and the simulated device at the other. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeKeyRecord } from '../../core/slots/key-record.js';
import { NodeSigner } from '../../targets/node/hashing.js';
import { testKeypair } from '../support/make-patch.js';
import { key, MEDIUM } from './models.js';
import { mallorn, startMallorn } from './rig.js';
import type { Case } from './run-cases.js';

const ROOT = testKeypair(60);
const NEXT = testKeypair(61);
const PTY_GONE_TRIES = 1000;

export const KEY_CASES: readonly Case[] = [
  {
    name: "a key record: in force, kept through a power cut, and the old key's patch refused",
    run: async () => {
      const folder = mkdtempSync(join(tmpdir(), 'mallorn-serial-keys-'));
      const at = (name: string): string => join(folder, name);
      const record = (version: number, { publicKey }: { publicKey: Uint8Array }): Uint8Array =>
        makeKeyRecord({ version, deviceClass: '', keys: [publicKey] }, new NodeSigner(ROOT.privateKey));
      const files = { root: ROOT.publicKey, key: key.publicKey, old: MEDIUM.old, patch: MEDIUM.patch };
      const records = { v1: record(1, key), v2: record(2, NEXT), v3: record(3, key) };
      for (const [name, bytes] of Object.entries({ ...files, ...records })) writeFileSync(at(name), bytes);
      const flash = (...args: string[]) => mallorn(['flash', '--json', '--port', at('tty'), ...args]);
      const device = ['--model', at('old'), '--pubkey', at('key'), '--root-key', at('root'), '--flash', at('flash')];
      let simulator = startMallorn(['simulate-mcu', '--json', '--pty', at('tty'), ...device]);
      try {
        await once(simulator.stdout!, 'data');
        const taken = await flash('--keys', at('v2'));
        assert.deepEqual(JSON.parse(taken.stdout).keys, { version: 2, before: 0, alreadyThere: false }, taken.stderr);

        // Killed, as a power cut.
        const exit = once(simulator, 'exit');
        simulator.kill('SIGKILL');
        await exit;
        // Its socat ends with the line, and takes the PTY away.
        for (let tries = 0; existsSync(at('tty')) && tries < PTY_GONE_TRIES; tries++) await sleep(10);
        simulator = startMallorn(['simulate-mcu', '--json', '--pty', at('tty'), ...device]);
        await once(simulator.stdout!, 'data');

        const again = await flash('--keys', at('v2'));
        assert.equal(JSON.parse(again.stdout).keys.alreadyThere, true, again.stderr);
        const older = await flash('--keys', at('v1'));
        assert.equal(JSON.parse(older.stdout).error.code, 'COUNTER_TOO_LOW', older.stdout);
        assert.equal(JSON.parse((await flash('--patch', at('patch'))).stdout).error.code, 'UNKNOWN_SIGNER');
        const both = await flash('--keys', at('v3'), '--patch', at('patch'));
        assert.equal(JSON.parse(both.stdout).state, 'trial', both.stderr);
        return 0;
      } finally {
        const exit = once(simulator, 'exit');
        simulator.kill('SIGTERM');
        await exit;
        rmSync(folder, { recursive: true, force: true });
      }
    },
  },
];
