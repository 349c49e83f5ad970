/**
 * Every byte of a small patch flipped and every truncation of it, unsigned and signed: refused with the right error, without
 * output, and nothing is decoded past the frame that fails. Runs the worker's functions in this thread, for speed.
 */

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { Applier } from '../../core/apply/applier.js';
import { DigestTarget } from '../../core/apply/digest-target.js';
import { MemorySource } from '../../core/memory-source.js';
import { FrameGeometry } from '../../core/patch/frames.js';
import { withFlip } from '../../hil-tests/support/forge-patch.js';
import { noise, testKeypair } from '../../hil-tests/support/make-patch.js';
import { applyPatch } from './apply-patch.js';
import { checkPatch } from './check-patch.js';
import { createPatch } from './create-patch.js';
import { NodeHasher } from './hashing.js';
import { readPreamble } from './inputs.js';
import { createApplier } from './run-applier.js';
import { Task } from './task.js';

const folder = mkdtempSync(join(tmpdir(), 'mallorn-hostile-'));
after(() => rmSync(folder, { recursive: true }));

const { publicKey, privateKey } = testKeypair(1);
const task = new Task(new Int32Array(new SharedArrayBuffer(4)), () => {});
/** Four segments of the mcu profile over several frames: a copy, a zstd one, literals that do not compress. */
const source = noise(40_000, 1);
const target = source.slice();
target.set(noise(1200, 2), 17_000);
for (let i = 33_000; i < 36_000; i += 40) target[i] = target[i]! + 1;
target.set(noise(900, 3), 38_000);

interface Case {
  readonly patch: Uint8Array;
  readonly publicKey: Uint8Array | null;
}

async function make(key: Uint8Array | null, neural = false): Promise<Uint8Array> {
  const output = join(folder, 'made');
  const options = {
    family: '',
    deviceClass: '',
    versionCounter: 0,
    minimumCounter: 0,
    neural,
    unitBytes: 0,
    createdAt: null,
  };
  await createPatch({ ...options, source, target, output, level: 3, profile: 'mcu', signWith: key }, task);
  const bytes = new Uint8Array(readFileSync(output));
  rmSync(output);
  return bytes;
}

/** Applies with the public code path, to see the error and that nothing is left. */
function errorOfApply({ patch, publicKey }: Case): string {
  try {
    applyPatch({ source, patch, output: join(folder, 'output'), publicKey }, task);
  } catch (error) {
    return nameOf(error);
  }
  return 'none';
}

/** Applies into a counter: which error, and how many target bytes were decoded before it. */
function decodedBefore({ patch, publicKey }: Case): { error: string; written: number } {
  const sink = new DigestTarget(new NodeHasher());
  const ports = { source: new MemorySource(source), target: () => sink, publicKey };
  try {
    const { error } = checkPatch({ ...ports, patch: new MemorySource(patch), phase: 'verifying' }, task);
    return { error: error === null ? 'none' : nameOf(error), written: sink.written };
  } catch (error) {
    return { error: nameOf(error), written: sink.written };
  }
}

function nameOf(error: unknown): string {
  assert.ok(error instanceof Error);
  return error.name;
}

/** Target bytes that the frames before each frame are worth: what may be decoded when that frame fails. */
function decodableBefore(patch: Uint8Array): { preambleBytes: number; frameBytes: number; limits: number[] } {
  const { preambleBytes, header } = readPreamble(new MemorySource(patch));
  const geometry = new FrameGeometry(header.frameBytes, header.bodyBytes);
  const sink = new DigestTarget(new NodeHasher());
  const applier = createApplier({
    source: new MemorySource(source),
    target: () => sink,
    trustedKeys: [],
    sourceVerified: true,
  });
  const limits: number[] = [];
  pushAll(applier, patch.subarray(0, preambleBytes));
  for (let i = 0; i < geometry.count; i++) {
    limits.push(sink.written);
    const start = preambleBytes + geometry.wireOffset(i);
    pushAll(applier, patch.subarray(start, start + geometry.lengthOf(i)));
  }
  assert.equal(sink.written, target.length);
  return { preambleBytes, frameBytes: header.frameBytes, limits };
}

function pushAll(applier: Applier, chunk: Uint8Array): void {
  for (let rest = chunk; ; ) {
    const result = applier.push(rest);
    rest = rest.subarray(result.consumed);
    if (result.kind !== 'busy' && rest.length === 0) return;
  }
}

const patches = [
  { name: 'an unsigned patch', patch: await make(null), trusted: null },
  { name: 'a signed patch, with the key', patch: await make(privateKey), trusted: publicKey },
  { name: 'an unsigned neural patch', patch: await make(null, true), trusted: null },
  { name: 'a signed neural patch, with the key', patch: await make(privateKey, true), trusted: publicKey },
];

for (const { name, patch, trusted } of patches) {
  describe(name, () => {
    const { preambleBytes, frameBytes, limits } = decodableBefore(patch);
    const { headerBytes } = readPreamble(new MemorySource(patch));
    const limitAt = (offset: number): number =>
      offset < preambleBytes ? 0 : limits[Math.floor((offset - preambleBytes) / frameBytes)]!;

    /** Flips in signatures are the signature's matter, all others damage; the count of signatures may be either. */
    const expectedErrors = (offset: number): string[] => {
      if (offset < headerBytes.length || offset >= preambleBytes) return ['InvalidPatch'];
      if (offset === headerBytes.length)
        return trusted === null ? ['InvalidPatch'] : ['InvalidPatch', 'SignatureError'];
      return ['SignatureError'];
    };

    test('is worth flipping: several frames, and every one decodes something', () => {
      assert.ok(limits.length >= 3, `got ${limits.length} frames`);
      assert.ok(patch.length < 6000, `got ${patch.length} bytes`);
      assert.deepEqual(decodedBefore({ patch, publicKey: trusted }), { error: 'none', written: target.length });
    });

    test('with any byte flipped is refused, and nothing past the failing frame is decoded', () => {
      for (let at = 0; at < patch.length; at++) {
        // In frames any flip is the hash's matter.
        for (const mask of at < preambleBytes ? [0x01, 0xff] : [1 << (at % 8)]) {
          const { error, written } = decodedBefore({ patch: withFlip(patch, at, mask), publicKey: trusted });
          assert.ok(expectedErrors(at).includes(error), `byte ${at} ^ ${mask}: ${error}`);
          assert.ok(
            written <= limitAt(at),
            `byte ${at} ^ ${mask}: ${written} bytes were decoded, at most ${limitAt(at)} are sound`,
          );
        }
      }
    });

    test('cut anywhere is refused, and nothing past the cut is decoded', () => {
      for (let length = 0; length < patch.length; length++) {
        const { error, written } = decodedBefore({ patch: patch.subarray(0, length), publicKey: trusted });
        assert.equal(error, 'InvalidPatch', `cut to ${length} bytes`);
        assert.ok(written <= limitAt(length), `cut to ${length} bytes: ${written} bytes were decoded`);
      }
    });

    test('damaged or cut leaves no output and no temporary file behind', () => {
      for (let at = 0; at < patch.length; at += at < preambleBytes ? 1 : 7) {
        const flipped = errorOfApply({ patch: withFlip(patch, at), publicKey: trusted });
        assert.ok(expectedErrors(at).includes(flipped), `byte ${at}: ${flipped}`);
        assert.equal(
          errorOfApply({ patch: patch.subarray(0, at), publicKey: trusted }),
          'InvalidPatch',
          `cut to ${at} bytes`,
        );
        assert.deepEqual(readdirSync(folder), [], `byte ${at}`);
      }
    });
  });
}
