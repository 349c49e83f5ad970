/**
 * Differences between bytes in class 0, the commonest there are, as the decoder takes them: ElementModels.plainByteDelta over and over,
 * with the range decoder's bit written out. QuickJS is bound by the number of bytecodes and calls, and this is twice as fast there.
 * A test compares the two on random data.
 */

import { ACTIVITIES, type ContextLayout, UNARY } from './context-layout.js';
import { grown } from './context-state.js';
import { type SingleRateDecoder, TOP } from './range-decoder.js';

/** What the model remembers of the differences before. */
export class ByteDeltaMemory {
  /** Running mean of |difference|, in 1/64. */
  size = 0;
  /** The last |difference|, and the one before it. */
  last = 0;
  before = 0;
  /** 0 before any, then 1 + the last sign. */
  sign = 0;

  /** A segment begins. */
  begin(): void {
    this.size = 16;
    this.last = 0;
    this.before = 0;
    this.sign = 0;
  }
}

/** The bucket of a running mean. */
export function activityOf(size: number): number {
  const fine = 32 - Math.clz32(size) + (size > 96 ? 4 : size > 48 ? 2 : 0);
  return fine < 2 * ACTIVITIES ? fine >> 1 : ACTIVITIES - 1;
}

/**
 * Makes `target` from `source`; they may be the same memory.
 * @param rest decodes what lies behind the unary part of a difference
 */
export function decodeByteDeltas(
  decoder: SingleRateDecoder,
  layout: ContextLayout,
  memory: ByteDeltaMemory,
  source: Uint8Array,
  target: Uint8Array,
  from: number,
  to: number,
  rest: () => number,
): void {
  const { state, shift, upFrom, downFrom } = decoder;
  const { byteZero, byteSign, byteUnary } = layout;
  let { range, code } = decoder;
  let { size, last, before, sign } = memory;
  for (let i = from; i < to; i++) {
    const activity = activityOf(size);
    let context = byteZero + 9 * activity + 3 * (last < 2 ? last : 2) + (before < 2 ? before : 2);
    let p = state[context]!;
    let bound = (range >>> 12) * (p >>> 4);
    const isZero = code >= bound;
    if (isZero) {
      code -= bound;
      range -= bound;
      state[context] = (p & 1) === 1 ? grown(p, 1) : p - (((p + downFrom) >> shift) << 1);
    } else {
      range = bound;
      state[context] = (p & 1) === 1 ? grown(p, 0) : p + (((upFrom - p) >> shift) << 1);
    }
    if (range < TOP) {
      decoder.code = code;
      decoder.range = range;
      decoder.renormalise();
      ({ code, range } = decoder);
    }
    before = last;
    if (isZero) {
      last = 0;
      size += -size >> 4;
      target[i] = source[i]!;
      continue;
    }
    context = byteSign + sign;
    p = state[context]!;
    bound = (range >>> 12) * (p >>> 4);
    if (code >= bound) {
      code -= bound;
      range -= bound;
      state[context] = (p & 1) === 1 ? grown(p, 1) : p - (((p + downFrom) >> shift) << 1);
      sign = 2;
    } else {
      range = bound;
      state[context] = (p & 1) === 1 ? grown(p, 0) : p + (((upFrom - p) >> shift) << 1);
      sign = 1;
    }
    if (range < TOP) {
      decoder.code = code;
      decoder.range = range;
      decoder.renormalise();
      ({ code, range } = decoder);
    }
    last = 1;
    context = byteUnary + (UNARY + 1) * activity + 1;
    for (let isMore = true; isMore && last <= UNARY; context++) {
      p = state[context]!;
      bound = (range >>> 12) * (p >>> 4);
      if (code >= bound) {
        code -= bound;
        range -= bound;
        state[context] = (p & 1) === 1 ? grown(p, 1) : p - (((p + downFrom) >> shift) << 1);
        last++;
      } else {
        range = bound;
        state[context] = (p & 1) === 1 ? grown(p, 0) : p + (((upFrom - p) >> shift) << 1);
        isMore = false;
      }
      if (range < TOP) {
        decoder.code = code;
        decoder.range = range;
        decoder.renormalise();
        ({ code, range } = decoder);
      }
    }
    if (last > UNARY) {
      decoder.code = code;
      decoder.range = range;
      last += rest();
      ({ code, range } = decoder);
    }
    size += (64 * (last < 64 ? last : 64) - size) >> 4;
    target[i] = source[i]! + (sign === 2 ? -last : last);
  }
  decoder.range = range;
  decoder.code = code;
  memory.size = size;
  memory.last = last;
  memory.before = before;
  memory.sign = sign;
}
