/**
 * Real version pairs of ../shared/models with the neural codec: created, and applied byte for byte, by a gateway and by a
 * microcontroller that has neither zstd nor the byte model. The smallest pair of each format and kind of change for both, others
 * for one of them, large ones, which take seconds in the gateway's class, mostly for the microcontroller.
 */

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Applier, type ApplierOptions } from '../core/apply/applier.js';
import { DigestTarget } from '../core/apply/digest-target.js';
import { createMixedModels } from '../core/codec/mixed-models.js';
import { DEFAULT_MAX_BUFFER_BYTES, MAX_FILE_BYTES, type Profile } from '../core/limits.js';
import { MemorySource } from '../core/memory-source.js';
import { NodeHasher, NodeSignatureVerifier } from '../targets/node/hashing.js';
import { patchInfo, toHex } from '../targets/node/index.js';
import { createDecompressor } from '../targets/node/zstd-decompressor.js';
import { createPatch } from './support/in-thread.js';
import { modelsFolder, NO_MODELS } from './support/paths.js';

interface Pair {
  readonly name: string;
  readonly format: string;
  readonly what_changed: string;
  readonly new: { readonly sha256: string; readonly size: number };
}

const SMALL_BYTES = 700_000;
/** Of the large pairs, those for gateways: ONNX, tokens, and floats that were all trained on. */
const LARGE_FOR_GATEWAYS = ['silero-v6-v62', 'llama-vocab-falcon-bpe', 'synth-tflite-f32-all-1e-2'];
/** All that a microcontroller may hold for the decoder. */
const MCU_BUFFER_BYTES = 48 << 10;

const manifest: Pair[] =
  modelsFolder === null ? [] : JSON.parse(readFileSync(join(modelsFolder, 'manifest.json'), 'utf8'));
const folder = mkdtempSync(join(tmpdir(), 'mallorn-real-neural-'));
after(() => rmSync(folder, { recursive: true }));

const decoders: Record<Profile, Pick<ApplierOptions, 'decompressor' | 'mixedModels'>> = {
  gateway: { decompressor: createDecompressor(), mixedModels: createMixedModels },
  mcu: { decompressor: null },
};

async function assertRoundTrip(pair: Pair, profile: Profile): Promise<void> {
  const [old, target] = ['old', 'new'].map((version) => join(modelsFolder!, pair.name, `${version}.${pair.format}`));
  const output = join(folder, 'patch');
  await createPatch(old!, target!, output, { profile, neural: true });
  assert.equal((await patchInfo(output)).neural, true);
  const patch = new Uint8Array(readFileSync(output));
  const sink = new DigestTarget(new NodeHasher());
  const applier = new Applier({
    source: new MemorySource(readFileSync(old!)),
    target: () => sink,
    hasher: new NodeHasher(),
    verifier: new NodeSignatureVerifier(),
    ...decoders[profile],
    trustedKeys: [],
    policy: {
      maxBufferBytes: profile === 'mcu' ? MCU_BUFFER_BYTES : DEFAULT_MAX_BUFFER_BYTES,
      maxTargetBytes: MAX_FILE_BYTES,
      family: null,
      deviceClass: null,
      counterFloor: 0,
    },
  });
  for (let at = 0; at < patch.length; ) at += applier.push(patch.subarray(at, at + 1000)).consumed;
  while (applier.push(new Uint8Array(0)).kind === 'busy');
  applier.end();
  assert.equal(toHex(applier.actualTarget), pair.new.sha256);
}

if (modelsFolder === null) test('real version pairs with the neural codec', { skip: NO_MODELS });
manifest.forEach((pair, i) => {
  for (const profile of profilesOf(pair, i))
    test(`${pair.name} in the ${profile} profile`, () => assertRoundTrip(pair, profile));
});

function profilesOf(pair: Pair, index: number): readonly Profile[] {
  if (pair.new.size > SMALL_BYTES) return [LARGE_FOR_GATEWAYS.includes(pair.name) ? 'gateway' : 'mcu'];
  const alike = manifest.filter((other) => other.format === pair.format && other.what_changed === pair.what_changed);
  const isSmallest = alike.every((other) => other.new.size >= pair.new.size);
  return isSmallest ? ['gateway', 'mcu'] : [index % 2 === 0 ? 'gateway' : 'mcu'];
}
