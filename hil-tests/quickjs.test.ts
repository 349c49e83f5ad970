/**
 * The device program as it is shipped, dist/mallorn.qjs.js, in QuickJS itself (its wasm build) under a heap limit: whole signed updates over
 * SMP onto flash with NOR rules, decoded and verified inside the engine.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeKeyRecord } from '../core/slots/key-record.js';
import { DELTA_ACTIVATE, DELTA_INFO, GROUP_DELTA } from '../core/smp/packet.js';
import { NodeSigner } from '../targets/node/hashing.js';
import { createCompressor } from '../targets/node/zstd-compressor.js';
import { type FlashImage, makeImage } from './board/flash-image.js';
import { type Answer, CHUNK_BYTES, Refused } from './board/smp-client.js';
import {
  type EncoderOptions,
  makePatch,
  noise,
  type PatchOptions,
  sha256Hex,
  testKeypair,
} from './support/make-patch.js';
import { type HostFacts, QuickJsDevice } from './support/quickjs-device.js';

const FLASH_BYTES = 256 << 10;
/** Engine, program from its source text, decoder and the flash, together. */
const HEAP_LIMIT_BYTES = FLASH_BYTES + (900 << 10);
const MODEL_BYTES = 60_000;
const key = testKeypair(7);
const root = testKeypair(3);
const ZSTD = {
  profile: 'mcu',
  privateKey: key.privateKey,
  versionCounter: 5,
  compressor: createCompressor(),
  level: 19,
} as const;
const NEURAL = { ...ZSTD, neural: true } as const;
const UNIT_BYTES = 16384;

/** Two versions with copied, changed and new stretches, over four segments of the mcu profile. */
const OLD = Uint8Array.from({ length: MODEL_BYTES }, (_, i) => (i * 7919 + (i >> 7) * 31) & 0xff);
const NEXT = OLD.slice();
for (let i = 20_000; i < 36_000; i += 3) NEXT[i] = NEXT[i]! + 1;
for (let i = 50_000; i < 52_000; i++) NEXT[i] = (i * i) & 0xff;

const factory = (scratchBlocks = 0): FlashImage =>
  makeImage({ keys: [key.publicKey], model: OLD, flashBytes: FLASH_BYTES, scratchBlocks });
const patchOf = (options: PatchOptions & EncoderOptions): Uint8Array => makePatch(OLD, NEXT, options);

/** How the device ended: `staged`, or the reason it gave; and its flash. */
async function update(
  image: FlashImage,
  patch: Uint8Array,
  facts: HostFacts = {},
): Promise<{ outcome: string; after: FlashImage }> {
  const device = await QuickJsDevice.powerUp(image, HEAP_LIMIT_BYTES, facts);
  const outcome = await device.client.update(patch).then(
    () => 'staged',
    (error) => (error instanceof Refused ? error.reason : String(error)),
  );
  if (outcome === 'staged' && image.scratchBlocks === 0)
    await device.client.request(GROUP_DELTA, DELTA_ACTIVATE, {}, true);
  return { outcome, after: device.cutPower() };
}

for (const [name, options] of Object.entries({ zstd: ZSTD, neural: NEURAL })) {
  test(`a signed ${name} patch is applied by the shipped program inside QuickJS under a heap limit`, async () => {
    const { outcome, after } = await update(factory(), patchOf(options));
    assert.equal(outcome, 'staged');
    assert.equal(sha256Hex(after.activeModel()), sha256Hex(NEXT));
  });
}

