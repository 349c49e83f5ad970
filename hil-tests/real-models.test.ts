/**
 * Every real version pair of ../shared/models: created, verified and applied byte for byte, in both profiles, however the patch's
 * bytes arrive; one of each format through the public calls too.
 */

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Applier } from '../core/apply/applier.js';
import type { TargetSink } from '../core/apply/target-sink.js';
import { readLayout } from '../core/formats/detect.js';
import { tensorCount } from '../core/formats/model.js';
import { DEFAULT_MAX_BUFFER_BYTES, MAX_FILE_BYTES, type Profile } from '../core/limits.js';
import { MemorySource } from '../core/memory-source.js';
import { NodeHasher, NodeSignatureVerifier } from '../targets/node/hashing.js';
import {
  applyPatch,
  createPatch,
  generateKeypair,
  type Keypair,
  patchInfo,
  signPatch,
  toHex,
  verifyPatch,
} from '../targets/node/index.js';
import { createDecompressor } from '../targets/node/zstd-decompressor.js';
import { Prng } from '../targets/sim/prng.js';
import * as inThread from './support/in-thread.js';
import { modelsFolder, NO_MODELS } from './support/paths.js';

interface Pair {
  readonly name: string;
  readonly format: string;
  readonly new: { readonly sha256: string };
  readonly tensor_stats: { readonly tensors_old: number; readonly tensors_new: number };
}

/** So many of a patch's first and last bytes are fed one at a time: at its beginning the first frames. */
const SINGLE_BYTES: Record<Profile, SingleBytes> = {
  gateway: { first: 70_000, last: 2000 },
  mcu: { first: 10_000, last: 2000 },
};
const SIGNATURE_BYTES = 72;
interface SingleBytes {
  readonly first: number;
  readonly last: number;
}

const PROFILES = ['gateway', 'mcu'] as const;
/** So that a machine without the models can say how many tests it skips. */
const KNOWN_PAIRS = 46;

const manifest: Pair[] =
  modelsFolder === null ? [] : JSON.parse(readFileSync(join(modelsFolder, 'manifest.json'), 'utf8'));
const folder = mkdtempSync(join(tmpdir(), 'mallorn-real-'));
let keys: Keypair;
before(async () => {
  keys = await generateKeypair();
});
after(() => rmSync(folder, { recursive: true }));

if (modelsFolder === null) {
  for (let i = 1; i <= KNOWN_PAIRS; i++) {
    for (const profile of PROFILES) test(`real version pair ${i} in the ${profile} profile`, { skip: NO_MODELS });
  }
} else {
  test('as many pairs as are said to be skipped without them', () => assert.equal(manifest.length, KNOWN_PAIRS));
}
for (const pair of manifest) {
  for (const profile of PROFILES) {
    test(`${pair.name} in the ${profile} profile: created, signed, verified and applied byte for byte`, () =>
      madeAndApplied(pair, profile));
  }
}

async function madeAndApplied(pair: Pair, profile: Profile): Promise<void> {
  const source = join(modelsFolder!, pair.name, `old.${pair.format}`);
  const target = join(modelsFolder!, pair.name, `new.${pair.format}`);
  const signed = join(folder, 'signed');
  const output = join(folder, 'output');
  const stats = await inThread.createPatch(source, target, signed, { profile, privateKey: keys.privateKey });
  assert.equal(stats.tensorsModified + stats.tensorsUnchanged, pair.tensor_stats.tensors_new);
  const layout = readLayout(new MemorySource(readFileSync(source)));
  assert.equal(layout.warning, null, 'read by its own reader');
  assert.equal(tensorCount(layout), pair.tensor_stats.tensors_old);
  assert.ok(
    stats.patchSize - SIGNATURE_BYTES <= stats.targetSize + overheadBytes(stats.patchSize, profile),
    'never larger than target and header',
  );
  inThread.applyPatch(source, signed, output, keys.publicKey);
  assert.ok(readFileSync(output).equals(readFileSync(target)), 'applied byte for byte');
  if (firstOfFormat(pair)) await throughTheApi(pair, profile);
  inPieces(readFileSync(source), readFileSync(target), readFileSync(signed), SINGLE_BYTES[profile]);
}

