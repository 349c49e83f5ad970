/**
 * Blocks of ggml's types made of floats, for tests and measurements: scales by the range of each sub-block, without the searches
 * of ggml's own quantisers. No tests of its own.
 */

import { writeU16 } from '../bytes.js';
import { type BlockLayout, partCount, putNumber, putPart } from '../codec/block-layout.js';
import { CAST_LAYOUTS } from '../codec/cast.js';
import { floatToHalf, halfValue } from '../codec/half.js';

/** @param values whole blocks */
export function quantisedBlocks(type: number, values: Float32Array): Uint8Array {
  const layout = CAST_LAYOUTS[type]!;
  const { count } = layout.quants;
  const out = new Uint8Array((values.length / count) * layout.bytes);
  for (let block = 0; block * count < values.length; block++)
    quantise(
      layout,
      values.subarray(block * count, (block + 1) * count),
      out.subarray(block * layout.bytes, (block + 1) * layout.bytes),
    );
  return out;
}

function quantise(layout: BlockLayout, values: Float32Array, out: Uint8Array): void {
  const { quants, parts } = layout;
  const count = partCount(layout);
  const perPart = quants.count / count;
  const hasShift = layout.shift >= 0;
  const steps = (1 << quants.bits) - 1;
  const scales: number[] = [];
  const shifts: number[] = [];
  for (let part = 0; part < count; part++) {
    const run = values.subarray(part * perPart, (part + 1) * perPart);
    const [least, most] = [Math.min(...run), Math.max(...run)];
    // Sub-blocks are shifted down by a factor that is not negative.
    const shift = hasShift ? (parts === null ? least : Math.min(0, least)) : 0;
    shifts.push(shift);
    scales.push(hasShift ? (most - shift) / steps : Math.max(-least, most) / ((1 << (quants.bits - 1)) - 1));
  }
  const mostPart = parts === null ? 1 : (1 << parts.bits) - 1 - (parts.signed ? 128 : parts.zero);
  const half = (at: number, value: number): number => {
    writeU16(out, at, floatToHalf(new Int32Array(Float32Array.of(value).buffer)[0]!));
    return halfValue(out[at]! | (out[at + 1]! << 8));
  };
  const scale = half(layout.scale, Math.max(...scales) / mostPart);
  const shift = hasShift
    ? half(layout.shift, parts === null ? shifts[0]! : Math.max(...shifts.map((s) => -s)) / mostPart)
    : 0;
  for (let part = 0; part < count; part++) {
    let [own, offset] = [scale, shift];
    if (parts !== null) {
      const level = Math.min(mostPart, Math.round(scales[part]! / scale || 0));
      putPart(out, layout, 0, part, level + parts.zero);
      own = scale * level;
      if (hasShift) {
        const factor = Math.min(mostPart, Math.round(-shifts[part]! / shift || 0));
        putPart(out, layout, 1, part, factor);
        offset = -shift * factor;
      }
    }
    for (let i = part * perPart; i < (part + 1) * perPart; i++) {
      const level = Math.round((values[i]! - offset) / own || 0) + quants.zero;
      const lowest = quants.signed ? -(1 << (quants.bits - 1)) : 0;
      putNumber(out, quants, i, Math.max(lowest, Math.min(lowest + steps, level)));
    }
  }
}
