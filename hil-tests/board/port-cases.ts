/**
 * The suite for a board at a serial port, real or emulated: what can be shown through SMP alone, in any state the board may be in. It takes
 * stand-alone images, so a board needs no preparation but a formatted store (scripts/factory-image.ts), which trusts `suiteKey` if the
 * firmware looks at signatures.
 */
import assert from 'node:assert/strict';
import { execSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  DELTA_ABORT,
  DELTA_ACTIVATE,
  DELTA_CONFIRM,
  DELTA_INFO,
  DELTA_ROLLBACK,
  GROUP_DELTA,
  GROUP_OS,
  OS_ECHO,
} from '../../core/smp/packet.js';
import { makePatch, noise, type PatchOptions, sha256Hex, testKeypair } from '../support/make-patch.js';
import { type Answer, CHUNK_BYTES, Refused, SmpClient } from './smp-client.js';
import { openTty, type TtyPort } from './tty-port.js';

/** In the factory image of boards under test. */
export const suiteKey = testKeypair(7);
const OPEN_MS = 20_000;
const POWER_CUTS = 3;
const ANSWER_MS = 3000;
/** Becomes smaller when it is coded: what a stand-alone image of noise declares is more than boards have. */
const OLD = Uint8Array.from({ length: 24_000 }, (_, i) => (i >> 4) & 0xff);
const NEXT = OLD.slice();
for (let i = 3000; i < 9000; i += 3) NEXT[i] = NEXT[i]! + 1;
NEXT.set(noise(500, 6), 20_000);

export interface PortCase {
  readonly name: string;
  readonly needsPower?: boolean;
  run(board: PortBoard): Promise<void>;
}

/** A board at the other end of a serial port. */
export class PortBoard {
  client!: SmpClient;
  private port: TtyPort | null = null;
  private readonly path: string;
  private readonly powerCommand: string | null;

  constructor(path: string, powerCommand: string | null) {
    this.path = path;
    this.powerCommand = powerCommand;
  }

  get hasPower(): boolean {
    return this.powerCommand !== null;
  }

  async open(): Promise<void> {
    this.port?.close();
    const deadline = performance.now() + OPEN_MS;
    // An adapter that the board feeds is gone while the power is.
    for (;;) {
      try {
        this.port = openTty(this.path);
        break;
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await sleep(100);
      }
    }
    this.client = new SmpClient(this.port, ANSWER_MS);
    await this.client.request(GROUP_OS, OS_ECHO, { d: 'there' });
  }

  /** Off and on again. */
  async cyclePower(): Promise<void> {
    this.port?.close();
    execSync(this.powerCommand!, { stdio: 'inherit' });
    await this.open();
  }

  write(bytes: Uint8Array): void {
    this.port!.write(bytes);
  }

  info(): Promise<Answer> {
    return this.client.request(GROUP_DELTA, DELTA_INFO);
  }

  /** What runs, as the board says it. */
  async activeHash(): Promise<string> {
    const { sha } = (await this.info())['active'] as Answer;
    return sha === undefined ? 'none' : Buffer.from(sha as Uint8Array).toString('hex');
  }

  /** A patch of the board's class and counter. */
  async patch(source: Uint8Array | null, target: Uint8Array, change: PatchOptions = {}): Promise<Uint8Array> {
    const counter = Math.max(1, Number((await this.info())['counter']));
    return makePatch(source, target, {
      neural: true,
      profile: 'mcu',
      privateKey: suiteKey.privateKey,
      versionCounter: counter,
      ...change,
    });
  }

  async install(patch: Uint8Array): Promise<void> {
    const { other, active } = (await this.info()) as { other: Answer; active: Answer };
    if (active['state'] === 'trial') await this.change(DELTA_CONFIRM);
    if (other['state'] !== 'staged') await this.client.update(patch);
    await this.change(DELTA_ACTIVATE);
  }

  change(command: number): Promise<Answer> {
    return this.client.request(GROUP_DELTA, command, {}, true);
  }

