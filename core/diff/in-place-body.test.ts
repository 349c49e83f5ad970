/** What the encoder makes of models for in-place patches: every base is used that is still there, and none that is not. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NodeHasher } from '../../targets/node/hashing.js';
import { createCompressor } from '../../targets/node/zstd-compressor.js';
import { applied, Probe } from '../apply/run-patch.test.js';
import { floatToHalf } from '../codec/half.js';
import type { DType, Tensor } from '../formats/model.js';
import { PROFILES, type Profile } from '../limits.js';
import { MemorySource } from '../memory-source.js';
import { noise, sha256 } from '../patch/build-patch.test.js';
import { type EncodedBody, encodeBody } from './encode-body.js';
import { writePatch } from './write-patch.js';

const UNIT_BYTES = 16384;

function tensor(dtype: DType, offset: number, length: number): Tensor {
  const elements = length / (dtype === 'f32' ? 4 : dtype === 'f16' ? 2 : 1);
  return { name: 'w', aliases: [], dtype, shape: [elements], offset, length, scales: [], scaleAxis: 0 };
}

interface Made {
  readonly body: EncodedBody;
  readonly size: number;
}

/** Encodes, applies with units checked, and tells what came of it. */
function make(
  source: Uint8Array,
  target: Uint8Array,
  base: Tensor | null,
  now: Tensor | null,
  unitBytes: number,
  profile: Profile = 'mcu',
): Made {
  const parts: Uint8Array[] = [];
  const spool = {
    bytes: Buffer.alloc(0),
    get size() {
      return this.bytes.length;
    },
    append(more: Uint8Array) {
      this.bytes = Buffer.concat([this.bytes, more]);
    },
    read(offset: number, into: Uint8Array) {
      into.set(this.bytes.subarray(offset, offset + into.length));
    },
  };
  const body = encodeBody({
    source: new MemorySource(source),
    target: new MemorySource(target),
    targetLayout: { format: 'Binary', tensors: now === null ? [] : [now], warning: null },
    bases: now === null ? [] : [base],
    profile,
    level: 3,
    compressor: createCompressor(),
    inPlace: unitBytes === 0 ? null : { unitBytes, hasher: new NodeHasher() },
    spool,
  });
  const { frameBytes, segmentBytes } = PROFILES[profile];
  const sizes = { frameBytes, segmentBytes, sourceSize: source.length, targetSize: target.length };
  const names = { family: '', deviceClass: '', priors: new Uint8Array(0) };
  const counters = { versionCounter: 0, minimumCounter: 0, createdAt: null };
  const hashes = { sourceHash: sha256(source), targetHash: sha256(target) };
  const kind = { format: 'Binary', codec: 'zstd', level: 3, profile, standalone: false } as const;
  const hasher = new NodeHasher();
  const header = { ...body, ...sizes, ...names, ...counters, ...hashes, ...kind };
  const size = writePatch({ header, spool, signer: null, hasher, write: (bytes) => parts.push(bytes.slice()) });
  const probe = new Probe();
  const options = probe.options({ source }, { unitHasher: new NodeHasher() });
  assert.deepEqual(applied(new Uint8Array(Buffer.concat(parts)), options, probe.target), target);
  return { body, size };
}

/** Values that zstd makes little of, so that a base is worth having. */
function weights(count: number): Float32Array {
  const random = noise(4 * count, 3);
  return Float32Array.from({ length: count }, (_, i) => (random[4 * i]! - 128 + random[4 * i + 1]! / 256) / 1000);
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer.slice(0));
}

function halves(values: Float32Array): Uint8Array {
  return new Uint8Array(Uint16Array.from(new Uint32Array(values.buffer), floatToHalf).buffer);
}

