/**
 * Builds small patches for the tests from segments that a test spells out, so that none depends on what the encoder would
 * choose. No tests of its own: the suffix keeps it out of core, whose shipped files know no platform.
 */

import { createHash } from 'node:crypto';
import { NodeHasher, NodeSigner, publicKeyOfSeed } from '../../targets/node/hashing.js';
import { NEURAL_CONTEXT_BYTES } from '../codec/neural-runner.js';
import { ByteBuilder } from '../diff/byte-builder.js';
import type { Spool } from '../diff/encode-body.js';
import { NeuralEncoder } from '../diff/neural-encoder.js';
import { encodePlain, type Piece } from '../diff/pieces.js';
import { writePatch } from '../diff/write-patch.js';
import { PROFILES } from '../limits.js';
import type { Signer } from '../ports.js';
import { FrameGeometry } from './frames.js';
import { measurePreamble, type PatchHeader, parseHeader } from './header.js';
import { FLAG_DICTIONARY, SEGMENT_COPY, SEGMENT_NEURAL, SEGMENT_STORED, SEGMENT_ZSTD } from './segment.js';
import { isKeptRun, isUnitEnd, UNIT_HASH_BYTES, unitStart } from './unit.js';

/** One segment of a plan; `bytes` is spelled out where a test wants it malformed. */
export type PlannedSegment =
  | { readonly kind: 'copy'; readonly length: number; readonly source: number }
  | { readonly kind: 'stored'; readonly pieces: readonly Piece[] }
  | {
      readonly kind: 'zstd';
      readonly pieces: readonly Piece[];
      readonly dictionary?: { offset: number; length: number };
    }
  /** Of the header's decode class; with codec 'neural' alone. */
  | {
      readonly kind: 'neural';
      readonly pieces: readonly Piece[];
      readonly dictionary?: { offset: number; length: number };
    }
  | { readonly kind: 'raw'; readonly bytes: Uint8Array };

export interface PatchPlan {
  /** Absent: a stand-alone patch. */
  readonly source?: Uint8Array;
  readonly target: Uint8Array;
  readonly segments: readonly PlannedSegment[];
  readonly signers?: readonly Signer[];
  readonly header?: Partial<Omit<PatchHeader, 'firstFrameHash' | 'bodyBytes'>>;
  /** Of an in-place patch: the unit that is said to have another hash than it has. */
  readonly wrongUnit?: number;
  readonly compress?: (dictionary: Uint8Array, plain: Uint8Array) => Uint8Array;
}

export interface BuiltPatch {
  readonly bytes: Uint8Array;
  readonly header: PatchHeader;
  readonly headerBytes: number;
  readonly preambleBytes: number;
  readonly geometry: FrameGeometry;
}

export function buildPatch(plan: PatchPlan): BuiltPatch {
  const { source, target, header } = plan;
  const { body, packedBytes, plainBytes, dictionaryBytes } = buildBody(plan);
  const decodeClass = header?.decodeClass ?? 0;
  const parts = new ByteBuilder(body.length + 1024);
  const { frameBytes, segmentBytes } = PROFILES[header?.profile ?? 'mcu'];
  writePatch({
    header: {
      format: 'Binary',
      codec: 'zstd',
      level: 3,
      profile: 'mcu',
      standalone: source === undefined,
      frameBytes,
      segmentBytes,
      unitBytes: 0,
      packedBytes,
      plainBytes,
      dictionaryBytes,
      contextBytes: header?.codec === 'neural' ? NEURAL_CONTEXT_BYTES[decodeClass]! : 0,
      decodeClass,
      sourceSize: source?.length ?? 0,
      targetSize: target.length,
      sourceHash: source === undefined ? new Uint8Array(32) : sha256(source),
      targetHash: sha256(target),
      tensorsModified: 0,
      tensorsUnchanged: 0,
      versionCounter: 0,
      minimumCounter: 0,
      createdAt: null,
      family: '',
      deviceClass: '',
      priors: new Uint8Array(0),
      ...header,
    },
    spool: new MemorySpool(body),
    signer: plan.signers?.[0] ?? null,
    hasher: new NodeHasher(),
    write: (bytes) => parts.append(bytes),
  });
  return describePatch(parts.view().slice());
}

export function describePatch(bytes: Uint8Array): BuiltPatch {
  const size = measurePreamble(bytes, bytes.length);
  if (size === null) throw new Error('a built patch has a whole preamble');
  const header = parseHeader(bytes.subarray(0, size.headerBytes));
  return { bytes, header, ...size, geometry: new FrameGeometry(header.frameBytes, header.bodyBytes) };
}

interface BuiltBody {
  readonly body: Uint8Array;
  readonly packedBytes: number;
  readonly plainBytes: number;
  readonly dictionaryBytes: number;
}

