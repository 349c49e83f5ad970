/** Updates for the power-cut tests: one spelled out, of every op and segment kind, and one by the real encoder. */

import type { Update } from '../../core/apply/flash-rig.test.js';
import { encodeBody, type Spool } from '../../core/diff/encode-body.js';
import { copy, delta, literal, type Piece } from '../../core/diff/pieces.js';
import { writePatch } from '../../core/diff/write-patch.js';
import { PROFILES, type Profile } from '../../core/limits.js';
import { MemorySource } from '../../core/memory-source.js';
import {
  type BuiltPatch,
  buildPatch,
  describePatch,
  noise,
  type PlannedSegment,
  sha256,
  testSigner,
} from '../../core/patch/build-patch.test.js';
import { NodeHasher } from '../../targets/node/hashing.js';
import { createCompressor } from '../../targets/node/zstd-compressor.js';

const SIGNER = testSigner(7);

export interface HandMade {
  readonly profile: Profile;
  readonly segmentBytes: number;
  readonly frameBytes: number;
  /** Coded segments, behind a copy of `copySegments` segments' length. The last one is cut short. */
  readonly codedSegments: number;
  readonly copySegments: number;
  readonly kinds: readonly ('stored' | 'zstd')[];
}

/** Signed. COPY, DELTA of every element type and LITERAL in each coded segment. */
export function handMadeUpdate({
  profile,
  segmentBytes,
  frameBytes,
  codedSegments,
  copySegments,
  kinds,
}: HandMade): Update {
  const copied = copySegments * segmentBytes;
  const targetSize = copied + codedSegments * segmentBytes - 77;
  const source = noise(targetSize + 1000, 1);
  const target = noise(targetSize, 2);
  const segments: PlannedSegment[] = [];
  let at = 0;
  if (copied > 0) {
    target.set(source.subarray(500, 500 + copied), 0);
    segments.push({ kind: 'copy', length: copied, source: 500 });
    at = copied;
  }
  for (let i = 0; i < codedSegments; i++) {
    const length = Math.min(segmentBytes, targetSize - at);
    const quarter = (length >> 4) << 2;
    target.set(source.subarray(at + 3, at + 3 + quarter), at);
    const rest = length - 3 * quarter;
    const pieces: Piece[] = [
      copy(quarter, at + 3),
      delta(quarter, i * 16, i % 5),
      literal(quarter, i % 3),
      literal(rest),
    ];
    const kind = kinds[i % kinds.length]!;
    segments.push({ kind, pieces });
    at += length;
  }
  const header = { profile, segmentBytes, frameBytes, versionCounter: 3, minimumCounter: 2 };
  const built = buildPatch({ source, target, segments, signers: [SIGNER], header });
  return { ...built, source, target, trustedKeys: [SIGNER.publicKey] };
}

class BufferSpool implements Spool {
  private bytes = new Uint8Array(0);

  get size(): number {
    return this.bytes.length;
  }

  append(more: Uint8Array): void {
    this.bytes = new Uint8Array([...this.bytes, ...more]);
  }

  read(offset: number, into: Uint8Array): void {
    into.set(this.bytes.subarray(offset, offset + into.length));
  }
}

export interface Pair {
  readonly profile: Profile;
  /** null: stand-alone. */
  readonly source: Uint8Array | null;
  readonly target: Uint8Array;
}

/** A model-like change as the encoder codes it: most bytes alike, a run inserted, a run new. */
export async function encodedUpdate(profile: Profile, targetSize: number): Promise<Update> {
  const { source, target } = modelPair(targetSize);
  return { ...(await encodedPatch({ profile, source, target })), source, target, trustedKeys: [SIGNER.publicKey] };
}

/** What the encoder makes of two files as plain bytes. Signed. */
export async function encodedPatch({ profile, source, target }: Pair): Promise<BuiltPatch> {
  const spool = new BufferSpool();
  const body = encodeBody({
    source: source === null ? null : new MemorySource(source),
    target: new MemorySource(target),
    targetLayout: { format: 'Binary', tensors: [], warning: null },
    bases: [],
    profile,
    level: 19,
    compressor: await createCompressor(),
    spool,
  });
  const parts: Uint8Array[] = [];
  writePatch({
    header: {
      ...body,
      format: 'Binary',
      codec: 'zstd',
      level: 19,
      profile,
      standalone: source === null,
      frameBytes: PROFILES[profile].frameBytes,
      segmentBytes: PROFILES[profile].segmentBytes,
      contextBytes: 0,
      sourceSize: source?.length ?? 0,
      targetSize: target.length,
      sourceHash: source === null ? new Uint8Array(32) : sha256(source),
      targetHash: sha256(target),
      versionCounter: 1,
      minimumCounter: 0,
      createdAt: null,
      family: '',
      deviceClass: '',
      priors: new Uint8Array(0),
    },
    spool,
    signer: SIGNER,
    hasher: new NodeHasher(),
    write: (bytes) => parts.push(bytes.slice()),
  });
  return describePatch(new Uint8Array(Buffer.concat(parts)));
}

function modelPair(targetSize: number): { source: Uint8Array; target: Uint8Array } {
  const source = noise(targetSize, 11).map((byte) => (byte >> 4) * (byte & 3));
  const inserted = noise(300, 12);
  const middle = targetSize >> 1;
  const target = new Uint8Array([...source.subarray(0, middle), ...inserted, ...source.subarray(middle)]).subarray(
    0,
    targetSize,
  );
  // A fine-tune in the first quarter, something new in the last.
  for (let at = 0; at < targetSize >> 2; at += 5) target[at] = target[at]! + (at % 3) - 1;
  target.set(noise(targetSize >> 4, 13), targetSize - (targetSize >> 3));
  return { source, target };
}
