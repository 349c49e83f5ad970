/**
 * Signed in-place updates for tests: units that are kept, units of one copied run, and units of COPY, DELTA, CAST and LITERAL
 * in either codec, each of which reads the source up to the first byte that is still there.
 */
import type { Update } from '../../core/apply/flash-rig.test.js';
import { CAST_F16, CAST_F32 } from '../../core/codec/cast.js';
import { castPiece, copy, delta, literal, type Piece } from '../../core/diff/pieces.js';
import { buildPatch, noise, type PlannedSegment, testSigner } from '../../core/patch/build-patch.test.js';
import type { Codec } from './images.js';

export interface InPlaceShape {
  readonly profile: 'mcu' | 'gateway';
  readonly segmentBytes: number;
  readonly frameBytes: number;
  readonly unitBytes: number;
  /** At least 8: one is copied, one is kept, the last is cut short. */
  readonly units: number;
}

const SIGNER = testSigner(9);
const COPIED_UNIT = 2;
const KEPT_UNIT = 4;

/** `salt` gives other bytes of the same shape. */
export function buildInPlaceUpdate(shape: InPlaceShape, codec: Codec, salt = 0): Update {
  const { unitBytes, segmentBytes, units } = shape;
  const targetSize = units * unitBytes - 77;
  const source = noise(targetSize + 500, 1 + salt);
  const target = noise(targetSize, 2 + salt);
  const segments: PlannedSegment[] = [];
  for (let unit = 0; unit < units; unit++) {
    const start = unit * unitBytes;
    const end = Math.min(start + unitBytes, targetSize);
    if (unit === COPIED_UNIT || unit === KEPT_UNIT) {
      const from = unit === KEPT_UNIT ? start : start + unitBytes;
      target.set(source.subarray(from, from + unitBytes), start);
      segments.push({ kind: 'copy', length: unitBytes, source: from });
      continue;
    }
    for (let at = start; at < end; at += segmentBytes) {
      const length = Math.min(segmentBytes, end - at);
      const pieces = mixed(length, start, at, source.length);
      target.set(source.subarray(start, start + pieces[0]!.length), at);
      segments.push({ kind: segments.length % 3 === 2 ? 'stored' : codec, pieces });
    }
  }
  const coded = codec === 'neural' ? ({ codec, decodeClass: 0 } as const) : {};
  const { profile, frameBytes } = shape;
  const header = { profile, segmentBytes, frameBytes, unitBytes, versionCounter: 3, minimumCounter: 2, ...coded };
  const built = buildPatch({ source, target, segments, signers: [SIGNER], header });
  return { ...built, source, target, trustedKeys: [SIGNER.publicKey] };
}

/** The copy reads the first bytes of the unit that are still there, the others what lies further on. */
function mixed(length: number, unitStart: number, at: number, sourceSize: number): Piece[] {
  const fifth = (length >> 5) << 2;
  const ahead = (bytes: number): number => Math.min(at + 32, sourceSize - bytes);
  return [
    copy(fifth, unitStart),
    delta(fifth, ahead(fifth), (at >> 10) % 7),
    castPiece(fifth, ahead(2 * fifth), { from: CAST_F32, to: CAST_F16, scales: null }),
    literal(length - 3 * fifth),
  ];
}

/** A stand-alone in-place patch to the target of `update`: what brings a lost slot back. */
export function buildFullImage(update: Update, shape: InPlaceShape): Update {
  const { target } = update;
  const segments: PlannedSegment[] = [];
  for (let at = 0; at < target.length; at += shape.segmentBytes) {
    segments.push({ kind: 'stored', pieces: [literal(Math.min(shape.segmentBytes, target.length - at))] });
  }
  const { profile, segmentBytes, frameBytes, unitBytes } = shape;
  const header = { profile, segmentBytes, frameBytes, unitBytes, versionCounter: 3, minimumCounter: 2 };
  const built = buildPatch({ target, segments, signers: [SIGNER], header });
  return { ...built, source: new Uint8Array(0), target, trustedKeys: [SIGNER.publicKey] };
}
