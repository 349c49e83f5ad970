/** Cuts a tensor's quantisation scales down to those that a run of its elements needs, as a CAST op carries them. */

import { CAST_I8, CAST_I32 } from '../codec/cast.js';
import { NO_SCALES } from '../codec/cast-op.js';
import { type ChannelPlaces, UNSIGNED } from '../codec/rescale.js';
import type { Tensor } from '../formats/model.js';

/** Scales, or ratios, of a run, and which element takes which. */
export interface RunScales extends ChannelPlaces {
  /** Little-endian binary32. */
  readonly bytes: Uint8Array;
}

/** null where the cast needs no scales. `first` and `count` are elements of the tensor. */
export function castScales(target: Tensor, to: number, first: number, count: number): RunScales | null {
  if (to !== CAST_I8 && to !== CAST_I32) return null;
  const { scales, shape, scaleAxis } = target;
  const zero = to === CAST_I8 ? zeroOf(target) : 0;
  if (scales.length === 1) return listOf(scales, 1, 0, zero);
  let inner = 1;
  for (let axis = scaleAxis + 1; axis < shape.length; axis++) inner *= shape[axis]!;
  const from = Math.floor(first / inner);
  const to1 = Math.floor((first + count - 1) / inner) + 1;
  // Once round all channels: every scale is needed, and the place in the round is the phase.
  if (to1 - from >= scales.length || from % scales.length > (to1 - 1) % scales.length)
    return listOf(scales, inner, first % (inner * scales.length), zero);
  const start = from % scales.length;
  return listOf(scales.slice(start, start + to1 - from), inner, first - from * inner, zero);
}

function listOf(scales: readonly number[], inner: number, phase: number, zero: number): RunScales {
  return { ...NO_SCALES, bytes: floatBytes(scales), scaleCount: scales.length, inner, outer: inner, phase, zero };
}

/** The zero point of a tensor of i8 or u8, as a CAST tells it. */
export function zeroOf({ dtype, zeroPoint = 0 }: Tensor): number {
  return dtype === 'u8' ? UNSIGNED + ((zeroPoint - 128) & 0xff) : zeroPoint & 0xff;
}

/** Little-endian binary32. */
export function floatBytes(values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => {
    view.setFloat32(4 * i, value, true);
  });
  return bytes;
}
