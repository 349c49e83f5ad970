/** What the emulated board must do: whole updates, refusals, power cuts. Each case throws when it does not. */

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
import { repoRoot } from '../support/paths.js';
import { EmulatedBoard } from './emulated-board.js';
import { type FlashImage, makeImage } from './flash-image.js';
import { SERIAL_CASES } from './serial-cases.js';
import { type Answer, CHUNK_BYTES, Refused, SmpClient } from './smp-client.js';

export interface Firmwares {
  readonly signed: string;
  readonly unsigned: string;
}

export interface Case {
  readonly name: string;
  /** Absent from a checkout without the models. */
  readonly needs?: string;
  run(firmwares: Firmwares): Promise<void>;
}

const MODELS = join(repoRoot, '../shared/models');
/** A retrain: nearly every weight is another. */
const DENSE = 'mww-okay-nabu-v1';
const PAIRS = ['mlperf-kws-a', DENSE, 'tflm-micro-speech'];
const RANDOM_CUTS = 40;
const key = testKeypair(7);
const MCU: PatchOptions = { neural: true, profile: 'mcu', privateKey: key.privateKey, versionCounter: 5 };

export function skipped({ needs }: Case): boolean {
  return needs !== undefined && !existsSync(needs);
}

export const CASES: readonly Case[] = [
  ...PAIRS.map((pair) => ({
    name: `a signed update of ${pair} ends byte for byte in the flash`,
    needs: join(MODELS, pair),
    run: async ({ signed }: Firmwares): Promise<void> => {
      const [old, next] = readPair(pair);
      const image = await install(signed, makeImage({ keys: [key.publicKey], model: old }), makePatch(old, next, MCU));
      assert.equal(sha256Hex(image.activeModel()), sha256Hex(next));
      assert.equal(image.slots().activeState(), 'trial');
    },
  })),
  {
    name: 'a device without a model takes a signed stand-alone image',
    needs: join(MODELS, 'tflm-micro-speech'),
    async run({ signed }) {
      const [, next] = readPair('tflm-micro-speech');
      const image = await install(
        signed,
        makeImage({ keys: [key.publicKey], model: null }),
        makePatch(null, next, MCU),
      );
      assert.equal(sha256Hex(image.activeModel()), sha256Hex(next));
    },
  },
  {
    name: 'a peer that begins a dense update again half-way finds the memory it had before',
    needs: join(MODELS, DENSE),
    async run({ unsigned }) {
      const [old, next] = readPair(DENSE);
      const patch = makePatch(old, next, MCU);
      const after = await withBoard(unsigned, makeImage({ keys: [], model: old }), async (client) => {
        const half = new Error('half-way');
        const first = client.update(patch, CHUNK_BYTES, (sent) => {
          if (sent > patch.length / 2) throw half;
        });
        await assert.rejects(first, half);
        await client.update(patch);
        await client.request(GROUP_DELTA, DELTA_ACTIVATE, {}, true);
      });
      assert.equal(sha256Hex(after.activeModel()), sha256Hex(next));
    },
  },
  {
    name: 'a patch by another signer, a damaged and an absent signature are refused and nothing is written',
    async run({ signed }) {
      const { old, next } = smallModels();
      const stranger = makePatch(old, next, { ...MCU, privateKey: testKeypair(8).privateKey });
      const { privateKey: _, ...unsignedOptions } = MCU;
      const unsigned = makePatch(old, next, unsignedOptions);
      const damaged = makePatch(old, next, MCU);
      const signatureEnd = damaged.length - unsigned.length + (damaged[12]! | (damaged[13]! << 8)) + 1;
      damaged[signatureEnd - 40] = damaged[signatureEnd - 40]! ^ 1;
      await refuses(signed, makeImage({ keys: [key.publicKey], model: old }), [
        [stranger, 'UNKNOWN_SIGNER'],
        [unsigned, 'UNSIGNED'],
        [damaged, 'BAD_SIGNATURE'],
      ]);
    },
  },
  {
    name: 'a patch beyond the buffers, for another base, class or counter is refused and nothing is written',
    async run({ unsigned }) {
      const { old, next } = smallModels();
      const other = old.slice();
      other[100] = other[100]! ^ 1;
      await refuses(unsigned, makeImage({ keys: [], model: old, counter: 4, minimumCounter: 4 }), [
        [makePatch(old, next, { ...MCU, profile: 'gateway' }), 'BUFFERS_EXCEEDED'],
        [makePatch(null, new Uint8Array(2_100_000), MCU), 'FLASH_EXCEEDED'],
        [makePatch(other, next, MCU), 'SOURCE_HASH_MISMATCH'],
        [makePatch(old, next, { ...MCU, versionCounter: 3 }), 'COUNTER_TOO_LOW'],
        [makePatch(old, next, { ...MCU, deviceClass: 'another' }), 'WRONG_DEVICE_CLASS'],
      ]);
    },
  },
  {
    name: 'garbage on the serial line is dropped, and the device goes on answering',
    async run({ unsigned }) {
      const image = makeImage({ keys: [], model: smallModels().old });
      const after = await withBoard(unsigned, image, async (client, board) => {
        for (let seed = 1; seed <= 8; seed++) {
          board.serial.write(noise(1500, seed));
          board.serial.write('\n');
          assert.deepEqual(await client.request(GROUP_OS, OS_ECHO, { d: `hello ${seed}` }), { r: `hello ${seed}` });
        }
      });
      assert.deepEqual(after.bytes, image.bytes);
    },
  },
  {
    name: 'a model on trial is confirmed, and rolled back to the one before it',
    async run({ unsigned }) {
      const { old, next } = smallModels();
      const patch = makePatch(old, next, MCU);
      const after = await withBoard(unsigned, makeImage({ keys: [], model: old }), async (client) => {
        await client.update(patch);
        assert.equal(activeState(await client.request(GROUP_DELTA, DELTA_ACTIVATE, {}, true)), 'trial');
        assert.equal(activeState(await client.request(GROUP_DELTA, DELTA_CONFIRM, {}, true)), 'good');
        assert.equal(activeState(await client.request(GROUP_DELTA, DELTA_ROLLBACK, {}, true)), 'good');
      });
      assert.equal(sha256Hex(after.activeModel()), sha256Hex(old));
    },
  },
  {
    name: `power cut at ${RANDOM_CUTS} random moments of an update: the old model or the new one boots, and the update finishes`,
    async run({ unsigned }) {
      const { old, next } = smallModels();
      const patch = makePatch(old, next, MCU);
      const moments = noise(2 * RANDOM_CUTS, 11);
      let image = makeImage({ keys: [], model: old });
      const began = performance.now();
      await install(unsigned, image, patch);
      const wholeMs = performance.now() - began;
      for (let cut = 0; cut < RANDOM_CUTS; cut++) {
        const afterMs = (wholeMs * (moments[2 * cut]! * 256 + moments[2 * cut + 1]!)) / 65536;
        image = makeImage({ keys: [], model: old });
        image = await cutDuring(unsigned, image, patch, afterMs);
        const model = sha256Hex(image.activeModel());
        assert.ok(model === sha256Hex(old) || model === sha256Hex(next), `cut ${cut} left neither model`);
        if (model === sha256Hex(next)) continue;
        image = await install(unsigned, image, patch);
        assert.equal(sha256Hex(image.activeModel()), sha256Hex(next), `cut ${cut}`);
      }
    },
  },
  ...SERIAL_CASES,
];

