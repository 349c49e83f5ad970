/** Runs an applier over a patch for the tests, and counts what it does. No tests of its own; the suffix keeps it out of core. */

import assert from 'node:assert/strict';
import { NodeHasher, NodeSignatureVerifier } from '../../targets/node/hashing.js';
import { createDecompressor } from '../../targets/node/zstd-decompressor.js';
import { copy, delta, literal } from '../diff/pieces.js';
import { DEFAULT_MAX_BUFFER_BYTES, MAX_FILE_BYTES } from '../limits.js';
import { MemorySource } from '../memory-source.js';
import { type BuiltPatch, buildPatch, noise, type PatchPlan, sha256 } from '../patch/build-patch.test.js';
import type { ByteSource, Decompressor } from '../ports.js';
import { Applier, type ApplierOptions, type PushResult } from './applier.js';
import type { ApplyPolicy } from './policy.js';
import type { TargetSink } from './target-sink.js';

export const ANY: ApplyPolicy = {
  maxBufferBytes: DEFAULT_MAX_BUFFER_BYTES,
  maxTargetBytes: MAX_FILE_BYTES,
  family: null,
  deviceClass: null,
  counterFloor: 0,
};

/** Keeps the target in memory. Every `checkpointEvery` bytes is a place to go on from. */
export class MemoryTarget implements TargetSink {
  written = 0;
  finished = false;
  private memory = new Uint8Array(1 << 14);
  private readonly checkpointEvery: number;

  constructor(checkpointEvery = Number.POSITIVE_INFINITY) {
    this.checkpointEvery = checkpointEvery;
  }

  get bytes(): Uint8Array {
    return this.memory.slice(0, this.written);
  }

  write(bytes: Uint8Array): void {
    assert.ok(!this.finished && bytes.length > 0);
    if (this.written + bytes.length > this.memory.length) {
      const grown = new Uint8Array(2 * this.memory.length + bytes.length);
      grown.set(this.memory);
      this.memory = grown;
    }
    this.memory.set(bytes, this.written);
    this.written += bytes.length;
  }

  resume(offset: number): void {
    this.written = offset;
    this.finished = false;
  }

  checkpoint(): boolean {
    return this.written % this.checkpointEvery === 0;
  }

  finish(): void {
    this.finished = true;
  }

  stepDigest(digest: Uint8Array): boolean {
    assert.ok(this.finished);
    digest.set(sha256(this.memory.subarray(0, this.written)));
    return true;
  }
}

/** Every port of an applier, counting. */
export class Probe {
  readonly target = new MemoryTarget();
  opened = 0;
  decompressed = 0;
  memoryBytes: number[] = [];
  sourceReads = 0;

  options(patch: { readonly source?: Uint8Array }, changes: Partial<ApplierOptions> = {}): ApplierOptions {
    return {
      source: patch.source === undefined ? null : this.countReads(new MemorySource(patch.source)),
      target: () => {
        this.opened++;
        return this.target;
      },
      hasher: new NodeHasher(),
      verifier: new NodeSignatureVerifier(),
      decompressor: this.countCalls(createDecompressor()),
      trustedKeys: [],
      policy: ANY,
      memory: (byteLength) => {
        this.memoryBytes.push(byteLength);
        return new Uint8Array(byteLength);
      },
      ...changes,
    };
  }

  /** Nothing of the body was decoded and no slot was touched. */
  assertUntouched(): void {
    const { opened, decompressed } = this;
    assert.deepEqual(
      { opened, decompressed, written: this.target.written },
      { opened: 0, decompressed: 0, written: 0 },
    );
  }

  private countReads(source: ByteSource): ByteSource {
    return {
      size: source.size,
      read: (offset, into) => {
        this.sourceReads++;
        source.read(offset, into);
      },
    };
  }

  private countCalls(decompressor: Decompressor): Decompressor {
    return {
      decompress: (...what) => {
        this.decompressed++;
        decompressor.decompress(...what);
      },
    };
  }
}

export interface FeedOptions {
  /** Bytes of the next chunk; default all. */
  readonly split?: (bytesLeft: number) => number;
  /** Sees each answer. */
  readonly onPush?: (result: PushResult) => void;
  /** What the link delivers at an offset of the patch file; default what the patch says. */
  readonly link?: (offset: number, bytes: Uint8Array) => Uint8Array;
}

