/**
 * What a tensor's slices along one axis (rows, channels) look like, a few values of each: enough to tell which slice of an old
 * tensor a slice of a new one comes from. Encoder side only.
 */

import { readU16 } from '../bytes.js';
import { type BlockLayout, getNumber, getPart, partCount } from '../codec/block-layout.js';
import { CAST_LAYOUTS } from '../codec/cast.js';
import { halfValue } from '../codec/half.js';
import { elementBytes, elementReader } from '../formats/dtype.js';
import type { Tensor } from '../formats/model.js';
import type { ByteSource } from '../ports.js';
import { rescaleType } from './match-casts.js';

/** Values of a slice that are looked at. */
export const SLICE_VALUES = 32;
/** Values that one read gives. */
const RUN_VALUES = 8;

/** How a tensor's slices along an axis lie: `outer` times `count` of them, each in runs of `units` units of `unitBytes`. */
export interface Slices {
  readonly outer: number;
  readonly count: number;
  readonly units: number;
  /** Bytes of an element, or of a block. */
  readonly unitBytes: number;
}

/** [count, SLICE_VALUES]: values at places that depend on the run's length and `outer` alone. NaN and infinities are 0. */
export function sampleSlices(tensor: Tensor, slices: Slices, source: ByteSource): Float32Array {
  const { outer, count, units, unitBytes } = slices;
  const layout = layoutOf(tensor);
  const read = elementReader(tensor.dtype);
  const perRead = layout === null ? Math.min(RUN_VALUES, units) : 1;
  const valuesPerRead = layout === null ? perRead : RUN_VALUES;
  const reads = Math.floor(SLICE_VALUES / valuesPerRead);
  const bytes = new Uint8Array(perRead * unitBytes);
  const values = new Float32Array(count * SLICE_VALUES);
  for (let slice = 0; slice < count; slice++) {
    for (let i = 0; i < reads; i++) {
      // Spread over the runs of a slice and over the units in each.
      const run = Math.floor((i * outer) / reads);
      const unit = Math.floor((i * (units - perRead)) / reads);
      source.read(tensor.offset + ((run * count + slice) * units + unit) * unitBytes, bytes);
      const at = slice * SLICE_VALUES + i * valuesPerRead;
      for (let k = 0; k < valuesPerRead; k++) {
        const value = layout === null ? read(bytes, k * unitBytes) : blockValue(layout, bytes, i * valuesPerRead + k);
        values[at + k] = Math.abs(value) < 3e38 ? value : 0;
      }
    }
  }
  return values;
}

/** Elements that a unit holds, and its bytes. */
export function unitOf(tensor: Tensor): { readonly elements: number; readonly bytes: number } {
  const layout = layoutOf(tensor);
  if (layout === null) return { elements: tensor.dtype === 'i4' ? 2 : 1, bytes: elementBytes(tensor.dtype) };
  return { elements: layout.quants.count, bytes: layout.bytes };
}

function layoutOf(tensor: Tensor): BlockLayout | null {
  const type = tensor.dtype === 'i4' ? null : rescaleType(tensor);
  return type === null ? null : CAST_LAYOUTS[type]!;
}

/** What the `index`th of SLICE_VALUES quants of a block stands for, spread over the block. */
function blockValue(layout: BlockLayout, block: Uint8Array, index: number): number {
  const { quants, parts } = layout;
  const place = Math.floor((index * quants.count) / SLICE_VALUES);
  const part = Math.floor((place * partCount(layout)) / quants.count);
  let scale = halfValue(readU16(block, layout.scale));
  let shift = layout.shift < 0 ? 0 : layout.shiftSign * halfValue(readU16(block, layout.shift));
  if (parts !== null) {
    scale *= getPart(block, layout, 0, part) - parts.zero;
    if (layout.shift >= 0) shift *= getPart(block, layout, 1, part);
  }
  return scale * (getNumber(block, quants, place) - quants.zero) + shift;
}
