/**
 * rescaleInt8 (core/codec/rescale.ts) over whole pieces: the same bytes, several times as fast, since the ratios are read and their
 * places looked up once and not for each element. The encoder predicts every weight several times. Encoder side only.
 */

import { readI32 } from '../bytes.js';
import { FRACTIONS, flipOf, rescaleInt8, zeroPointOf } from '../codec/rescale.js';
import type { RunScales } from './cast-scales.js';
import { fillChannels } from './channel-runs.js';
import { Scratch } from './scratch.js';

/** Between these all products of two ratios are sound, and of those with a byte fit 31 bits. */
const LEAST_RATIO = 2 ** -10;
const MOST_RATIO = 2 ** 10;

/** Elements whose places are looked up at a time. */
const RUN = 1 << 16;

const rowOf = new Uint16Array(RUN);
const columnOf = new Uint16Array(RUN);
const ratioScratch = new Scratch((length) => new Float32Array(length));
const sinkScratch = new Scratch((length) => new Uint8Array(length));

/**
 * @param done elements of the op before these
 * @param fractions as rescaleInt8's; null where nobody asks
 */
export function rescaleBytes(
  scales: RunScales,
  source: Uint8Array,
  target: Uint8Array,
  done: number,
  fractions: Uint8Array | null,
): void {
  const ratios = floatsOf(scales.bytes);
  const first = scales.phase + done;
  if (!ratios.every((ratio) => ratio >= LEAST_RATIO && ratio <= MOST_RATIO)) {
    rescaleInt8(source, target, scales, scales.bytes, first, fractions ?? sinkScratch.take(target.length));
    return;
  }
  for (let at = 0; at < target.length; at += RUN) {
    const run = target.subarray(at, at + RUN);
    multiply(scales, ratios, source.subarray(at, at + RUN), run, first + at, fractions?.subarray(at, at + RUN) ?? null);
  }
}

/** Up to RUN elements, of which the first counts as `first`. */
function multiply(
  scales: RunScales,
  ratios: Float32Array,
  source: Uint8Array,
  target: Uint8Array,
  first: number,
  fractions: Uint8Array | null,
): void {
  const { scaleCount, crossCount, crossInner, zero, oldZero } = scales;
  const rows = rowOf.subarray(0, target.length);
  fillChannels({ ...scales, count: scaleCount }, first, rows);
  const columns = columnOf.subarray(0, target.length);
  fillChannels({ count: Math.max(1, crossCount), inner: crossInner, group: 1, outer: crossInner }, first, columns);
  const crossed = crossCount > 0 ? ratios.subarray(scaleCount) : ONE;
  const [flip, oldFlip] = [flipOf(zero), flipOf(oldZero)];
  const [zeroPoint, oldZeroPoint] = [zeroPointOf(zero), zeroPointOf(oldZero)];
  for (let i = 0; i < target.length; i++) {
    const ratio = Math.fround(ratios[rows[i]!]! * crossed[columns[i]!]!);
    const value = ((((source[i]! ^ oldFlip) << 24) >> 24) - oldZeroPoint) * ratio + 0.5;
    const rounded = Math.floor(value);
    if (fractions !== null) fractions[i] = (value - rounded) * FRACTIONS;
    const level = (rounded + zeroPoint) | 0;
    target[i] = (level < -128 ? -128 : level > 127 ? 127 : level) ^ flip;
  }
}

const ONE = Float32Array.of(1);

/** Little-endian on any machine; memory that is used again. */
function floatsOf(bytes: Uint8Array): Float32Array {
  const ratios = ratioScratch.take(bytes.length / 4);
  const bits = new Int32Array(ratios.buffer, 0, ratios.length);
  for (let i = 0; i < bits.length; i++) bits[i] = readI32(bytes, 4 * i);
  return ratios;
}