/** Feeds a patch the way a device does: chunks, seeks, the end. */
export function feed(
  applier: Applier,
  patch: Uint8Array,
  { split = (left) => left, onPush, link }: FeedOptions = {},
): void {
  let at = 0;
  for (let pushes = 0; pushes < 1e6; pushes++) {
    const chunk = patch.subarray(at, at + Math.max(1, split(patch.length - at)));
    let rest = link === undefined ? chunk : link(at, chunk);
    at += rest.length;
    for (;;) {
      const result = applier.push(rest);
      onPush?.(result);
      rest = rest.subarray(result.consumed);
      if (result.kind === 'seek') {
        at = result.patchOffset;
        break;
      }
      if (result.kind === 'busy') continue;
      assert.equal(rest.length, 0, 'input and done take the whole chunk');
      if (result.kind === 'done' && at >= patch.length) return;
      break;
    }
    if (chunk.length === 0) {
      applier.end();
      return;
    }
  }
  throw new Error('the applier never ends');
}

/** The target that a patch gives. */
export function applied(
  patch: Uint8Array,
  options: ApplierOptions,
  target: MemoryTarget,
  how: FeedOptions = {},
): Uint8Array {
  feed(new Applier(options), patch, how);
  return target.bytes;
}

export interface Sample extends BuiltPatch {
  readonly source: Uint8Array;
  readonly target: Uint8Array;
}

/**
 * Every kind of segment and op, many frames, segment headers that straddle them: a copy of three segments' length, then
 * eight coded segments of 1 KiB, the last one cut short, so that the end lies on no grid.
 */
export function samplePatch(changes: Partial<PatchPlan> = {}): Sample {
  const source = noise(9000, 1);
  const target = noise(11_111, 2);
  target.set(source.subarray(1234, 1234 + 3072), 0);
  target.set(source.subarray(0, 500), 3072 + 100);
  const mixed = (at: number) => [literal(100), delta(500, at, 4), literal(24, 2), delta(400, 100, at % 4)];
  const plan: PatchPlan = {
    source,
    target,
    segments: [
      { kind: 'copy', length: 3072, source: 1234 },
      { kind: 'stored', pieces: [literal(100), copy(500, 0), literal(424)] },
      { kind: 'zstd', pieces: mixed(8000) },
      { kind: 'zstd', pieces: mixed(7001), dictionary: { offset: 77, length: 600 } },
      { kind: 'stored', pieces: [literal(1024)] },
      { kind: 'zstd', pieces: mixed(6) },
      { kind: 'stored', pieces: mixed(7) },
      { kind: 'zstd', pieces: [literal(1024, 1)] },
      { kind: 'stored', pieces: [literal(871)] },
    ],
    ...changes,
    header: { frameBytes: 200, segmentBytes: 1024, ...changes.header },
  };
  return { ...buildPatch(plan), source, target: plan.target };
}

/** As samplePatch, with a neural segment wherever the class may have one, beside a stored one and, in class 1, a zstd one. */
export function neuralSample(decodeClass: 0 | 1, changes: Partial<PatchPlan> = {}): Sample {
  const source = noise(9000, 1);
  const target = noise(11_111, 2);
  target.set(source.subarray(1234, 1234 + 3072), 0);
  target.set(source.subarray(0, 500), 3072 + 100);
  // Bytes that the byte model can make something of.
  for (let i = 6144; i < 7168; i++) target[i] = source[i - 6000]! ^ (i % 50 === 0 ? 1 : 0);
  const mixed = (at: number) => [literal(100), delta(500, at, 4), literal(24, 2), delta(400, 100, at % 4)];
  const dictionary = decodeClass === 0 ? {} : { dictionary: { offset: 77, length: 3000 } };
  const plan: PatchPlan = {
    source,
    target,
    segments: [
      { kind: 'copy', length: 3072, source: 1234 },
      { kind: 'neural', pieces: [literal(100), copy(500, 0), literal(424)] },
      { kind: 'neural', pieces: mixed(8000), ...dictionary },
      { kind: decodeClass === 0 ? 'stored' : 'zstd', pieces: mixed(7001) },
      { kind: 'neural', pieces: [literal(1024)], ...dictionary },
      { kind: 'neural', pieces: [literal(512, 6), delta(512, 9, 6)] },
      { kind: 'stored', pieces: mixed(7) },
      { kind: 'neural', pieces: [literal(1024, 5)], ...dictionary },
      { kind: 'neural', pieces: [delta(868, 3, 5), literal(3)] },
    ],
    ...changes,
    header: { frameBytes: 200, segmentBytes: 1024, codec: 'neural', decodeClass, ...changes.header },
  };
  return { ...buildPatch(plan), source, target: plan.target };
}