function readPair(pair: string): [Uint8Array, Uint8Array] {
  const read = (name: string): Uint8Array => new Uint8Array(readFileSync(join(MODELS, pair, `${name}.tflite`)));
  return [read('old'), read('new')];
}

/** Two segments with copied, changed and new stretches. */
function smallModels(): { old: Uint8Array; next: Uint8Array } {
  const old = noise(24_000, 5);
  const next = old.slice();
  for (let i = 3000; i < 9000; i += 3) next[i] = next[i]! + 1;
  next.set(noise(500, 6), 20_000);
  return { old, next };
}

function activeState(answer: Answer): unknown {
  return (answer['active'] as Answer)['state'];
}

/** Powers a board up, lets `use` talk to it, and gives what the flash holds afterwards. */
async function withBoard(
  firmware: string,
  image: FlashImage,
  use: (client: SmpClient, board: EmulatedBoard) => Promise<void>,
): Promise<FlashImage> {
  const folder = mkdtempSync(join(tmpdir(), 'mallorn-board-'));
  const board = await EmulatedBoard.powerUp({ firmware, folder, image });
  try {
    await use(new SmpClient(board.serial), board);
  } finally {
    image = await board.cutPower();
    rmSync(folder, { recursive: true });
  }
  return image;
}

/** Sends the patch, or activates what is staged already. */
function install(firmware: string, image: FlashImage, patch: Uint8Array): Promise<FlashImage> {
  return withBoard(firmware, image, async (client) => {
    const info = await client.request(GROUP_DELTA, DELTA_INFO);
    if ((info['other'] as Answer)['state'] !== 'staged') await client.update(patch);
    await client.request(GROUP_DELTA, DELTA_ACTIVATE, {}, true);
  });
}

async function cutDuring(firmware: string, image: FlashImage, patch: Uint8Array, afterMs: number): Promise<FlashImage> {
  return withBoard(firmware, image, async (client) => {
    // Never answered once the power is gone.
    const update = client.update(patch).then(() => client.request(GROUP_DELTA, DELTA_ACTIVATE, {}, true));
    update.catch(() => {});
    await sleep(afterMs);
  });
}

async function refuses(firmware: string, image: FlashImage, patches: [Uint8Array, string][]): Promise<void> {
  const after = await withBoard(firmware, image, async (client) => {
    for (const [patch, reason] of patches) {
      const outcome = await client.update(patch).then(
        () => 'staged',
        (error) => (error instanceof Refused ? error.reason : String(error)),
      );
      assert.equal(outcome, reason);
      await client.request(GROUP_DELTA, DELTA_ABORT, {}, true);
    }
  });
  assert.deepEqual(after.bytes, image.bytes);
}
