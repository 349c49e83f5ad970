/** The updates that the serial suite sends. */

import { PROFILES } from '../../core/limits.js';
import type { FlashImage } from '../../targets/sim/flash-image.js';
import { makeImage } from '../board/flash-image.js';
import { makePatch, noise, testKeypair } from '../support/make-patch.js';

export interface Update {
  readonly old: Uint8Array;
  readonly next: Uint8Array;
  readonly patch: Uint8Array;
  readonly trustedKeys: readonly Uint8Array[];
  /** A device with the old model. */
  readonly image: FlashImage;
}

export const SEGMENT_BYTES = PROFILES.mcu.segmentBytes;
export const key = testKeypair(7);

function updateOf(old: Uint8Array, next: Uint8Array, flashBytes: number): Update {
  const patch = makePatch(old, next, { neural: true, profile: 'mcu', privateKey: key.privateKey, versionCounter: 5 });
  const trustedKeys = [key.publicKey];
  return { old, next, patch, trustedKeys, image: makeImage({ keys: trustedKeys, model: old, flashBytes }) };
}

/** Few packets, so that each of their bytes can be damaged in turn. */
export const SMALL: Update = (() => {
  const old = noise(2000, 5);
  const next = old.slice();
  next.set(noise(300, 6), 900);
  return updateOf(old, next, 128 << 10);
})();

/** For slow lines. */
export const MEDIUM: Update = (() => {
  const old = noise(20_000, 8);
  const next = old.slice();
  next.set(noise(5000, 9), 9000);
  return updateOf(old, next, 512 << 10);
})();

/** Over several segments. */
export const LARGE: Update = (() => {
  const old = noise(90_000, 7);
  const next = old.slice();
  for (let i = 3000; i < 70_000; i += 2) next[i] = next[i]! + ((i * i) & 0xff);
  return updateOf(old, next, 512 << 10);
})();
