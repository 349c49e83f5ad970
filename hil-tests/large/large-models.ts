/** Models too large for memory, made in seconds from a seed: GGUF, because it is the format such models come in. */

import { createCipheriv, createHash } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { buildGguf, TYPE } from '../../core/formats/build-gguf.test.js';

export interface LargeModel {
  readonly tensorCount: number;
  /** Bytes of each tensor; a multiple of 2048. */
  readonly tensorBytes: number;
  /** Tensors that hold weights; all others are holes of the file, which read as zeros and take no room on the disk. */
  readonly filled: (tensor: number) => boolean;
}

/** What becomes of a tensor in the new version: 'touched' moves one weight in 200, 'tuned' nearly all. */
export type Change = 'kept' | 'touched' | 'tuned' | 'replaced';

const ROW_BYTES = 2048;
const NOISE_KEY = Buffer.alloc(16, 'mallorn large 01');

export function sizeOf(model: LargeModel): number {
  return headerOf(model).size;
}

/** Writes the file; as `next` has it, where that is given. */
export function writeModel(path: string, model: LargeModel, next: (tensor: number) => Change = () => 'kept'): void {
  const { bytes, dataStart, size } = headerOf(model);
  const fd = openSync(path, 'w');
  try {
    writeSync(fd, bytes, 0, bytes.length, 0);
    ftruncateSync(fd, size);
    for (let tensor = 0; tensor < model.tensorCount; tensor++) {
      const change = next(tensor);
      if (!model.filled(tensor) && change === 'kept') continue;
      const data = change === 'replaced' ? weights(tensor + 1_000_000, model) : weights(tensor, model);
      if (change === 'tuned') tune(data, tensor);
      if (change === 'touched') touch(data, tensor);
      writeSync(fd, data, 0, data.length, dataStart + tensor * model.tensorBytes);
    }
  } finally {
    closeSync(fd);
  }
}

/** As hex. */
export function hashFile(path: string): string {
  const hash = createHash('sha256');
  const chunk = Buffer.alloc(1 << 20);
  const fd = openSync(path, 'r');
  try {
    for (let read = readSync(fd, chunk); read > 0; read = readSync(fd, chunk)) hash.update(chunk.subarray(0, read));
  } finally {
    closeSync(fd);
  }
  return hash.digest('hex');
}

function headerOf({ tensorCount, tensorBytes }: LargeModel): ReturnType<typeof buildGguf> {
  const shape = [ROW_BYTES / 2, tensorBytes / ROW_BYTES];
  const names = Array.from({ length: tensorCount }, (_, i) => `blk.${i}.ffn_up.weight`);
  const tensors = names.map((name) => ({ name, type: TYPE.f16, shape, bytes: tensorBytes }));
  return buildGguf({ tensors, withoutData: true });
}

/** fp16 of four exponents, so that, as in a trained layer, three of sixteen bits say nothing. */
function weights(seed: number, { tensorBytes }: LargeModel): Uint8Array {
  return masked(noise(seed, tensorBytes), 0x8fff8fff, 0x20002000);
}

/** Moves weights by up to eight steps of their last place. */
function tune(data: Uint8Array, seed: number): void {
  const step = words(masked(noise(seed + 2_000_000, data.length), 0x00070007, 0));
  const values = words(data);
  for (let i = 0; i < values.length; i++) values[i] = values[i]! ^ step[i]!;
}

/** Moves one weight in 200 by one step of its last place. */
function touch(data: Uint8Array, seed: number): void {
  const weights = new Uint16Array(data.buffer, data.byteOffset, data.length / 2);
  const steps = words(noise(seed + 3_000_000, Math.floor(weights.length / 200) * 4));
  for (const step of steps) weights[step % weights.length]! ^= 1;
}

/** AES-128 in counter mode: seeded, and gigabytes a second. */
function noise(seed: number, length: number): Uint8Array {
  const counter = Buffer.alloc(16);
  counter.writeUInt32BE(seed);
  return createCipheriv('aes-128-ctr', NOISE_KEY, counter).update(Buffer.alloc(length));
}

function masked(bytes: Uint8Array, keep: number, set: number): Uint8Array {
  const values = words(bytes);
  for (let i = 0; i < values.length; i++) values[i] = (values[i]! & keep) | set;
  return bytes;
}

function words(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}