test('inside QuickJS an update cut in the middle goes on where its journal is', async () => {
  // Of many frames: the journal does not lead into one.
  const next = noise(MODEL_BYTES, 5);
  const patch = makePatch(OLD, next, ZSTD);
  const device = await QuickJsDevice.powerUp(factory(), HEAP_LIMIT_BYTES);
  const half = new Error('half-way');
  const first = device.client.update(patch, CHUNK_BYTES, (sent) => {
    if (sent > (3 * patch.length) / 4) throw half;
  });
  await assert.rejects(first, half);
  const again = await QuickJsDevice.powerUp(device.cutPower(), HEAP_LIMIT_BYTES);
  const { resumedAt } = await again.client.update(patch);
  await again.client.request(GROUP_DELTA, DELTA_ACTIVATE, {}, true);
  assert.equal(sha256Hex(again.cutPower().activeModel()), sha256Hex(next));
  assert.ok(resumedAt > patch.length / 2, `went on at ${resumedAt} of ${patch.length}`);
});

test('inside QuickJS an in-place patch is written over its own source, and another one is refused there', async () => {
  const { outcome, after } = await update(factory(8), patchOf({ ...ZSTD, unitBytes: UNIT_BYTES }));
  assert.equal(outcome, 'staged');
  assert.equal(sha256Hex(after.activeModel()), sha256Hex(NEXT));
  const refused = await update(factory(8), patchOf(ZSTD));
  assert.equal(refused.outcome, 'NOT_IN_PLACE');
  assert.equal(sha256Hex(refused.after.activeModel()), sha256Hex(OLD));
});

test('inside QuickJS a neural patch for gateways is refused before the slot is touched', async () => {
  const image = factory();
  const { outcome, after } = await update(image, patchOf({ ...NEURAL, profile: 'gateway' }), {
    maxBufferBytes: 64 << 20,
  });
  assert.equal(outcome, 'UNSUPPORTED_CODEC');
  assert.deepEqual(after.bytes, image.bytes);
});

test('inside QuickJS a patch by another signer writes nothing', async () => {
  const image = factory();
  const { outcome, after } = await update(image, patchOf({ ...NEURAL, privateKey: testKeypair(8).privateKey }));
  assert.equal(outcome, 'UNKNOWN_SIGNER');
  assert.deepEqual(after.bytes, image.bytes);
});

test('inside QuickJS a frame that stays damaged is refused after it was asked for again', async () => {
  const patch = patchOf(NEURAL);
  const last = patch.length - 5;
  patch[last] = patch[last]! ^ 1;
  const { outcome, after } = await update(factory(), patch);
  assert.equal(outcome, 'BAD_FRAME');
  assert.equal(sha256Hex(after.activeModel()), sha256Hex(OLD));
});

test('inside QuickJS a key record by the root key brings the next signer, and sends the last one away', async () => {
  const next = testKeypair(9);
  const record = makeKeyRecord(
    { version: 2, deviceClass: 'test', keys: [next.publicKey] },
    new NodeSigner(root.privateKey),
  );
  const facts = { rootKey: Buffer.from(root.publicKey).toString('hex') };
  const device = await QuickJsDevice.powerUp(factory(), HEAP_LIMIT_BYTES, facts);
  assert.equal(await device.client.rotateKeys(record), 2);
  await assert.rejects(device.client.update(patchOf(NEURAL)), (error: Refused) => error.reason === 'UNKNOWN_SIGNER');
  const after = device.cutPower();
  assert.equal((await update(after, patchOf(NEURAL), facts)).outcome, 'UNKNOWN_SIGNER');
  assert.equal((await update(after, patchOf({ ...NEURAL, privateKey: next.privateKey }), facts)).outcome, 'staged');
});

test('inside QuickJS a device built without a root key keeps the keys of its factory', async () => {
  const record = makeKeyRecord(
    { version: 2, deviceClass: '', keys: [root.publicKey] },
    new NodeSigner(root.privateKey),
  );
  const device = await QuickJsDevice.powerUp(factory(), HEAP_LIMIT_BYTES);
  const rotation = device.client.rotateKeys(record);
  await assert.rejects(rotation, (error: Refused) => error.reason === 'UNKNOWN_SIGNER');
  const info: Answer = await device.client.request(GROUP_DELTA, DELTA_INFO);
  assert.equal(info['keys'], 0);
  device.cutPower();
});
