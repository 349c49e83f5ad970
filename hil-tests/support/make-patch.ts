/**
 * Makes real patches from bytes in memory, taken as plain bytes: the production encoder, except that zstd blocks are written raw
 * unless a compressor is given. For tests of what happens to a patch, not of how small it is.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { PatchRequest } from '../../agent/publish.js';
import { encodeBody, type Spool } from '../../core/diff/encode-body.js';
import { writePatch } from '../../core/diff/write-patch.js';
import { PROFILES } from '../../core/limits.js';
import { MemorySource } from '../../core/memory-source.js';
import type { Compressor, Signer } from '../../core/ports.js';
import { NodeHasher, NodeSigner, publicKeyOfSeed } from '../../targets/node/hashing.js';

const MAX_BLOCK_BYTES = 131072;

const rawBlocks: Compressor = {
  compress(_dictionary, plain) {
    const count = Math.max(1, Math.ceil(plain.length / MAX_BLOCK_BYTES));
    const packed = new Uint8Array(plain.length + 3 * count);
    for (let i = 0; i < count; i++) {
      const run = plain.subarray(i * MAX_BLOCK_BYTES, (i + 1) * MAX_BLOCK_BYTES);
      const header = (run.length << 3) | (i === count - 1 ? 1 : 0);
      const at = i * (MAX_BLOCK_BYTES + 3);
      packed.set([header & 0xff, (header >> 8) & 0xff, header >> 16], at);
      packed.set(run, at + 3);
    }
    return packed;
  },
};

class MemorySpool implements Spool {
  private readonly parts: Uint8Array[] = [];
  private whole: Uint8Array | null = null;
  size = 0;

  append(bytes: Uint8Array): void {
    this.parts.push(bytes.slice());
    this.size += bytes.length;
  }

  read(offset: number, into: Uint8Array): void {
    this.whole ??= Buffer.concat(this.parts);
    into.set(this.whole.subarray(offset, offset + into.length));
  }
}

export type PatchOptions = Partial<PatchRequest> & {
  /** Makes an in-place patch with units of so many bytes. */
  readonly unitBytes?: number;
};

export interface EncoderOptions {
  readonly compressor?: Compressor;
  /** Default 3. */
  readonly level?: number;
  /** In place of a private key. */
  readonly signer?: Signer;
}

/** What was made before in this process: tests ask for the same patch of the same models again and again. */
const made = new Map<string, Uint8Array>();

/** `source` null makes a stand-alone patch. The bytes are the caller's. */
export function makePatch(
  source: Uint8Array | null,
  target: Uint8Array,
  options: PatchOptions & EncoderOptions = {},
): Uint8Array {
  // Compressors and signers have no names.
  if (options.compressor !== undefined || options.signer !== undefined) return encodePatch(source, target, options);
  const { privateKey = null, ...rest } = options;
  const inputs = [source === null ? null : sha256Hex(source), sha256Hex(target), privateKey && sha256Hex(privateKey)];
  const key = JSON.stringify([...inputs, rest]);
  const patch = made.get(key) ?? encodePatch(source, target, options);
  made.set(key, patch);
  return patch.slice();
}

function encodePatch(
  source: Uint8Array | null,
  target: Uint8Array,
  options: PatchOptions & EncoderOptions,
): Uint8Array {
  const { profile = 'gateway', level = 3, compressor = rawBlocks, privateKey, neural = false } = options;
  const from = source === null ? null : new MemorySource(source);
  const spool = new MemorySpool();
  const targetLayout = { format: 'Binary', tensors: [], warning: null } as const;
  const shared = { source: from, target: new MemorySource(target), profile, level, neural };
  const { unitBytes = 0 } = options;
  const inPlace = unitBytes === 0 ? null : { unitBytes, hasher: new NodeHasher() };
  const body = encodeBody({ ...shared, targetLayout, bases: [], compressor, spool, inPlace });
  const out: Uint8Array[] = [];
  writePatch({
    header: {
      ...body,
      format: 'Binary',
      codec: neural ? 'neural' : 'zstd',
      level,
      profile,
      standalone: from === null,
      frameBytes: PROFILES[profile].frameBytes,
      segmentBytes: PROFILES[profile].segmentBytes,
      sourceSize: source?.length ?? 0,
      targetSize: target.length,
      sourceHash: source === null ? new Uint8Array(32) : sha256(source),
      targetHash: sha256(target),
      versionCounter: options.versionCounter ?? 0,
      minimumCounter: options.minimumCounter ?? 0,
      createdAt: null,
      family: options.family ?? '',
      deviceClass: options.deviceClass ?? '',
    },
    spool,
    signer: options.signer ?? (privateKey === undefined ? null : new NodeSigner(privateKey)),
    hasher: new NodeHasher(),
    write: (bytes) => out.push(bytes.slice()),
  });
  return new Uint8Array(Buffer.concat(out));
}

/** makePatch in the shape that `publish` takes. */
export async function createTestPatch(
  source: string | null,
  target: string,
  output: string,
  options: PatchRequest,
): Promise<{ patchSize: number }> {
  const patch = makePatch(source === null ? null : readFileSync(source), readFileSync(target), options);
  writeFileSync(output, patch);
  return { patchSize: patch.length };
}

export interface TestKeypair {
  readonly publicKey: Uint8Array;
  readonly privateKey: Uint8Array;
}

/** A keypair from one byte, the same in every run. */
export function testKeypair(seedByte: number): TestKeypair {
  const seed = new Uint8Array(32).fill(seedByte);
  const publicKey = publicKeyOfSeed(seed);
  return { publicKey, privateKey: new Uint8Array([...seed, ...publicKey]) };
}

export function sha256(bytes: Uint8Array): Uint8Array {
  const hasher = new NodeHasher();
  const digest = new Uint8Array(32);
  hasher.update(bytes);
  hasher.digest(digest);
  return digest;
}

export function sha256Hex(bytes: Uint8Array): string {
  return Buffer.from(sha256(bytes)).toString('hex');
}

/** Seeded bytes that no compressor makes smaller. */
export function noise(length: number, seed: number): Uint8Array {
  let state = seed >>> 0 || 1;
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state & 0xff;
  }
  return bytes;
}
