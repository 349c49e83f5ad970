/**
 * The microcontroller bundle in QuickJS itself (its wasm build) under a heap limit: a signed patch decoded, verified and
 * programmed to flash with NOR rules, all inside the engine.
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { getQuickJS, type QuickJSContext } from 'quickjs-emscripten';
import type { Profile } from '../core/limits.js';
import { createPatch } from '../targets/node/create-patch.js';
import { explainPatch } from '../targets/node/explain-patch.js';
import { publicKeyOfSeed } from '../targets/node/hashing.js';
import { Task } from '../targets/node/task.js';
import { repoRoot } from './support/paths.js';

/** Engine, bundle, decoder buffers and the models, which stand in for the flash here, together. */
const HEAP_LIMIT_BYTES = 4 << 20;
const MODEL_BYTES = 60_000;

const folder = mkdtempSync(join(tmpdir(), 'mallorn-quickjs-'));
after(() => rmSync(folder, { recursive: true }));

const seed = new Uint8Array(32).fill(7);
const publicKey = publicKeyOfSeed(seed);
const privateKey = Uint8Array.from([...seed, ...publicKey]);

/** Two versions with copied, changed and new stretches, over four segments of the mcu profile. */
function models(): { source: Uint8Array; target: Uint8Array } {
  const source = Uint8Array.from({ length: MODEL_BYTES }, (_, i) => (i * 7919 + (i >> 7) * 31) & 0xff);
  const target = source.slice();
  for (let i = 20_000; i < 36_000; i += 3) target[i] = target[i]! + 1;
  for (let i = 50_000; i < 52_000; i++) target[i] = (i * i) & 0xff;
  return { source, target };
}

async function makePatch(neural = false, profile: Profile = 'mcu', unitBytes = 0): Promise<Uint8Array> {
  const { source, target } = models();
  const output = join(folder, 'patch');
  await createPatch(
    {
      source,
      target,
      output,
      level: 19,
      neural,
      profile,
      unitBytes,
      signWith: privateKey,
      family: '',
      deviceClass: '',
      versionCounter: 0,
      minimumCounter: 0,
      createdAt: null,
    },
    quietTask(),
  );
  return new Uint8Array(readFileSync(output));
}

function quietTask(): Task {
  return new Task(new Int32Array(new SharedArrayBuffer(4)), () => {});
}

/** Flash in the engine's own memory, strict about erase before program. */
const HOST = `
function nor(blockLength, blocks) {
  const bytes = new Uint8Array(blockLength * blocks).fill(0xff);
  return {
    bytes, blockLength, blocks, writeAlign: 1, eraseValue: 0xff,
    read(offset, into) { into.set(bytes.subarray(offset, offset + into.length)); },
    eraseBlock(index) { bytes.fill(0xff, index * blockLength, (index + 1) * blockLength); },
    program(offset, data) {
      for (let i = 0; i < data.length; i++) if (bytes[offset + i] !== 0xff) throw new Error('programmed without an erase');
      bytes.set(data, offset);
    },
  };
}
const singleSlot = globalThis.singleSlotWanted === true;
const source = new Uint8Array(sourceBuffer);
const slot = nor(4096, 16);
const host = {
  sourceSize: source.length,
  readSource(offset, into) { into.set(source.subarray(offset, offset + into.length)); },
  slot,
  journal: nor(4096, 2),
  ...(singleSlot ? { scratch: nor(4096, 8) } : {}),
};
if (singleSlot) slot.program(0, source);
function run(patch, key, maxBufferBytes) {
  const update = mallorn.openUpdate(host, { trustedKeys: [key], maxBufferBytes });
  let at = 0;
  for (;;) {
    const result = update.push(patch.subarray(at, Math.min(at + 512, patch.length)));
    at += result.consumed;
    if (result.kind === 'seek') at = result.patchOffset;
    if (result.kind === 'done' || (result.kind === 'input' && at === patch.length)) break;
  }
  update.end();
}
`;