test('a tensor that moved up by a little loses its base for so many bytes a unit, and counts as unchanged all the same', () => {
  const data = bytesOf(weights(30_000));
  const source = new Uint8Array([...noise(8, 1), ...data]);
  for (const moved of [1, 4, 100]) {
    const target = new Uint8Array([...noise(8 + moved, 2), ...data]);
    const [base, now] = [tensor('f32', 8, data.length), tensor('f32', 8 + moved, data.length)];
    const inPlace = make(source, target, base, now, UNIT_BYTES);
    assert.deepEqual([inPlace.body.tensorsModified, inPlace.body.tensorsUnchanged], [0, 1]);
    const units = Math.ceil(target.length / UNIT_BYTES);
    const plain = make(source, target, base, now, 0);
    assert.ok(inPlace.size - plain.size < units * (moved + 64), `${inPlace.size} bytes, else ${plain.size}`);
  }
});

test('a model that becomes half as large is predicted in place as ever: what it is cast from lies ahead', () => {
  const values = weights(60_000);
  const [source, target] = [bytesOf(values), halves(values)];
  const [base, now] = [tensor('f32', 0, source.length), tensor('f16', 0, target.length)];
  const plain = make(source, target, base, now, 0);
  const inPlace = make(source, target, base, now, UNIT_BYTES);
  assert.ok(inPlace.size < plain.size + 16 * Math.ceil(target.length / UNIT_BYTES) + 100);
});

test('a model that becomes twice as large is predicted as far as its base is still there', () => {
  const values = weights(30_000);
  const source = halves(values);
  const target = bytesOf(values);
  const [base, now] = [tensor('f16', 0, source.length), tensor('f32', 0, target.length)];
  const inPlace = make(source, target, base, now, UNIT_BYTES);
  assert.equal(inPlace.body.tensorsModified, 1);
  const larger = make(source, target, base, now, 4 * UNIT_BYTES);
  assert.ok(larger.size < inPlace.size, 'more of the base is left in a larger unit');
});

test('a dictionary begins behind what is written over, and the whole source is one for the first unit alone', () => {
  const { segmentBytes } = PROFILES.gateway;
  const source = noise(3 * segmentBytes, 1);
  for (let i = 0; i < source.length; i++) source[i]! ^= (i * i) >>> 9;
  // Every run of 50 bytes is one of the source from somewhere in the same unit or ahead: only zstd can follow that.
  const target = source.slice();
  for (let at = 0; at + 50 < target.length; at += 50) {
    const from = Math.min(at + ((at * 7919) % segmentBytes), source.length - 50);
    target.set(source.subarray(from, from + 50), at);
  }
  const whole = tensor('i8', 0, target.length);
  const { body } = make(source, target, whole, whole, segmentBytes, 'gateway');
  assert.equal(body.dictionaryBytes, source.length);
});

test('bytes of no known tensor, behind one that moved up, are guessed from what is still there alone', () => {
  const values = weights(30_000);
  const changed = values.map((value, i) => value * (1 + (1 + (i % 7)) / 4096));
  const source = new Uint8Array([...noise(8, 1), ...bytesOf(values)]);
  const target = new Uint8Array([...noise(8 + 400, 2), ...bytesOf(changed)]);
  const [base, now] = [tensor('f32', 8, 4000), tensor('f32', 408, 4000)];
  const inPlace = make(source, target, base, now, UNIT_BYTES);
  const plain = make(source, target, base, now, 0);
  assert.ok(plain.size < 0.6 * target.length, 'the guess is worth something');
  assert.ok(inPlace.size > plain.size);
});

test('units that stay are said in one run, also where the unit behind them begins with bytes that stay', () => {
  const source = noise(12 * UNIT_BYTES, 1);
  const unitBytes = 4 * UNIT_BYTES;
  const target = source.slice();
  target.set(noise(50, 2), 9 * UNIT_BYTES);
  const { size } = make(source, target, null, null, unitBytes);
  assert.ok(size < 188 + 1 + 16 + 200, `${size} bytes: one hash, three copies, one coded segment`);
});
