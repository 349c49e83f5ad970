/** Whole patches, through the applier: header, frames, segment headers, ops and their data; and headers alone, in great number. */

import assert from 'node:assert/strict';
import { Applier } from '../../core/apply/applier.js';
import { DigestTarget } from '../../core/apply/digest-target.js';
import { readU32, writeU64 } from '../../core/bytes.js';
import { copy, delta, literal } from '../../core/diff/pieces.js';
import { MallornError, TargetHashMismatch } from '../../core/errors.js';
import { MAX_FRAME_BYTES, MIN_FRAME_BYTES } from '../../core/limits.js';
import { buildPatch, noise, type PatchPlan, testSigner } from '../../core/patch/build-patch.test.js';
import { FrameGeometry, HASH_BYTES } from '../../core/patch/frames.js';
import { checkHeaderDigest, declaredBufferBytes, measurePreamble, parseHeader } from '../../core/patch/header.js';
import { parseSignatures } from '../../core/patch/signatures.js';
import { NodeHasher, NodeSignatureVerifier } from '../../targets/node/hashing.js';
import { createDecompressor } from '../../targets/node/zstd-decompressor.js';
import { type FuzzTarget, Hang, type Outcome } from './target.js';

const MOST_BUFFER_BYTES = 256 << 10;
const MOST_TARGET_BYTES = 64 << 10;
const DIGEST = new Uint8Array(32);
const HASHER = new NodeHasher();
const SOURCE = noise(1500, 1);

/** Refusals are typed; anything else that is thrown is a bug. */
function outcomeOf(work: () => void): Outcome {
  try {
    work();
    return 'taken';
  } catch (error) {
    if (error instanceof MallornError) return 'refused';
    throw error;
  }
}

function samples(): Uint8Array[] {
  const target = noise(2500, 2);
  target.set(SOURCE.subarray(100, 1124), 0);
  target.set(SOURCE.subarray(30, 230), 2048);
  const mixed = (at: number) => [literal(100), delta(500, at, 4), literal(24, 2), delta(400, 100, at % 4)];
  const end = [copy(200, 30), literal(100, 1), delta(152, 8, 3)];
  const plan = (changes: Partial<PatchPlan>): PatchPlan => ({
    source: SOURCE,
    target,
    segments: [],
    ...changes,
    header: { frameBytes: 150, segmentBytes: 1024, ...changes.header },
  });
  const copied = { kind: 'copy', length: 1024, source: 100 } as const;
  const dictionary = { offset: 77, length: 600 };
  const neural = { codec: 'neural', decodeClass: 0 } as const;
  const named = { family: 'pose', deviceClass: 'm4', versionCounter: 3, createdAt: 1_700_000_000 };
  const segments = (kind: 'stored' | 'zstd' | 'neural') => [copied, { kind, pieces: mixed(8) }, { kind, pieces: end }];
  return [
    plan({ segments: segments('stored'), signers: [testSigner(1)], header: named }),
    plan({ segments: [copied, { kind: 'zstd', pieces: mixed(7), dictionary }, { kind: 'zstd', pieces: end }] }),
    plan({ segments: segments('neural'), header: neural }),
    plan({
      // In place: what lies before a unit is written over by then.
      segments: [
        copied,
        { kind: 'zstd', pieces: [literal(100), delta(300, 1100, 4), literal(624, 2)] },
        { kind: 'stored', pieces: [literal(452)] },
      ],
      header: { unitBytes: 1024 },
    }),
    plan({ target: noise(700, 3), segments: [{ kind: 'stored', pieces: [literal(700)] }] }),
  ].map((one) => buildPatch(one).bytes);
}

export class PatchTarget implements FuzzTarget {
  readonly name = 'patch';
  readonly share = 20;
  private readonly arena = new Uint8Array(MOST_BUFFER_BYTES);
  private readonly decompressor = createDecompressor();
  private readonly verifier = new NodeSignatureVerifier();
  private readonly hashers = [new NodeHasher(), new NodeHasher()] as const;

  seeds(): Uint8Array[] {
    return samples();
  }

  /** A sound frame chain and header digest around whatever the mutation made of the rest. */
  repair(bytes: Uint8Array): Uint8Array | null {
    const measured = measuredOrNull(bytes);
    return measured === null ? null : rechained(bytes.slice(), measured.headerBytes, measured.preambleBytes);
  }

  /** One that decodes to its end, if to other bytes than it promised, was taken. */
  run(bytes: Uint8Array, budget: number): Outcome {
    return outcomeOf(() => {
      try {
        this.apply(bytes, budget);
      } catch (error) {
        if (!(error instanceof TargetHashMismatch)) throw error;
      }
    });
  }

