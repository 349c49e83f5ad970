/** Cuts a tensor's quantisation scales down to those that a run of its elements needs, as a CAST op carries them. */

import { CAST_I8, CAST_I32, type Scales } from '../codec/cast.js';
import type { Tensor } from '../formats/model.js';

/** The op's first element counts as element `phase` when a scale is looked up. */
export interface RunScales extends Scales {
  readonly phase: number;
}

/** null where the cast needs no scales. `first` and `count` are elements of the tensor. */
export function castScales(target: Tensor, to: number, first: number, count: number): RunScales | null {
  if (to !== CAST_I8 && to !== CAST_I32) return null;
  const { scales, shape, scaleAxis } = target;
  if (scales.length === 1) return { bytes: encode(scales), inner: 1, phase: 0 };
  let inner = 1;
  for (let axis = scaleAxis + 1; axis < shape.length; axis++) inner *= shape[axis]!;
  const from = Math.floor(first / inner);
  const to1 = Math.floor((first + count - 1) / inner) + 1;
  // Once round all channels: every scale is needed, and the place in the round is the phase.
  if (to1 - from >= scales.length || from % scales.length > (to1 - 1) % scales.length) {
    return { bytes: encode(scales), inner, phase: first % (inner * scales.length) };
  }
  const start = from % scales.length;
  return { bytes: encode(scales.slice(start, start + to1 - from)), inner, phase: first - from * inner };
}

function encode(scales: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * scales.length);
  const view = new DataView(bytes.buffer);
  scales.forEach((scale, i) => {
    view.setFloat32(4 * i, scale, true);
  });
  return bytes;
}
