/** An in-place update by the production encoder, for a model whose bytes moved both ways: what may be read differs by unit. */
import type { Update } from '../../core/apply/flash-rig.test.js';
import { describePatch } from '../../core/patch/build-patch.test.js';
import { makePatch, noise, testKeypair } from '../support/make-patch.js';

const PARTS = 5;
const PART_BYTES = 20_000;

export interface EncodedShape {
  readonly unitBytes: number;
  readonly neural: boolean;
}

export function encodeInPlaceUpdate({ unitBytes, neural }: EncodedShape): Update {
  const parts = Array.from({ length: PARTS }, (_, i) => noise(PART_BYTES, i + 1));
  const source = new Uint8Array(Buffer.concat(parts));
  const inserted = noise(700, 99);
  const [a, b, c, d, e] = parts as [Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  // b and c change places, everything behind the start moves up a little.
  const target = new Uint8Array(Buffer.concat([a, inserted, c, b, d, e]));
  for (let i = 3 * PART_BYTES; i < target.length; i += 97) target[i]! += 3;
  const { privateKey, publicKey } = testKeypair(9);
  const bytes = makePatch(source, target, { profile: 'mcu', neural, privateKey, unitBytes, versionCounter: 1 });
  return { ...describePatch(bytes), source, target, trustedKeys: [publicKey] };
}
