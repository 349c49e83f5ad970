/** What core relies on in every ByteSource. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { IoError } from '../../core/errors.js';
import type { ByteSource } from '../../core/ports.js';
import { patternBytes } from './test-bytes.js';

export interface ByteSourceUnderTest {
  readonly source: ByteSource;
  readonly dispose?: () => void;
}

/** `make` gives a source of exactly `bytes`. */
export function byteSourceContract(name: string, make: (bytes: Uint8Array) => ByteSourceUnderTest): void {
  const withSource = (behaviour: string, bytes: Uint8Array, check: (source: ByteSource) => void): void => {
    test(behaviour, () => {
      const { source, dispose } = make(bytes);
      try {
        check(source);
      } finally {
        dispose?.();
      }
    });
  };
  const bytes = patternBytes(1000);

  describe(`ByteSource contract: ${name}`, () => {
    withSource('knows its size and reads itself whole', bytes, (source) => {
      assert.equal(source.size, bytes.length);
      assert.deepEqual(readRange(source, 0, bytes.length), bytes);
    });

    withSource('reads at random, backwards and again', bytes, (source) => {
      for (let offset = bytes.length - 7; offset >= 0; offset--) {
        assert.deepEqual(readRange(source, offset, 7), bytes.slice(offset, offset + 7));
      }
      assert.deepEqual(readRange(source, 500, 500), bytes.slice(500));
    });

    withSource('reads nothing anywhere, its end included', bytes, (source) => {
      for (const offset of [0, 500, 1000]) source.read(offset, new Uint8Array(0));
    });

    withSource('fills no more than the buffer', bytes, (source) => {
      const surround = new Uint8Array(12).fill(0xa5);
      source.read(10, surround.subarray(4, 8));
      assert.deepEqual(surround.slice(4, 8), bytes.slice(10, 14));
      assert.ok([...surround.slice(0, 4), ...surround.slice(8)].every((byte) => byte === 0xa5));
    });

    withSource('throws IoError outside [0, size]', bytes, (source) => {
      for (const [offset, length] of [
        [1000, 1],
        [999, 2],
        [0, 1001],
        [-1, 1],
        [1001, 0],
        [2 ** 53, 1],
        [0.5, 1],
        [Number.NaN, 1],
      ] as const) {
        assert.throws(() => source.read(offset, new Uint8Array(length)), IoError, `${length} at ${offset}`);
      }
    });

    withSource('may be empty', new Uint8Array(0), (source) => {
      assert.equal(source.size, 0);
      source.read(0, new Uint8Array(0));
      assert.throws(() => source.read(0, new Uint8Array(1)), IoError);
    });
  });
}

export function readRange(source: ByteSource, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  source.read(offset, bytes);
  return bytes;
}