/** Runs the bundle in a fresh engine; gives the error's name and message, or the slot's bytes. */
async function applyInQuickJs(
  source: Uint8Array,
  patch: Uint8Array,
  key: Uint8Array,
  maxBufferBytes = 65536,
  singleSlot = false,
): Promise<{ error: string | null; slot: Uint8Array }> {
  const runtime = (await getQuickJS()).newRuntime();
  runtime.setMemoryLimit(HEAP_LIMIT_BYTES);
  const vm = runtime.newContext();
  try {
    for (const [name, bytes] of Object.entries({ sourceBuffer: source, patchBuffer: patch, keyBuffer: key })) {
      vm.newArrayBuffer(bytes.slice().buffer).consume((handle) => vm.setProp(vm.global, name, handle));
    }
    evaluate(vm, readFileSync(join(repoRoot, 'dist/mallorn.qjs.js'), 'utf8'));
    evaluate(vm, `globalThis.singleSlotWanted = ${singleSlot}; 0`);
    evaluate(vm, HOST);
    const run = `run(new Uint8Array(patchBuffer), new Uint8Array(keyBuffer), ${maxBufferBytes})`;
    const call = `try { ${run}; '' } catch (e) { e.name + ' ' + e.code + ': ' + e.message }`;
    const error = evaluate(vm, call);
    evaluate(vm, 'globalThis.slotBuffer = slot.bytes.buffer; 0');
    const slot = vm
      .getProp(vm.global, 'slotBuffer')
      .consume((handle) => vm.getArrayBuffer(handle).consume(({ value }) => value.slice()));
    return { error: error === '' ? null : String(error), slot };
  } finally {
    vm.dispose();
    runtime.dispose();
  }
}

function evaluate(vm: QuickJSContext, code: string): unknown {
  return vm.unwrapResult(vm.evalCode(code, 'test.js')).consume((handle) => vm.dump(handle));
}

test('a signed patch applies inside QuickJS, byte for byte, under a heap limit', async () => {
  const { source, target } = models();
  const { error, slot } = await applyInQuickJs(source, await makePatch(), publicKey);
  assert.equal(error, null);
  assert.deepEqual(sha256(slot.subarray(0, target.length)), sha256(target));
});

test('a signed neural patch applies inside QuickJS, byte for byte, under the same heap limit', async () => {
  const { source, target } = models();
  const patch = await makePatch(true);
  const { segments } = explainPatch({ patch, source }, quietTask());
  assert.ok(segments.some(({ kind }) => kind === 'neural'));
  const { error, slot } = await applyInQuickJs(source, patch, publicKey);
  assert.equal(error, null);
  assert.deepEqual(sha256(slot.subarray(0, target.length)), sha256(target));
});

test('inside QuickJS an in-place patch is written over its own source, and another one is refused there', async () => {
  const { source, target } = models();
  const { error, slot } = await applyInQuickJs(source, await makePatch(false, 'mcu', 16384), publicKey, 65536, true);
  assert.equal(error, null);
  assert.deepEqual(sha256(slot.subarray(0, target.length)), sha256(target));
  const refused = await applyInQuickJs(source, await makePatch(), publicKey, 65536, true);
  assert.match(refused.error ?? '', /^InvalidPatch NOT_IN_PLACE/);
  assert.deepEqual(sha256(refused.slot.subarray(0, source.length)), sha256(source));
});

test('inside QuickJS a neural patch for gateways is refused before the slot is touched', async () => {
  const { source } = models();
  const { error, slot } = await applyInQuickJs(source, await makePatch(true, 'gateway'), publicKey, 64 << 20);
  assert.match(error ?? '', /^InvalidPatch UNSUPPORTED_CODEC: decode class/);
  assert.ok(slot.every((byte) => byte === 0xff));
});

test('inside QuickJS a patch by another signer writes nothing', async () => {
  const { source } = models();
  const stranger = publicKeyOfSeed(new Uint8Array(32).fill(8));
  const { error, slot } = await applyInQuickJs(source, await makePatch(), stranger);
  assert.match(error ?? '', /^SignatureError UNKNOWN_SIGNER/);
  assert.ok(slot.every((byte) => byte === 0xff));
});

test('inside QuickJS a frame that stays damaged is refused after it was asked for again', async () => {
  const { source } = models();
  const patch = await makePatch();
  const last = patch.length - 5;
  patch[last] = patch[last]! ^ 1;
  const { error } = await applyInQuickJs(source, patch, publicKey);
  assert.match(error ?? '', /^InvalidPatch BAD_FRAME/);
});

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
