/** Weights for test models: seeded, spread like a trained layer's, in the element types that models come in. No tests of its own. */

import { CAST_BLOCKS, CAST_F32, castRun } from '../codec/cast.js';

/** About normal, sd 0.05, none of them 0. Little-endian, as everything in a model. */
export function weights(count: number, seed: number): Float32Array {
  let state = seed >>> 0 || 1;
  const uniform = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32 - 0.5;
  };
  return Float32Array.from({ length: count }, () => 0.0866 * (uniform() + uniform() + uniform() + uniform()));
}

/** Each weight moved a little, as a fine-tune does. */
export function tuned(original: Float32Array, seed: number, strength = 0.002): Float32Array {
  const step = weights(original.length, seed);
  return original.map((value, i) => value * (1 + strength * 20 * step[i]!));
}

export function bytesOf(values: Float32Array | Int8Array | Int32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** The weights in another of CAST's types. */
export function converted(values: Float32Array, to: number): Uint8Array {
  const { elements, bytes } = CAST_BLOCKS[to]!;
  const target = new Uint8Array((values.length / elements) * bytes);
  const runBytes = (32 / elements) * bytes;
  for (let run = 0; run * 32 < values.length; run++) {
    const source = bytesOf(values.subarray(32 * run, 32 * run + 32));
    castRun({ from: CAST_F32, to }, source, target.subarray(run * runBytes, (run + 1) * runBytes), null, 0);
  }
  return target;
}

/** As `converted`, and back: what a runtime sees of them. */
export function rounded(values: Float32Array, to: number): Float32Array {
  const blocks = converted(values, to);
  const back = new Float32Array(values.length);
  const { elements, bytes } = CAST_BLOCKS[to]!;
  const runBytes = (32 / elements) * bytes;
  for (let run = 0; run * 32 < values.length; run++) {
    const source = blocks.subarray(run * runBytes, (run + 1) * runBytes);
    const target = bytesOf(back.subarray(32 * run, 32 * run + 32));
    castRun({ from: to, to: CAST_F32 }, source, target, null, 0);
  }
  return back;
}

export interface Quantised {
  readonly values: Int8Array;
  readonly scales: number[];
}

/** As exporters do it, apart from CAST: symmetric int8, a scale for each channel of `shape[axis]`. */
export function quantised(values: Float32Array, shape: readonly number[], axis: number): Quantised {
  const inner = shape.slice(axis + 1).reduce((product, size) => product * size, 1);
  const channelOf = (element: number): number => Math.floor(element / inner) % shape[axis]!;
  const most = new Float64Array(shape[axis]!);
  values.forEach((value, i) => {
    most[channelOf(i)] = Math.max(most[channelOf(i)]!, Math.abs(value));
  });
  const scales = Array.from(most, (size) => Math.fround(size / 127));
  return { scales, values: Int8Array.from(values, (value, i) => Math.round(value / scales[channelOf(i)]!)) };
}
