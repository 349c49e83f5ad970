/**
 * Segments and ops (SPEC.md, "Segments"): the unit of decoding and restart. This file knows their encoding, both ways round;
 * what the ops do to bytes is core/codec.
 */

import { MAX_VARINT_BYTES, VarintReader } from '../bytes.js';
import { InvalidPatch } from '../errors.js';
import type { PatchHeader } from './header.js';
import { isKeptRun, isUnitEnd, unitStart } from './unit.js';

/** A run of source bytes; may be longer than a segment and can be restarted anywhere. */
export const SEGMENT_COPY = 0;
/** Ops and data as they are. */
export const SEGMENT_STORED = 1;
/** Ops and data behind zstd. */
export const SEGMENT_ZSTD = 2;
/** Ops and elements in one range-coded payload. */
export const SEGMENT_NEURAL = 3;

export const OP_COPY = 0;
export const OP_DELTA = 1;
export const OP_LITERAL = 2;
/** Source elements written in another element type, plus a residual (core/codec/cast.ts). */
export const OP_CAST = 3;

/** Bits 0-1 of a segment's first byte are its kind. The others leave out what most segments would repeat. */
const KIND_MASK = 3;
/** The segment ends where the grid's next line, or the target, does: no length follows. */
export const FLAG_TO_GRID = 4;
/** zstd and neural: a dictionary is used. */
export const FLAG_DICTIONARY = 8;
/** With FLAG_DICTIONARY: it is the whole source, no range follows. */
export const FLAG_WHOLE_SOURCE = 16;

/** First byte and five varints. */
export const MAX_SEGMENT_HEADER_BYTES = 1 + 5 * MAX_VARINT_BYTES;

/** One decoded segment header; reused from segment to segment. */
export interface SegmentHeader {
  kind: number;
  targetBytes: number;
  /** COPY: where the run starts in the source. */
  sourceOffset: number;
  plainBytes: number;
  packedBytes: number;
  dictionaryBytes: number;
  dictionaryOffset: number;
}

export function emptySegmentHeader(): SegmentHeader {
  return {
    kind: 0,
    targetBytes: 0,
    sourceOffset: 0,
    plainBytes: 0,
    packedBytes: 0,
    dictionaryBytes: 0,
    dictionaryOffset: 0,
  };
}

const reader = new VarintReader();

/**
 * Decodes a segment header from the first `length` bytes of `bytes` into `out`.
 * @param targetOffset where in the target the segment starts
 * @returns bytes used, or 0 while more are needed
 * @throws InvalidPatch BAD_SEGMENT when a length is over what the header declared or an offset outside the source
 */
export function readSegmentHeader(
  bytes: Uint8Array,
  length: number,
  targetOffset: number,
  patch: PatchHeader,
  out: SegmentHeader,
): number {
  reader.reset(bytes, 0, length);
  const first = reader.byte();
  out.kind = first & KIND_MASK;
  out.targetBytes = first & FLAG_TO_GRID ? bytesToGrid(targetOffset, patch) : reader.unsigned();
  out.sourceOffset = 0;
  out.plainBytes = 0;
  out.packedBytes = 0;
  out.dictionaryBytes = 0;
  out.dictionaryOffset = 0;
  if (out.kind === SEGMENT_COPY) out.sourceOffset = targetOffset + reader.signed();
  else if (out.kind !== SEGMENT_NEURAL) out.plainBytes = out.targetBytes + reader.signed();
  if (out.kind >= SEGMENT_ZSTD) {
    out.packedBytes = reader.unsigned();
    if (first & FLAG_WHOLE_SOURCE) out.dictionaryBytes = patch.sourceSize;
    else if (first & FLAG_DICTIONARY) {
      out.dictionaryBytes = reader.unsigned();
      out.dictionaryOffset = targetOffset + reader.signed();
    }
  }
  if (reader.failed) throw bad(targetOffset, 'a varint in its shortest form', 'a malformed one');
  if (reader.short) return 0;
  checkFlags(first, targetOffset);
  checkSegment(out, targetOffset, patch);
  return reader.position;
}

/** From `targetOffset` to the next multiple of the segment size, or to the target's end. */
export function bytesToGrid(
  targetOffset: number,
  { segmentBytes, targetSize }: Pick<PatchHeader, 'segmentBytes' | 'targetSize'>,
): number {
  return Math.min(segmentBytes - (targetOffset % segmentBytes), targetSize - targetOffset);
}

function checkFlags(first: number, targetOffset: number): void {
  const dictionary = first & (FLAG_DICTIONARY | FLAG_WHOLE_SOURCE);
  const allowed = (first & KIND_MASK) >= SEGMENT_ZSTD ? dictionary !== FLAG_WHOLE_SOURCE : dictionary === 0;
  if (!allowed || first >= 32) throw bad(targetOffset, 'known segment flags', first);
}

