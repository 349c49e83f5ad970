/** What the emulated board must do: whole updates, refusals, power cuts. Each case throws when it does not. */

import assert from 'node:assert/strict';
import { execSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type KeyRecord, makeKeyRecord } from '../../core/slots/key-record.js';
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
import { ONE_SLOT_SCRATCH_BLOCKS } from '../../scripts/device-flags.js';
import { NodeSigner } from '../../targets/node/hashing.js';
import { makePatch, noise, type PatchOptions, sha256Hex, testKeypair } from '../support/make-patch.js';
import { repoRoot } from '../support/paths.js';
import { EmulatedBoard } from './emulated-board.js';
import { type FlashImage, makeImage } from './flash-image.js';
import { type FlashOperation, tear } from './flash-operations.js';
import { PortBoard, runPortCases, suiteKey } from './port-cases.js';
import { SERIAL_CASES } from './serial-cases.js';
import { shippedPatch } from './shipped-patch.js';
import { type Answer, CHUNK_BYTES, Refused, SmpClient } from './smp-client.js';

export interface Firmwares {
  readonly signed: string;
  readonly unsigned: string;
  /** Signatures and one slot. */
  readonly oneSlot: string;
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
const IN_PLACE_CUTS = 5;
const EVERY_OPERATION = 10;
const TEAR_SEEDS = [1, 1001];
const ANSWER_MS = 1000;
const HELD_ANSWER_MS = 60_000;
const key = testKeypair(7);
/** Built into the firmwares under test. */
export const root = testKeypair(3);
const UNIT_BYTES = 16384;
const DEVICE_CLASS = 'ast1030-evb';
/** core/patch/SPEC.md, "Header". */
const TARGET_HASH_OFFSET = 96;
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
      const patch = shippedPatch(join(MODELS, pair, 'old.tflite'), join(MODELS, pair, 'new.tflite'), key.privateKey);
      const image = await install(signed, makeImage({ keys: [key.publicKey], model: old }), patch);
      assert.equal(sha256Hex(image.activeModel()), sha256Hex(next));
      assert.equal(image.slots().activeState(), 'trial');
    },
  })),
  {
    name: 'a device without a model takes a signed stand-alone image',
    needs: join(MODELS, 'tflm-micro-speech'),
    async run({ signed }) {
      const [, next] = readPair('tflm-micro-speech');
      const patch = shippedPatch(null, join(MODELS, 'tflm-micro-speech/new.tflite'), key.privateKey);
      const image = await install(signed, makeImage({ keys: [key.publicKey], model: null }), patch);
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
    name: 'an in-place update is written over its own source on a device with one slot, and another one is refused',
    needs: join(MODELS, PAIRS[0]!),
    async run({ oneSlot }) {
      const [old, next] = readPair(PAIRS[0]!);
      const factory = { keys: [key.publicKey], model: old, scratchBlocks: ONE_SLOT_SCRATCH_BLOCKS };
      await refuses(oneSlot, makeImage(factory), [[makePatch(old, next, MCU), 'NOT_IN_PLACE']]);
      const image = await install(oneSlot, makeImage(factory), makePatch(old, next, { ...MCU, unitBytes: UNIT_BYTES }));
      assert.equal(sha256Hex(image.activeModel()), sha256Hex(next));
    },
  },
  {
    name: 'an in-place update whose power is cut serves the old model, the new one or none, and finishes',
    async run({ oneSlot }) {
      const { old, next } = smallModels();
      const patch = makePatch(old, next, { ...MCU, unitBytes: UNIT_BYTES });
      const factory = { keys: [key.publicKey], model: old, scratchBlocks: ONE_SLOT_SCRATCH_BLOCKS };
      const began = performance.now();
      await install(oneSlot, makeImage(factory), patch);
      const wholeMs = performance.now() - began;
      for (let cut = 1; cut <= IN_PLACE_CUTS; cut++) {
        const left = await cutDuring(oneSlot, makeImage(factory), patch, (wholeMs * cut) / IN_PLACE_CUTS);
        const model = left.activeModel();
        const isWhole = [old, next].some((each) => sha256Hex(each) === sha256Hex(model));
        assert.ok(isWhole || model.length === 0, `cut ${cut} left neither model`);
        const after = await install(oneSlot, left, patch);
        assert.equal(sha256Hex(after.activeModel()), sha256Hex(next), `cut ${cut}`);
      }
    },
  },
  {
    name: 'a key record by the root key changes whose patches are taken, and any other is refused and nothing is written',
    async run({ signed }) {
      const { old, next } = smallModels();
      const successor = testKeypair(9);
      const image = makeImage({ keys: [key.publicKey], model: old });
      const board = { version: 2, deviceClass: DEVICE_CLASS, keys: [successor.publicKey] };
      const refused = await withBoard(signed, image, async (client) => {
        for (const [record, reason] of [
          [keyRecord(board, testKeypair(4)), 'BAD_SIGNATURE'],
          [keyRecord({ ...board, deviceClass: 'another' }), 'WRONG_DEVICE_CLASS'],
          [keyRecord(board).subarray(1), 'BAD_KEY_RECORD'],
        ] as const)
          assert.equal(await rotation(client, record), reason);
      });
      assert.deepEqual(refused.bytes, image.bytes);
      const rotated = await withBoard(signed, image, async (client) => {
        assert.equal(await rotation(client, keyRecord(board)), 'taken');
        assert.equal(await rotation(client, keyRecord(board)), 'taken');
        assert.equal(await rotation(client, keyRecord({ ...board, version: 1 })), 'COUNTER_TOO_LOW');
      });
      await refuses(signed, rotated, [[makePatch(old, next, MCU), 'UNKNOWN_SIGNER']]);
      const after = await install(signed, rotated, makePatch(old, next, { ...MCU, privateKey: successor.privateKey }));
      assert.equal(sha256Hex(after.activeModel()), sha256Hex(next));
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
  {
    name: `power cut before every ${EVERY_OPERATION}th flash operation of an update, and before each erase, also with the operation half-done`,
    run: ({ unsigned }) => cutAtOperations(unsigned, makeImage({ keys: [], model: smallModels().old })),
  },
  {
    name: 'the suite for a board at a serial port passes on the emulated one behind a terminal, power switched by a command',
    async run({ signed }) {
      const folder = mkdtempSync(join(tmpdir(), 'mallorn-port-'));
      writeFileSync(join(folder, 'flash.img'), makeImage({ keys: [suiteKey.publicKey], model: null }).bytes);
      const script = join(repoRoot, 'hil-tests/board/emulated-port.sh');
      const command = `${script} ${signed} ${folder}`;
      execSync(command);
      try {
        assert.deepEqual(await runPortCases(new PortBoard(join(folder, 'port'), command), ''), {
          failed: 0,
          skipped: 0,
        });
      } finally {
        execSync(`${script} --off ${folder}`);
        rmSync(folder, { recursive: true });
      }
    },
  },
];

/** Before which operation power goes: the one of so many, of all or of the erases. */
interface OperationCut {
  readonly among: 'operation' | 'erase';
  readonly index: number;
}

/** Each cut is counted where it is seen to fire: the processor was held at that operation, and the update not at its end. */
async function cutAtOperations(firmware: string, start: FlashImage): Promise<void> {
  const { old, next } = smallModels();
  const patch = makePatch(old, next, MCU);
  const [oldHash, nextHash] = [sha256Hex(old), sha256Hex(next)];
  const cuts = await planCuts(firmware, start, patch);
  let torn = 0;
  for (const cut of cuts) {
    const { left, operation } = await cutBefore(firmware, start, patch, cut);
    const id = `${cut.among} ${cut.index}`;
    for (const image of [left, ...TEAR_SEEDS.map((seed) => tear(left, operation, seed + cut.index))]) {
      torn += Number(image !== left && Buffer.compare(image.bytes, left.bytes) !== 0);
      const model = sha256Hex(image.copy().activeModel());
      assert.ok(model === oldHash || model === nextHash, `${id} left neither model`);
      const after = model === nextHash ? await bootOnce(firmware, image) : await install(firmware, image, patch);
      assert.equal(sha256Hex(after.activeModel()), nextHash, id);
    }
  }
  assert.ok(torn > cuts.length, `${torn} images differ from what the cut alone left`);
  console.log(`  ${cuts.length} cuts fired, ${torn} images of them with the operation half-done`);
}

/** Of an update that nothing disturbs: every so many operations, and each erase. */
async function planCuts(firmware: string, start: FlashImage, patch: Uint8Array): Promise<OperationCut[]> {
  const count = { operation: 0, erase: 0 };
  await withHeldBoard(firmware, start, patch, ({ kind }) => {
    count.operation++;
    if (kind === 'erase') count.erase++;
    return true;
  });
  assert.ok(count.operation > 10 * EVERY_OPERATION && count.erase > 5, `${count.operation} operations`);
  const every = Array.from({ length: Math.ceil(count.operation / EVERY_OPERATION) }, (_, i) => i * EVERY_OPERATION);
  return [
    ...every.map((index): OperationCut => ({ among: 'operation', index })),
    ...Array.from({ length: count.erase }, (_, index): OperationCut => ({ among: 'erase', index })),
  ];
}

/** What the flash holds, and the operation that was about to happen. @throws when the update ends before it */
async function cutBefore(
  firmware: string,
  start: FlashImage,
  patch: Uint8Array,
  { among, index }: OperationCut,
): Promise<{ left: FlashImage; operation: FlashOperation }> {
  let seen = 0;
  let held: FlashOperation | null = null;
  const left = await withHeldBoard(firmware, start, patch, (operation) => {
    if (among === 'erase' && operation.kind !== 'erase') return true;
    if (seen++ < index) return true;
    held = operation;
    return false;
  });
  assert.ok(held !== null, `the update ended before ${among} ${index}`);
  return { left, operation: held };
}

/**
 * Updates and activates while the processor is held at each flash operation; goes on as long as `hold` says so. Power is gone when
 * it does not, or when the device has answered all.
 */
async function withHeldBoard(
  firmware: string,
  image: FlashImage,
  patch: Uint8Array,
  hold: (operation: FlashOperation) => boolean,
): Promise<FlashImage> {
  return withBoard(
    firmware,
    image,
    async (client, board) => {
      let ended = false;
      const update = client.hello().then(() => finish(client, patch));
      const end = update.then(() => {
        ended = true;
      });
      // Never answered once the power is gone.
      end.catch(() => {});
      while (!ended) {
        const operation = await Promise.race([board.operations!.next(), end]);
        if (operation && !hold(operation)) break;
      }
    },
    true,
  );
}

async function bootOnce(firmware: string, image: FlashImage): Promise<FlashImage> {
  return withBoard(firmware, image, async (client) => {
    await client.request(GROUP_DELTA, DELTA_INFO);
  });
}

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
  watchFlash = false,
): Promise<FlashImage> {
  const folder = mkdtempSync(join(tmpdir(), 'mallorn-board-'));
  const board = await EmulatedBoard.powerUp({ firmware, folder, image, watchFlash });
  try {
    // A request that is repeated, because its answer took long, would make each run another.
    await use(new SmpClient(board.serial, watchFlash ? HELD_ANSWER_MS : ANSWER_MS), board);
  } finally {
    image = await board.cutPower();
    rmSync(folder, { recursive: true });
  }
  return image;
}

/** Sends the patch, or activates what is staged already. */
function install(firmware: string, image: FlashImage, patch: Uint8Array): Promise<FlashImage> {
  return withBoard(firmware, image, (client) => finish(client, patch));
}

async function finish(client: SmpClient, patch: Uint8Array): Promise<void> {
  const info = await client.request(GROUP_DELTA, DELTA_INFO);
  const target = Buffer.from(patch.subarray(TARGET_HASH_OFFSET, TARGET_HASH_OFFSET + 32));
  if (info['slots'] === 1) {
    // One that is whole is active: its base is gone.
    const { sha } = info['active'] as Answer;
    if (sha === undefined || !target.equals(sha as Uint8Array)) await client.update(patch);
    return;
  }
  if ((info['other'] as Answer)['state'] !== 'staged') await client.update(patch);
  await client.request(GROUP_DELTA, DELTA_ACTIVATE, {}, true);
}

function keyRecord(record: KeyRecord, signer = root): Uint8Array {
  return makeKeyRecord(record, new NodeSigner(signer.privateKey));
}

/** `taken`, or why it is refused. */
function rotation(client: SmpClient, record: Uint8Array): Promise<string> {
  return client.rotateKeys(record).then(
    () => 'taken',
    (error) => (error instanceof Refused ? error.reason : String(error)),
  );
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
