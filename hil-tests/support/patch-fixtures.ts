/** Updates for the power-cut tests: one spelled out, of every op and segment kind, and one by the real encoder. */

import type { Update } from '../../core/apply/flash-rig.test.js';
import { copy, delta, literal, type Piece } from '../../core/diff/pieces.js';
import type { Profile } from '../../core/limits.js';
import {
  type BuiltPatch,
  buildPatch,
  describePatch,
  noise,
  type PlannedSegment,
  testSigner,
} from '../../core/patch/build-patch.test.js';
import { createCompressor } from '../../targets/node/zstd-compressor.js';
import { makePatch } from './make-patch.js';

const SIGNER = testSigner(7);

export interface HandMade {
  readonly profile: Profile;
  readonly segmentBytes: number;
  readonly frameBytes: number;
  /** Coded segments, behind a copy of `copySegments` segments' length. The last one is cut short. */
  readonly codedSegments: number;
  readonly copySegments: number;
  readonly kinds: readonly ('stored' | 'zstd' | 'neural')[];
  /** Of a neural patch; absent where the codec is zstd. */
  readonly decodeClass?: 0 | 1;
}

/** Signed. COPY, DELTA of every element type and LITERAL in each coded segment. */
export function handMadeUpdate({
  profile,
  segmentBytes,
  frameBytes,
  codedSegments,
  copySegments,
  kinds,
  decodeClass,
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
      delta(quarter, i * 16, i % 7),
      literal(quarter, i % 3),
      literal(rest),
    ];
    const kind = kinds[i % kinds.length]!;
    segments.push({ kind, pieces });
    at += length;
  }
  const codec = decodeClass === undefined ? {} : ({ codec: 'neural', decodeClass } as const);
  const header = { profile, segmentBytes, frameBytes, versionCounter: 3, minimumCounter: 2, ...codec };
  const built = buildPatch({ source, target, segments, signers: [SIGNER], header });
  return { ...built, source, target, trustedKeys: [SIGNER.publicKey] };
}

export interface Pair {
  readonly profile: Profile;
  /** null: stand-alone. */
  readonly source: Uint8Array | null;
  readonly target: Uint8Array;
  readonly neural?: boolean;
}

/** A model-like change as the encoder codes it: most bytes alike, a run inserted, a run new. */
export function encodedUpdate(profile: Profile, targetSize: number, neural = false): Update {
  const { source, target } = modelPair(targetSize);
  return { ...encodedPatch({ profile, source, target, neural }), source, target, trustedKeys: [SIGNER.publicKey] };
}

/** What the encoder makes of two files as plain bytes. Signed. */
export function encodedPatch({ profile, source, target, neural = false }: Pair): BuiltPatch {
  const options = { profile, level: 19, neural, compressor: createCompressor(), signer: SIGNER, versionCounter: 1 };
  return describePatch(makePatch(source, target, options));
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