  /** Brings the board to run `model`, confirmed. */
  async become(model: Uint8Array): Promise<void> {
    for (let tries = 0; tries < 2 && (await this.activeHash()) !== sha256Hex(model); tries++)
      await this.install(await this.patch(null, model));
    assert.equal(await this.activeHash(), sha256Hex(model));
    await this.change(DELTA_CONFIRM);
  }
}

export const PORT_CASES: readonly PortCase[] = [
  {
    name: 'a stand-alone image and an update over it run, and the update is rolled back',
    async run(board) {
      await board.become(OLD);
      await board.install(await board.patch(OLD, NEXT));
      assert.equal(await board.activeHash(), sha256Hex(NEXT));
      await board.change(DELTA_CONFIRM);
      await board.change(DELTA_ROLLBACK);
      assert.equal(await board.activeHash(), sha256Hex(OLD));
    },
  },
  {
    name: 'patches for another base, class, memory or signer are refused by code, and the model stays',
    async run(board) {
      await board.become(OLD);
      const stranger = testKeypair(8).privateKey;
      const refusals: [Uint8Array, string][] = [
        [await board.patch(NEXT, OLD), 'SOURCE_HASH_MISMATCH'],
        [await board.patch(OLD, NEXT, { deviceClass: 'another' }), 'WRONG_DEVICE_CLASS'],
        [await board.patch(OLD, NEXT, { profile: 'gateway' }), 'BUFFERS_EXCEEDED'],
      ];
      if ((await board.info())['signed'] === true)
        refusals.push([await board.patch(OLD, NEXT, { privateKey: stranger }), 'UNKNOWN_SIGNER']);
      for (const [patch, reason] of refusals) {
        const refused = (error: unknown): boolean => error instanceof Refused && error.reason === reason;
        await assert.rejects(board.client.update(patch), refused, reason);
        await board.change(DELTA_ABORT);
      }
      assert.equal(await board.activeHash(), sha256Hex(OLD));
    },
  },
  {
    name: 'garbage on the line is dropped, and the board goes on answering',
    async run(board) {
      for (let seed = 1; seed <= 4; seed++) {
        board.write(noise(1500, seed));
        board.write(Uint8Array.of(10));
        assert.deepEqual(await board.client.request(GROUP_OS, OS_ECHO, { d: `hello ${seed}` }), { r: `hello ${seed}` });
      }
    },
  },
  {
    name: `power cut ${POWER_CUTS} times in an update: the old model runs, and the update finishes`,
    needsPower: true,
    async run(board) {
      await board.become(OLD);
      const patch = await board.patch(OLD, NEXT);
      for (let cut = 1; cut <= POWER_CUTS; cut++) {
        const enough = new Error('enough');
        const update = board.client.update(patch, CHUNK_BYTES, (sent) => {
          if (sent >= (cut * patch.length) / (POWER_CUTS + 1)) throw enough;
        });
        await assert.rejects(update, enough);
        await board.cyclePower();
        assert.equal(await board.activeHash(), sha256Hex(OLD), `cut ${cut}`);
      }
      await board.install(patch);
      assert.equal(await board.activeHash(), sha256Hex(NEXT));
      await board.cyclePower();
      assert.equal(await board.activeHash(), sha256Hex(NEXT));
    },
  },
];

/** Prints a line a case. */
export async function runPortCases(board: PortBoard, part: string): Promise<{ failed: number; skipped: number }> {
  let [failed, skipped] = [0, 0];
  await board.open();
  for (const { name, needsPower = false, run } of PORT_CASES.filter((each) => each.name.includes(part))) {
    if (needsPower && !board.hasPower) {
      skipped++;
      console.log(`skipped: ${name}: HIL_POWER_CMD is not set`);
      continue;
    }
    const began = performance.now();
    try {
      await run(board);
      console.log(`ok: ${name} (${Math.round(performance.now() - began)} ms)`);
    } catch (error) {
      failed++;
      console.log(`FAILED: ${name}: ${error instanceof Error ? error.stack : error}`);
    }
  }
  return { failed, skipped };
}
