/** Whole bodies with neural segments from the encoder: what it must not ask of a device. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NodeHasher } from '../../targets/node/hashing.js';
import { createCompressor } from '../../targets/node/zstd-compressor.js';
import { applied, Probe } from '../apply/run-patch.test.js';
import { createMixedModels } from '../codec/mixed-models.js';
import { MAX_NEURAL_SCALES } from '../codec/neural-runner.js';
import type { DType, ModelLayout, Tensor } from '../formats/model.js';
import { PROFILES, type Profile } from '../limits.js';
import { MemorySource } from '../memory-source.js';
import { noise, sha256 } from '../patch/build-patch.test.js';
import { encodeBody, type Spool } from './encode-body.js';
import { writePatch } from './write-patch.js';

class GrowingSpool implements Spool {
  private bytes = Buffer.alloc(0);

  get size(): number {
    return this.bytes.length;
  }

  append(more: Uint8Array): void {
    this.bytes = Buffer.concat([this.bytes, more]);
  }

  read(offset: number, into: Uint8Array): void {
    into.set(this.bytes.subarray(offset, offset + into.length));
  }
}

interface Model {
  readonly bytes: Uint8Array;
  readonly layout: ModelLayout;
}

/** One tensor of [rows, columns] behind a few bytes of container. */
function model(dtype: DType, data: Uint8Array, shape: readonly number[], scales: readonly number[]): Model {
  const head = noise(13, 8);
  const bytes = new Uint8Array([...head, ...data]);
  const tensor: Tensor = {
    name: 'weight',
    aliases: [],
    dtype,
    shape,
    offset: head.length,
    length: data.length,
    scales,
    scaleAxis: shape.length - 1,
  };
  return { bytes, layout: { format: 'Binary', tensors: [tensor], warning: null } };
}

/** Encodes, applies as a device of the patch's class, and gives the patch's size; stand-alone without a source. */
function roundTrip(source: Model | null, target: Model, profile: Profile): number {
  const spool = new GrowingSpool();
  const body = encodeBody({
    source: source === null ? null : new MemorySource(source.bytes),
    target: new MemorySource(target.bytes),
    targetLayout: target.layout,
    bases: source?.layout.tensors ?? [],
    profile,
    level: 3,
    neural: true,
    compressor: createCompressor(),
    spool,
  });
  const parts: Uint8Array[] = [];
  const { frameBytes } = PROFILES[profile];
  writePatch({
    header: {
      ...body,
      format: 'Binary',
      codec: 'neural',
      level: 3,
      profile,
      standalone: source === null,
      frameBytes,
      sourceSize: source?.bytes.length ?? 0,
      targetSize: target.bytes.length,
      sourceHash: source === null ? new Uint8Array(32) : sha256(source.bytes),
      targetHash: sha256(target.bytes),
      versionCounter: 0,
      minimumCounter: 0,
      createdAt: null,
      family: '',
      deviceClass: '',
    },
    spool,
    signer: null,
    hasher: new NodeHasher(),
    write: (bytes) => parts.push(bytes.slice()),
  });
  const probe = new Probe();
  const ports = profile === 'mcu' ? { decompressor: null } : { mixedModels: createMixedModels };
  const patch = new Uint8Array(Buffer.concat(parts));
  assert.deepEqual(
    applied(patch, probe.options(source === null ? {} : { source: source.bytes }, ports), probe.target),
    target.bytes,
  );
  return patch.length;
}

/** Binary32 weights and what TFLite makes of them, a scale for each column. */
function quantised(rows: number, columns: number): { floats: Model; bytes: Model } {
  const random = noise(rows * columns, 4);
  const floats = Float32Array.from(random, (byte) => (byte - 127.5) / 128);
  const scales = Array.from({ length: columns }, (_, i) => Math.fround((1 + (i % 9)) / 1024));
  const bytes = Int8Array.from(floats, (value, i) => {
    const scaled = Math.round(value / scales[i % columns]!);
    return Math.max(-127, Math.min(127, scaled));
  });
  const shape = [rows, columns];
  return {
    floats: model('f32', new Uint8Array(floats.buffer), shape, []),
    bytes: model('i8', new Uint8Array(bytes.buffer), shape, scales),
  };
}

for (const profile of ['mcu', 'gateway'] as const) {
  test(`a cast with more scales than a device takes is said otherwise, in the ${profile} profile`, () => {
    const most = MAX_NEURAL_SCALES[profile === 'mcu' ? 0 : 1]!;
    for (const columns of [most - 1, most, most + 1, 6000]) {
      const { floats, bytes } = quantised(12, columns);
      roundTrip(floats, bytes, profile);
    }
  });

  test(`tensors whose rows are longer than a segment or a table of columns apply, in the ${profile} profile`, () => {
    for (const columns of [1, 7, 8191, 8192, 8193, 30_000]) {
      for (const dtype of ['f32', 'bf16', 'i8', 'i32'] as const) {
        const width = dtype === 'i8' ? 1 : dtype === 'bf16' ? 2 : 4;
        const rows = Math.max(1, Math.floor(40_000 / columns / width));
        const old = noise(rows * columns * width, 5);
        const now = old.slice();
        for (let i = 0; i < now.length; i += 3 * width) now[i] = now[i]! + (i % 5) - 2;
        const shape = [rows, columns];
        roundTrip(model(dtype, old, shape, []), model(dtype, now, shape, []), profile);
      }
    }
  });
}

test('a stand-alone patch sees what lies more than a segment of the profile before', () => {
  const { segmentBytes } = PROFILES.gateway;
  const text = Uint8Array.from(noise(30_000, 3), (byte) => 97 + (byte % 13));
  const bytes = new Uint8Array(segmentBytes + 40_000);
  bytes.set(text);
  bytes.set(text, segmentBytes + 5000);
  const target = { bytes, layout: { format: 'Binary', tensors: [], warning: null } } as const;
  const once = { ...target, bytes: bytes.slice(0, segmentBytes) };
  assert.ok(roundTrip(null, target, 'gateway') < roundTrip(null, once, 'gateway') + 2000);
});

test('a stand-alone patch of a model that holds its weights twice has them once', () => {
  const [rows, columns] = [64, 1024];
  const weights = new Float32Array(rows * columns);
  const random = noise(4 * weights.length, 6);
  // Sums of four bytes: as weights do, they cluster around zero.
  for (let i = 0; i < weights.length; i++)
    weights[i] = (random[4 * i]! + random[4 * i + 1]! + random[4 * i + 2]! + random[4 * i + 3]! - 510) / 4096;
  const once = new Uint8Array(weights.buffer);
  const twice = new Uint8Array([...once, ...once]);
  const one = roundTrip(null, model('f32', once, [rows, columns], []), 'gateway');
  const both = roundTrip(null, model('f32', twice, [2 * rows, columns], []), 'gateway');
  assert.ok(both < 1.05 * one, `${both} bytes, of one half ${one}`);
});
