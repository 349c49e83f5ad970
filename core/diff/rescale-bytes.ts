/** rescaleInt8 (core/codec/rescale.ts) over whole pieces. Encoder side only. */

import { findRatios, rescaleInt8 } from '../codec/rescale.js';
import type { RunScales } from './cast-scales.js';

/** Elements whose ratios are looked up at a time. */
const RUN = 1 << 14;
const ratios = new Float32Array(RUN);
const sink = new Uint8Array(RUN);

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
  for (let at = 0; at < target.length; at += RUN) {
    const run = target.subarray(at, at + RUN);
    const found = ratios.subarray(0, run.length);
    findRatios(scales, scales.bytes, scales.phase + done + at, found);
    rescaleInt8(source.subarray(at), run, found, scales, fractions?.subarray(at) ?? sink);
  }
}
