/** The signed updates of the power-cut suite: a long COPY, then segments of COPY, DELTA, CAST and LITERAL in either codec. */
import type { Update } from '../../core/apply/flash-rig.test.js';
import { CAST_F16, CAST_F32 } from '../../core/codec/cast.js';
import { castPiece, copy, delta, literal, type Piece } from '../../core/diff/pieces.js';
import { buildPatch, noise, type PlannedSegment, testSigner } from '../../core/patch/build-patch.test.js';
import type { Geometry } from './geometries.js';

export type Codec = 'zstd' | 'neural';
export const CODECS: readonly Codec[] = ['zstd', 'neural'];

export type ImageShape = Pick<Geometry, 'profile' | 'segmentBytes' | 'frameBytes' | 'segments' | 'decodeClass'>;

const SIGNER = testSigner(9);
/** Length of the one COPY segment, in coded segments: long enough to be journaled inside. */
const COPIED_LENGTH = 3;

/** The last segment is cut short, so that the end of the target lies on no write unit. */
export function buildUpdate(geometry: ImageShape, codec: Codec): Update {
  const { profile, segmentBytes, frameBytes, segments: count } = geometry;
  const copied = COPIED_LENGTH * segmentBytes;
  const targetSize = copied + (count - 1) * segmentBytes - 77;
  const source = noise(targetSize + 1000, 1);
  const target = noise(targetSize, 2);
  target.set(source.subarray(500, 500 + copied), 0);
  const segments: PlannedSegment[] = [{ kind: 'copy', length: copied, source: 500 }];
  for (let at = copied; at < targetSize; at += segmentBytes) {
    const index = segments.length;
    const length = Math.min(segmentBytes, targetSize - at);
    const fifth = (length >> 5) << 2;
    target.set(source.subarray(at + 3, at + 3 + fifth), at);
    const pieces: Piece[] = [
      copy(fifth, at + 3),
      delta(fifth, index * 16, index % 7),
      castPiece(fifth, index * 32, { from: CAST_F32, to: CAST_F16, scales: null }),
      literal(length - 3 * fifth),
    ];
    segments.push({ kind: index % 3 === 2 ? 'stored' : codec, pieces });
  }
  const coded = codec === 'neural' ? ({ codec, decodeClass: geometry.decodeClass } as const) : {};
  if (segments.length !== count) throw new Error(`expected ${count} segments, got ${segments.length}`);
  const header = { profile, segmentBytes, frameBytes, versionCounter: 3, minimumCounter: 2, ...coded };
  const built = buildPatch({ source, target, segments, signers: [SIGNER], header });
  return { ...built, source, target, trustedKeys: [SIGNER.publicKey] };
}