function buildBody({ source, target, segments, compress, header, wrongUnit }: PatchPlan): BuiltBody {
  const body = new ByteBuilder();
  const most = { packedBytes: 0, plainBytes: 0, dictionaryBytes: 0 };
  const decodeClass = header?.decodeClass ?? 0;
  const neural = segments.some(({ kind }) => kind === 'neural') ? new NeuralEncoder(decodeClass) : null;
  const sourceBytes = source ?? new Uint8Array(0);
  const readSource = (offset: number, bytes: number) => sourceBytes.subarray(offset, offset + bytes);
  let at = 0;
  for (const segment of segments) {
    if (segment.kind === 'raw') {
      body.append(segment.bytes);
      continue;
    }
    const length =
      segment.kind === 'copy' ? segment.length : segment.pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (segment.kind === 'copy') body.append(copySegment(at, length, segment.source));
    else if (segment.kind === 'neural') {
      const { offset, length: dictionaryBytes } = segment.dictionary ?? { offset: 0, length: 0 };
      const dictionary = { offset, bytes: readSource(offset, dictionaryBytes) };
      const bytes = target.subarray(at, at + length);
      const payload = neural!.encode(segment.pieces, bytes, at, readSource, dictionary);
      // No payload is empty on the wire.
      const packed = payload.length === 0 ? new Uint8Array(1) : payload.slice();
      most.packedBytes = Math.max(most.packedBytes, packed.length);
      most.plainBytes = Math.max(most.plainBytes, decodeClass === 0 ? 0 : length);
      most.dictionaryBytes = Math.max(most.dictionaryBytes, dictionaryBytes);
      body.append(neuralSegment({ at, length, packed, dictionaryBytes, dictionaryOffset: offset }));
    } else {
      const plain = encodePlain(segment.pieces, target.subarray(at, at + length), at, readSource);
      most.plainBytes = Math.max(most.plainBytes, plain.length);
      if (segment.kind === 'stored') body.append(storedSegment(length, plain));
      else {
        const { offset, length: dictionaryBytes } = segment.dictionary ?? { offset: 0, length: 0 };
        const dictionary = readSource(offset, dictionaryBytes);
        const packed = (compress ?? rawZstd)(dictionary, plain);
        most.packedBytes = Math.max(most.packedBytes, packed.length);
        most.dictionaryBytes = Math.max(most.dictionaryBytes, dictionaryBytes);
        body.append(
          zstdSegment({ at, length, plainBytes: plain.length, packed, dictionaryBytes, dictionaryOffset: offset }),
        );
      }
    }
    at += length;
    const units = { unitBytes: header?.unitBytes ?? 0, targetSize: target.length };
    const kept = segment.kind === 'copy' && isKeptRun(at - length, segment.source, length, units);
    if (!isUnitEnd(at, units) || kept) continue;
    const start = unitStart(at - 1, units.unitBytes);
    const hash = sha256(target.subarray(start, at));
    if (wrongUnit !== undefined && start === wrongUnit * units.unitBytes) hash[0]! ^= 1;
    body.append(hash.subarray(0, UNIT_HASH_BYTES));
  }
  return { body: body.view().slice(), ...most };
}

export function copySegment(targetOffset: number, length: number, source: number): Uint8Array {
  const out = new ByteBuilder(32);
  out.byte(SEGMENT_COPY);
  out.unsigned(length);
  out.signed(source - targetOffset);
  return out.view();
}

export function storedSegment(targetBytes: number, plain: Uint8Array): Uint8Array {
  const out = new ByteBuilder(32 + plain.length);
  out.byte(SEGMENT_STORED);
  out.unsigned(targetBytes);
  out.signed(plain.length - targetBytes);
  out.append(plain);
  return out.view();
}

export interface ZstdSegment {
  readonly at: number;
  readonly length: number;
  readonly plainBytes: number;
  readonly packed: Uint8Array;
  readonly dictionaryBytes?: number;
  readonly dictionaryOffset?: number;
}

export function zstdSegment({
  at,
  length,
  plainBytes,
  packed,
  dictionaryBytes = 0,
  dictionaryOffset = 0,
}: ZstdSegment): Uint8Array {
  const out = new ByteBuilder(64 + packed.length);
  out.byte(SEGMENT_ZSTD | (dictionaryBytes > 0 ? FLAG_DICTIONARY : 0));
  out.unsigned(length);
  out.signed(plainBytes - length);
  out.unsigned(packed.length);
  if (dictionaryBytes > 0) {
    out.unsigned(dictionaryBytes);
    out.signed(dictionaryOffset - at);
  }
  out.append(packed);
  return out.view();
}

export function neuralSegment({
  at,
  length,
  packed,
  dictionaryBytes = 0,
  dictionaryOffset = 0,
}: Omit<ZstdSegment, 'plainBytes'>): Uint8Array {
  const out = new ByteBuilder(64 + packed.length);
  out.byte(SEGMENT_NEURAL | (dictionaryBytes > 0 ? FLAG_DICTIONARY : 0));
  out.unsigned(length);
  out.unsigned(packed.length);
  if (dictionaryBytes > 0) {
    out.unsigned(dictionaryBytes);
    out.signed(dictionaryOffset - at);
  }
  out.append(packed);
  return out.view();
}

/** `plain` as raw zstd blocks, without any compression: valid zstd that needs no encoder. */
export function rawZstd(_dictionary: Uint8Array, plain: Uint8Array): Uint8Array {
  const out = new ByteBuilder(plain.length + 64);
  for (let from = 0; from === 0 || from < plain.length; from += 131072) {
    const run = plain.subarray(from, from + 131072);
    const header = (run.length << 3) | (from + run.length === plain.length ? 1 : 0);
    out.byte(header);
    out.byte(header >>> 8);
    out.byte(header >>> 16);
    out.append(run);
  }
  return out.view();
}

export class MemorySpool implements Spool {
  readonly size: number;
  private readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.size = bytes.length;
  }

  append(): void {
    throw new Error('the body is whole already');
  }

  read(offset: number, into: Uint8Array): void {
    into.set(this.bytes.subarray(offset, offset + into.length));
  }
}

export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(bytes).digest());
}

/** A signer whose key is made of `seed` alone, so that runs repeat. */
export function testSigner(seed: number): Signer {
  const secret = new Uint8Array(32).fill(seed);
  const privateKey = new Uint8Array(64);
  privateKey.set(secret);
  privateKey.set(publicKeyOfSeed(secret), 32);
  return new NodeSigner(privateKey);
}

/** `length` bytes that look random and repeat for the same `salt`. */
export function noise(length: number, salt = 0): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (Math.imul(salt, 0x9e3779b1) + 1) >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}
