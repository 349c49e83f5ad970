/** Two versions of one SafeTensors model between which an update copies, fine-tunes and replaces, in many segments. */
import { Prng } from '../../targets/sim/prng.js';

const COPIED_BYTES = 160_000;
const TUNED_FLOATS = 60_000;
const FRESH_BYTES = 260_000;

/** `version` 0 or 1. */
export function modelVersion(version: number): Uint8Array {
  const tensors: readonly [name: string, dtype: string, shape: number[], data: Uint8Array][] = [
    ['copied', 'U8', [COPIED_BYTES], randomBytes(COPIED_BYTES, 1)],
    ['tuned', 'F32', [TUNED_FLOATS], tunedFloats(version)],
    ['fresh', 'U8', [FRESH_BYTES], randomBytes(FRESH_BYTES, 10 + version)],
  ];
  let end = 0;
  const entries = tensors.map(([name, dtype, shape, data]) => {
    end += data.length;
    return [name, { dtype, shape, data_offsets: [end - data.length, end] }];
  });
  const header = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
  return new Uint8Array(Buffer.concat([length, header, ...tensors.map(([, , , data]) => data)]));
}

function randomBytes(length: number, seed: number): Uint8Array {
  const random = new Prng(seed);
  return Uint8Array.from({ length }, () => random.byte());
}

/** Version 1 moved every weight of version 0 a little, as training goes on to do. */
function tunedFloats(version: number): Uint8Array {
  const random = new Prng(2);
  const floats = Float32Array.from({ length: TUNED_FLOATS }, () => {
    const weight = random.below(1 << 20) / (1 << 20) - 0.5;
    return weight + (version * (random.below(1 << 10) - 512)) / (1 << 18);
  });
  return new Uint8Array(floats.buffer);
}
