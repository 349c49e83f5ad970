/** What core relies on in every Hasher: SHA-256, however the bytes arrive and however often it is used again. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { toHex } from '../../core/hex.js';
import type { Hasher } from '../../core/ports.js';
import { patternBytes } from './test-bytes.js';

/** FIPS 180-4 examples: of nothing, of "abc", and of the 56 bytes whose padding needs a second block. */
const EXAMPLES: readonly (readonly [string, string])[] = [
  ['', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
  ['abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
  [
    'abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq',
    '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1',
  ],
];

export function hasherContract(name: string, make: () => Hasher): void {
  const digestOf = (hasher: Hasher, ...parts: Uint8Array[]): string => {
    const digest = new Uint8Array(32);
    for (const part of parts) hasher.update(part);
    hasher.digest(digest);
    return toHex(digest);
  };

  describe(`Hasher contract: ${name}`, () => {
    test('gives the digests of the standard, one after another from one hasher', () => {
      const hasher = make();
      for (const [text, expected] of EXAMPLES) {
        hasher.reset();
        assert.equal(digestOf(hasher, new TextEncoder().encode(text)), expected);
      }
    });

    test('is ready without a reset when it is new', () => {
      assert.equal(digestOf(make()), EXAMPLES[0]![1]);
    });

    test('gives the same digest wherever the bytes are split', () => {
      const hasher = make();
      const bytes = patternBytes(200);
      const whole = digestOf(hasher, bytes);
      for (let at = 0; at <= bytes.length; at++) {
        hasher.reset();
        assert.equal(digestOf(hasher, bytes.subarray(0, at), bytes.subarray(at)), whole, `split at ${at}`);
      }
    });

    test('forgets what a reset cuts short', () => {
      const hasher = make();
      hasher.update(patternBytes(77));
      hasher.reset();
      assert.equal(digestOf(hasher), EXAMPLES[0]![1]);
    });

    test('writes 32 bytes and none beside them', () => {
      const hasher = make();
      const around = new Uint8Array(40).fill(0xaa);
      hasher.digest(around.subarray(4, 36));
      assert.equal(toHex(around), `aaaaaaaa${EXAMPLES[0]![1]}aaaaaaaa`);
    });
  });
}
