/** What core relies on in every Decompressor: it fills the plain bytes whole, or throws InvalidPatch and nothing else. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { InvalidPatch } from '../../core/errors.js';
import type { Compressor, Decompressor } from '../../core/ports.js';
import { patternBytes } from './test-bytes.js';

const NONE = new Uint8Array(0);

/** `compressor` makes what is to be decoded. */
export function decompressorContract(name: string, make: () => Decompressor, compressor: Compressor): void {
  /** Half of it repeats, so that there are matches, Huffman-coded literals and sequences. */
  const modelBytes = (length: number): Uint8Array =>
    patternBytes(length).map((byte, i) => (i % 1000 < 500 ? byte & 15 : (i % 1000) & 255));
  const decoded = (packed: Uint8Array, length: number, dictionary = NONE): Uint8Array => {
    const plain = new Uint8Array(length).fill(0xee);
    make().decompress(dictionary, packed, plain);
    return plain;
  };
  /** Refused, or decoded to something: a frame's hash has vouched for the bytes, so a wrong result is caught by the target's. */
  const survives = (packed: Uint8Array, length: number): boolean => {
    try {
      decoded(packed, length);
      return true;
    } catch (error) {
      assert.ok(error instanceof InvalidPatch, String(error));
      return false;
    }
  };

  describe(`Decompressor contract: ${name}`, () => {
    test('decodes what the encoder packs, at any level, with and without a dictionary', () => {
      for (const length of [1, 100, 5000, 300_000]) {
        const plain = modelBytes(length);
        const dictionary = plain.map((byte, i) => (i % 97 === 0 ? byte ^ 1 : byte));
        for (const level of [1, 3, 19]) {
          assert.deepEqual(decoded(compressor.compress(NONE, plain, level), length), plain);
          const packed = compressor.compress(dictionary, plain, level);
          assert.deepEqual(decoded(packed, length, dictionary), plain, `${length} bytes at level ${level}`);
        }
      }
    });

    test('decodes one payload after another', () => {
      const decompressor = make();
      for (const length of [4000, 10, 70_000, 1]) {
        const plain = new Uint8Array(length);
        decompressor.decompress(NONE, compressor.compress(NONE, modelBytes(length), 3), plain);
        assert.deepEqual(plain, modelBytes(length));
      }
    });

    test('refuses a payload that makes more or fewer bytes than there is room for', () => {
      const packed = compressor.compress(NONE, modelBytes(5000), 3);
      for (const length of [0, 1, 4999, 5001, 6000]) {
        assert.throws(() => decoded(packed, length), InvalidPatch, `${length} bytes`);
      }
    });

    test('refuses a payload that is cut short or has bytes behind its end', () => {
      const packed = compressor.compress(NONE, modelBytes(3000), 3);
      for (let end = 0; end < packed.length; end++) {
        assert.throws(() => decoded(packed.subarray(0, end), 3000), InvalidPatch, `cut at ${end}`);
      }
      assert.throws(() => decoded(new Uint8Array([...packed, 0]), 3000), InvalidPatch);
    });

    test('throws InvalidPatch and nothing else for damaged and for random payloads', () => {
      const packed = compressor.compress(NONE, modelBytes(2000), 19);
      let refused = 0;
      for (let at = 0; at < packed.length; at++) {
        const damaged = packed.slice();
        damaged[at] = damaged[at]! ^ (1 << (at & 7));
        if (!survives(damaged, 2000)) refused++;
      }
      for (let salt = 0; salt < 200; salt++) if (!survives(patternBytes(40, salt), 500)) refused++;
      assert.ok(refused > 100, `${refused} refused`);
    });
  });
}
