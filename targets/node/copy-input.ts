/** Copies bytes a caller passed, so that what it does with them afterwards harms nothing, and so that they can move to a worker. */

import { setImmediate } from 'node:timers/promises';
import type { CallOptions, Input } from './api-types.js';
import { throwIfAborted } from './call-worker.js';

/** About 8 ms of copying (measured: 2 GB/s into fresh memory), so that a few of them hold up the event loop for less than 50. */
const AT_ONCE_BYTES = 16 << 20;

/** Bytes of up to AT_ONCE_BYTES are copied before this returns; larger ones in pieces between which the event loop runs. */
export async function copyInput<I extends Input | null>(input: I): Promise<I> {
  if (!(input instanceof Uint8Array)) return input;
  const copy = new Uint8Array(input.length);
  for (let at = 0; at < input.length; at += AT_ONCE_BYTES) {
    if (at > 0) await setImmediate();
    copy.set(input.subarray(at, at + AT_ONCE_BYTES), at);
  }
  return copy as I & Uint8Array;
}

/** The buffers that copyInput made. */
export function buffersOf(inputs: readonly (Input | null)[]): ArrayBuffer[] {
  return inputs.flatMap((input) => (input instanceof Uint8Array ? [input.buffer as ArrayBuffer] : []));
}

/** An abort is heard before the copying, which for gigabytes takes a while. @throws signal.reason */
export async function copyInputs<I extends (Input | null)[]>(options: CallOptions, ...inputs: I): Promise<I> {
  throwIfAborted(options);
  // Begun for all before the first await: what a caller changes after the call returned is changed too late.
  return Promise.all(inputs.map(copyInput)) as Promise<I>;
}