function checkSegment(segment: SegmentHeader, targetOffset: number, patch: PatchHeader): void {
  const left = patch.targetSize - targetOffset;
  if (segment.kind === SEGMENT_NEURAL && patch.codec !== 'neural')
    throw bad(targetOffset, 'no neural segment in a zstd patch', 'one');
  // Its devices have no zstd, and must not find out when the old model is erased already.
  if (segment.kind === SEGMENT_ZSTD && patch.codec === 'neural' && patch.decodeClass === 0)
    throw bad(targetOffset, 'no zstd segment in decode class 0', 'one');
  if (segment.targetBytes < 1 || segment.targetBytes > left)
    throw bad(targetOffset, `1 to ${left} target bytes`, segment.targetBytes);
  checkUnit(segment, targetOffset, patch);
  if (segment.kind === SEGMENT_COPY) {
    checkRange('copied run', segment.sourceOffset, segment.targetBytes, targetOffset, patch);
    return;
  }
  if (segment.targetBytes > patch.segmentBytes) {
    throw bad(targetOffset, `at most ${patch.segmentBytes} target bytes in a coded segment`, segment.targetBytes);
  }
  const isNeural = segment.kind === SEGMENT_NEURAL;
  // What a neural segment makes is kept whole for the byte model, where there is one.
  const held = !isNeural ? segment.plainBytes : patch.decodeClass > 0 ? segment.targetBytes : 0;
  if (held > patch.plainBytes || (held < 1 && !isNeural))
    throw bad(targetOffset, `plain size of 1 to ${patch.plainBytes}`, held);
  const least = segment.kind >= SEGMENT_ZSTD ? 1 : 0;
  if (segment.packedBytes < least || segment.packedBytes > patch.packedBytes) {
    throw bad(targetOffset, `packed size ${least} to ${patch.packedBytes}`, segment.packedBytes);
  }
  if (segment.dictionaryBytes > patch.dictionaryBytes) {
    throw bad(targetOffset, `dictionary up to ${patch.dictionaryBytes}`, segment.dictionaryBytes);
  }
  if (isNeural && segment.dictionaryBytes > mostDictionaryBytes(segment.targetBytes)) {
    const most = mostDictionaryBytes(segment.targetBytes);
    throw bad(targetOffset, `dictionary of a neural segment up to ${most}`, segment.dictionaryBytes);
  }
  checkRange('dictionary', segment.dictionaryOffset, segment.dictionaryBytes, targetOffset, patch);
}

/** Of a neural segment: looking through 4 MiB takes a quarter of a second, which a segment of a few bytes must not cost. */
export function mostDictionaryBytes(targetBytes: number): number {
  return 65536 + 64 * targetBytes;
}

function checkRange(what: string, start: number, length: number, targetOffset: number, patch: PatchHeader): void {
  if (start < 0 || length > patch.sourceSize - start) {
    throw bad(targetOffset, `${what} inside the source's ${patch.sourceSize} bytes`, `${start}+${length}`);
  }
  const first = unitStart(targetOffset, patch.unitBytes);
  if (length > 0 && start < first) throw bad(targetOffset, `${what} behind what is written over, ${first}`, start);
}

/** Whether the segment is units of an in-place patch that stay as they are. */
export function isKept(
  { kind, sourceOffset, targetBytes }: SegmentHeader,
  targetOffset: number,
  patch: PatchHeader,
): boolean {
  return kind === SEGMENT_COPY && isKeptRun(targetOffset, sourceOffset, targetBytes, patch);
}

/** Whether the hash of a unit lies behind the segment. */
export function isHashBehind(segment: SegmentHeader, targetOffset: number, patch: PatchHeader): boolean {
  return isUnitEnd(targetOffset + segment.targetBytes, patch) && !isKept(segment, targetOffset, patch);
}

/** A unit must be checked whole before any of it is written, so that no segment reaches into the next. */
function checkUnit(segment: SegmentHeader, targetOffset: number, patch: PatchHeader): void {
  if (patch.unitBytes === 0) return;
  const { targetBytes } = segment;
  if (isKept(segment, targetOffset, patch)) return;
  const left = unitStart(targetOffset, patch.unitBytes) + patch.unitBytes - targetOffset;
  if (targetBytes > left) throw bad(targetOffset, `at most the ${left} bytes left of the unit`, targetBytes);
}

function bad(targetOffset: number, expected: string, got: string | number): InvalidPatch {
  return new InvalidPatch('BAD_SEGMENT', `segment at target byte ${targetOffset}: expected ${expected}, got ${got}`);
}