  private apply(bytes: Uint8Array, budget: number): void {
    const sink = new DigestTarget(this.hashers[0]);
    const applier = new Applier({
      source: {
        size: SOURCE.length,
        read: (offset, into) => {
          const isInside = Number.isInteger(offset) && offset >= 0 && offset + into.length <= SOURCE.length;
          assert.ok(isInside, `read of ${into.length} bytes at ${offset}`);
          into.set(SOURCE.subarray(offset, offset + into.length));
        },
      },
      target: () => sink,
      hasher: HASHER,
      verifier: this.verifier,
      decompressor: this.decompressor,
      trustedKeys: [],
      policy: {
        maxBufferBytes: MOST_BUFFER_BYTES,
        maxTargetBytes: MOST_TARGET_BYTES,
        family: null,
        deviceClass: null,
        counterFloor: 0,
      },
      memory: (byteLength) => {
        assert.ok(byteLength <= MOST_BUFFER_BYTES, `asks for ${byteLength} bytes`);
        return this.arena.subarray(0, byteLength);
      },
      sourceVerified: true,
      unitHasher: this.hashers[1],
    });
    let rest = bytes;
    for (let steps = 1; ; steps++) {
      if (steps > budget) throw new Hang(`${steps} pushes`);
      const { kind, consumed } = applier.push(rest);
      rest = rest.subarray(consumed);
      assert.ok(sink.written <= MOST_TARGET_BYTES, `wrote ${sink.written} bytes`);
      assert.notEqual(kind, 'seek', 'no journal and no retries');
      if (kind === 'busy') continue;
      applier.end();
      return;
    }
  }
}

export class HeaderTarget implements FuzzTarget {
  readonly name = 'header';
  readonly share = 15;

  seeds(): Uint8Array[] {
    return samples().map((bytes) => bytes.slice(0, measuredOrNull(bytes)?.preambleBytes));
  }

  repair(bytes: Uint8Array): Uint8Array | null {
    const measured = measuredOrNull(bytes);
    return measured === null ? null : redigested(bytes.slice(), measured.headerBytes);
  }

  run(bytes: Uint8Array): Outcome {
    let isWhole = true;
    const outcome = outcomeOf(() => {
      const size = measurePreamble(bytes, bytes.length);
      isWhole = size !== null && size.preambleBytes <= bytes.length;
      if (size === null || !isWhole) return;
      const header = bytes.subarray(0, size.headerBytes);
      checkHeaderDigest(header, HASHER);
      const blocks = parseSignatures(bytes.subarray(size.headerBytes + 1, size.preambleBytes), size.signatureCount);
      for (const { keyId, signature } of blocks) assert.equal(keyId.length + signature.length, 72);
      const parsed = parseHeader(header);
      assert.ok(Number.isSafeInteger(declaredBufferBytes(parsed)));
      const geometry = new FrameGeometry(parsed.frameBytes, parsed.bodyBytes);
      assert.ok(Number.isSafeInteger(geometry.wireBytes) && Number.isSafeInteger(geometry.count));
    });
    return isWhole ? outcome : 'refused';
  }
}

function measuredOrNull(bytes: Uint8Array): { headerBytes: number; preambleBytes: number } | null {
  try {
    const size = measurePreamble(bytes, bytes.length);
    return size !== null && size.preambleBytes <= bytes.length ? size : null;
  } catch {
    return null;
  }
}

/** From the last frame to the first, as the encoder does it; the header is told how long the body is. */
function rechained(bytes: Uint8Array, headerBytes: number, preambleBytes: number): Uint8Array {
  const frameBytes = readU32(bytes, 16);
  const wireBytes = bytes.length - preambleBytes;
  if (frameBytes < MIN_FRAME_BYTES || frameBytes > MAX_FRAME_BYTES) return redigested(bytes, headerBytes);
  const count = Math.ceil(wireBytes / frameBytes);
  let hash = new Uint8Array(HASH_BYTES);
  for (let i = count - 1; i >= 0; i--) {
    const start = preambleBytes + i * frameBytes;
    const frame = bytes.subarray(start, Math.min(start + frameBytes, bytes.length));
    if (i < count - 1) frame.set(hash);
    hash = sha256Start(frame);
  }
  writeU64(bytes, 56, Math.max(0, wireBytes - Math.max(0, count - 1) * HASH_BYTES));
  bytes.set(hash, 152);
  return redigested(bytes, headerBytes);
}

function redigested(bytes: Uint8Array, headerBytes: number): Uint8Array {
  const end = headerBytes - HASH_BYTES;
  if (end >= 0) bytes.set(sha256Start(bytes.subarray(0, end)), end);
  return bytes;
}

function sha256Start(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  HASHER.reset();
  HASHER.update(bytes);
  HASHER.digest(DIGEST);
  return DIGEST.slice(0, HASH_BYTES);
}
