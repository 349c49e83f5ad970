/** The differences of a DELTA op. Encoder side only. */

import { readI32 } from '../bytes.js';
import { ELEMENT_BYTES, ELEMENT_FLOAT32, ELEMENT_INT16, toOrdered16, toOrdered32 } from '../codec/elements.js';

/** Zigzagged target - source in byte planes: the inverse of core/codec/elements.ts' addDelta. */
export function takeDelta(type: number, source: Uint8Array, target: Uint8Array, planes: Uint8Array): void {
  const width = ELEMENT_BYTES[type]!;
  const count = target.length / width;
  if (width === 1) {
    for (let i = 0; i < count; i++) planes[i] = target[i]! - source[i]!;
    return;
  }
  for (let i = 0; i < count; i++) {
    const zigzag = width === 2 ? zigzag16(type, source, target, 2 * i) : zigzag32(type, source, target, 4 * i);
    for (let plane = 0; plane < width; plane++) planes[plane * count + i] = zigzag >>> (8 * (width - 1 - plane));
  }
}

function zigzag16(type: number, source: Uint8Array, target: Uint8Array, at: number): number {
  const old = source[at]! | (source[at + 1]! << 8);
  const now = target[at]! | (target[at + 1]! << 8);
  const raw = type !== ELEMENT_INT16 ? toOrdered16(now) - toOrdered16(old) : now - old;
  const difference = (raw << 16) >> 16;
  return ((difference << 1) ^ (difference >> 31)) & 0xffff;
}

function zigzag32(type: number, source: Uint8Array, target: Uint8Array, at: number): number {
  const old = readI32(source, at);
  const now = readI32(target, at);
  const difference = type === ELEMENT_FLOAT32 ? (toOrdered32(now) - toOrdered32(old)) | 0 : (now - old) | 0;
  return ((difference << 1) ^ (difference >> 31)) >>> 0;
}
