/**
 * Inputs that `npm test` replays for ever: what a fuzz run finds gets a line here, with its target, its bytes in hex as the run printed
 * them, and a name. No run has found anything yet; those below are what readers of such formats elsewhere have fallen over.
 */

import type { Outcome } from './target.js';

export interface Fixture {
  readonly target: string;
  readonly name: string;
  readonly hex: string;
  readonly outcome: Outcome;
}

/** For those in text. */
const hexOf = (text: string): string => Buffer.from(text).toString('hex');

export const FIXTURES: readonly Fixture[] = [
  {
    target: 'desired',
    name: 'a key of JSON that is the prototype of objects in JavaScript',
    hex: hexOf(`{"__proto__":{"model":"m","version":"1","targetSha256":"${'cd'.repeat(32)}","patches":[]}}`),
    outcome: 'refused',
  },
  {
    target: 'desired',
    name: 'nested deeper than a recursive reader has stack for',
    hex: hexOf('['.repeat(60_000)),
    outcome: 'refused',
  },
  {
    target: 'config',
    name: 'a key of JSON that is the prototype of objects in JavaScript',
    hex: hexOf('{"__proto__":{"device":"gw-1"}}'),
    outcome: 'refused',
  },
  {
    target: 'safetensors',
    name: 'a header of 2^53 bytes',
    hex: `00000000000020007b7d`,
    outcome: 'refused',
  },
  {
    target: 'gguf',
    name: 'version 3 with 2^64 - 1 tensors',
    hex: `47475546${'03000000'}${'ff'.repeat(8)}${'00'.repeat(8)}`,
    outcome: 'refused',
  },
  {
    target: 'cbor',
    name: 'a byte string of 2^64 - 1 bytes for a value',
    hex: 'bf6464617461' + '5bffffffffffffffff' + 'ff',
    outcome: 'refused',
  },
  {
    target: 'answers',
    name: 'arrays in arrays until the longest answer is full',
    hex: `0b0003f800400103${'81'.repeat(1016)}`,
    outcome: 'refused',
  },
];