function firstOfFormat(pair: Pair): boolean {
  return manifest.find(({ format }) => format === pair.format) === pair;
}

/** The public calls, which run threads of their own, signed and not. */
async function throughTheApi(pair: Pair, profile: Profile): Promise<void> {
  const source = join(modelsFolder!, pair.name, `old.${pair.format}`);
  const target = join(modelsFolder!, pair.name, `new.${pair.format}`);
  const [plain, signed, output] = ['plain', 'signed later', 'output'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  const warnings: string[] = [];
  await createPatch(source, target, plain, { profile, onWarning: (message) => warnings.push(message) });
  assert.deepEqual(warnings, []);
  await signPatch(plain, keys.privateKey, signed);
  assert.ok(readFileSync(signed).equals(readFileSync(join(folder, 'signed'))), 'as signed at once, in this thread');
  for (const [patch, options] of [
    [plain, {}],
    [signed, { publicKey: keys.publicKey }],
  ] as const) {
    const verification = await verifyPatch(source, patch, options);
    assert.equal(verification.error, null);
    assert.equal(toHex(verification.actualTarget!), pair.new.sha256);
    await applyPatch(source, patch, output, options);
    assert.ok(readFileSync(output).equals(readFileSync(target)), 'applied byte for byte');
  }
  assert.equal((await patchInfo(signed)).signed, true);
}

/** SPEC.md, "Size": header, one hash a frame, one header a segment. */
function overheadBytes(patchSize: number, profile: Profile): number {
  return (
    200 +
    16 * Math.ceil(patchSize / (profile === 'mcu' ? 1008 : 65520)) +
    16 * Math.ceil(patchSize / (profile === 'mcu' ? 16384 : 1 << 20))
  );
}

/** One byte at a time, then at random splits: the target is the same as in the pieces that files are read in. */
function inPieces(source: Uint8Array, target: Uint8Array, patch: Uint8Array, { first, last }: SingleBytes): void {
  const random = new Prng(patch.length);
  const tail = patch.length - last;
  const splits: Record<string, (at: number) => number> = {
    'one byte at a time': (at) => (at < first || at >= tail ? 1 : Math.min(4096, tail - at)),
    'at random splits': () => 1 + random.below(5000),
  };
  for (const [how, next] of Object.entries(splits)) {
    const sink = new ComparingSink(target);
    const applier = new Applier({
      source: new MemorySource(source),
      target: () => sink,
      hasher: new NodeHasher(),
      verifier: new NodeSignatureVerifier(),
      decompressor: createDecompressor(),
      trustedKeys: [keys.publicKey],
      policy: {
        maxBufferBytes: DEFAULT_MAX_BUFFER_BYTES,
        maxTargetBytes: MAX_FILE_BYTES,
        family: null,
        deviceClass: null,
        counterFloor: 0,
      },
    });
    let at = 0;
    while (at < patch.length) {
      const end = Math.min(patch.length, at + next(at));
      while (at < end) at += applier.push(patch.subarray(at, end)).consumed;
    }
    while (applier.push(new Uint8Array(0)).kind === 'busy');
    applier.end();
    assert.equal(sink.written, target.length, how);
  }
}

/** Compares as it is written, so that a difference is found where it is. */
class ComparingSink implements TargetSink {
  written = 0;
  private readonly target: Uint8Array;
  private readonly hasher = new NodeHasher();

  constructor(target: Uint8Array) {
    this.target = target;
  }

  write(bytes: Uint8Array): void {
    const expected = Buffer.from(this.target.buffer, this.target.byteOffset + this.written, bytes.length);
    if (!expected.equals(bytes)) assert.fail(`the target differs within ${bytes.length} bytes from ${this.written}`);
    this.hasher.update(bytes);
    this.written += bytes.length;
  }

  resume(): void {
    assert.fail('nothing to resume');
  }

  checkpoint(): boolean {
    return false;
  }

  finish(): void {
    // Nothing is buffered.
  }

  stepDigest(digest: Uint8Array): boolean {
    this.hasher.digest(digest);
    return true;
  }
}
