import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDecompressor } from '../../targets/quickjs/portable.js';
import { InvalidPatch } from '../errors.js';
import { fromHex } from '../hex.js';
import { noise, rawZstd } from '../patch/build-patch.test.js';
import { ZstdBlockDecompressor } from './zstd-blocks.js';

const NONE = new Uint8Array(0);

/** 223 characters of words, and the same backwards behind them. */
const WORDS =
  'conv/dense/dense/conv/kernel/dense/relu/kernel/dense/relu/dense/relu/bias/dense/conv/bias/conv/relu/dense/bias/conv/bias/relu/bias/relu/bias/dense/kernel/kernel/kernel/relu/conv/conv/bias/dense/conv/dense/dense/dense/kernel';
const PLAIN = Uint8Array.from(WORDS + [...WORDS].reverse().join(''), (c) => c.charCodeAt(0));
/** What libzstd makes of it at level 19, and at level 3 behind the words as raw-content dictionary; frame header cut off. */
const PACKED = fromHex(
  'ad03001243090cc03dc4560b7758feb7ff1b16a03f968a9dc4a6e31eec8abf8d12beeb1df5f6c51334e6042ba8a023651a03304420e1f910626211055b5078c5084e852e71cc68680fd26ec67380aba1521eea6807711ef45e5a7662a1d8a400068802edee66b0bcce43bedd769e84d03a4e6c2dfd126164',
);
const PACKED_BEHIND_WORDS = fromHex(
  'f50200e86c656e72656b2f65736e6564766e6f6373616962756c65722f766e6f631a004d0708c140cd0c400dd42183cb80a60c845e50070438177a36600a011a184140cb02570d90122095012a126ce514a7083307a19991d4914bb1a100cc0a08',
);

function decode(packed: Uint8Array, plainBytes: number, dictionary: Uint8Array = NONE): Uint8Array {
  const plain = new Uint8Array(plainBytes);
  createDecompressor().decompress(dictionary, packed, plain);
  return plain;
}

function assertMalformed(packed: Uint8Array, plainBytes: number, message?: RegExp): void {
  assert.throws(
    () => decode(packed, plainBytes),
    (error) => {
      assert.ok(error instanceof InvalidPatch, String(error));
      assert.equal(error.code, 'BAD_SEGMENT');
      if (message !== undefined) assert.match(error.message, message);
      return true;
    },
  );
}

const RAW = 0;
const RLE = 1;

function block(type: number, size: number, last: boolean, content: Uint8Array): Uint8Array {
  const header = (size << 3) | (type << 1) | (last ? 1 : 0);
  return joined(Uint8Array.of(header, header >> 8, header >> 16), content);
}

function joined(...blocks: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(blocks));
}

test('decodes what libzstd packed, with and without a dictionary', () => {
  assert.deepEqual(decode(PACKED, PLAIN.length), PLAIN);
  assert.deepEqual(decode(PACKED_BEHIND_WORDS, PLAIN.length, PLAIN.subarray(0, WORDS.length)), PLAIN);
});

test('decodes raw and run-length blocks, up to their largest size', () => {
  const large = noise(131072, 1);
  assert.deepEqual(decode(rawZstd(NONE, large), large.length), large);
  const run = block(RLE, 131072, true, Uint8Array.of(7));
  assert.deepEqual(decode(run, 131072), new Uint8Array(131072).fill(7));
  const mixed = joined(
    block(RLE, 3, false, Uint8Array.of(9)),
    block(RAW, 2, false, Uint8Array.of(1, 2)),
    block(RLE, 0, true, Uint8Array.of(0)),
  );
  assert.deepEqual(decode(mixed, 5), Uint8Array.of(9, 9, 9, 1, 2));
});

test('a dictionary may be of any length, also several blocks long', () => {
  for (const length of [1, 131071, 131072, 131073, 300000]) {
    const dictionary = noise(length, 2);
    dictionary.set(PLAIN.subarray(0, Math.min(length, WORDS.length)), length - Math.min(length, WORDS.length));
    assert.deepEqual(decode(rawZstd(NONE, PLAIN), PLAIN.length, dictionary), PLAIN);
    if (length > WORDS.length) assert.deepEqual(decode(PACKED_BEHIND_WORDS, PLAIN.length, dictionary), PLAIN);
  }
});

test('one decompressor serves segment after segment, whatever their sizes', () => {
  const decompressor = createDecompressor();
  for (const length of [5000, 3, PLAIN.length, 70000, 1]) {
    const expected = length === PLAIN.length ? PLAIN : noise(length, length);
    const packed = length === PLAIN.length ? PACKED : rawZstd(NONE, expected);
    const before = packed.slice();
    const plain = new Uint8Array(length);
    decompressor.decompress(NONE, packed, plain);
    assert.deepEqual(plain, expected);
    assert.deepEqual(packed, before, 'the payload is not written to');
    assert.throws(() => decompressor.decompress(NONE, packed.subarray(0, packed.length - 1), plain), InvalidPatch);
  }
});

test('every truncation is refused', () => {
  for (let length = 0; length < PACKED.length; length++) assertMalformed(PACKED.subarray(0, length), PLAIN.length);
});

test('any other length than the declared one is refused', () => {
  const run = block(RLE, 5, true, Uint8Array.of(7));
  for (const plainBytes of [0, 1, 4, 6, 13, 1000]) assertMalformed(run, plainBytes);
  for (const difference of [-9, -1, 1, 8, 9, 1000]) assertMalformed(PACKED, PLAIN.length + difference);
});

test('bytes behind the last block and a missing last block are refused', () => {
  assertMalformed(joined(block(RAW, 5, true, noise(5)), noise(1)), 5, /the end of the payload/);
  assertMalformed(joined(block(RAW, 5, true, noise(5)), block(RAW, 0, true, NONE)), 5, /the end of the payload/);
  assertMalformed(block(RAW, 5, false, noise(5)), 5, /a block header/);
});

test('a reserved block type and blocks past 128 KiB are refused', () => {
  assertMalformed(block(3, 5, true, noise(5)), 5, /block type 0 to 2, got 3/);
  assertMalformed(block(RAW, 131073, true, noise(131073)), 131073, /at most 131072 bytes in a block/);
  assertMalformed(block(RLE, 131073, true, noise(1)), 131073, /at most 131072 bytes in a block/);
});

test('a block for every 256 plain bytes and 8 more are accepted, another one is not', () => {
  const empty = block(RAW, 0, false, NONE);
  const content = block(RAW, 512, true, noise(512));
  assert.deepEqual(decode(joined(...new Array<Uint8Array>(9).fill(empty), content), 512), noise(512));
  assertMalformed(joined(...new Array<Uint8Array>(10).fill(empty), content), 512, /at most 10 blocks/);
});

test('whatever a decoder throws becomes a bad segment with its cause', () => {
  const cause = new RangeError('deep inside');
  const failing = new ZstdBlockDecompressor(() => {
    throw cause;
  });
  assert.throws(() => failing.decompress(NONE, rawZstd(NONE, PLAIN), new Uint8Array(PLAIN.length)), {
    code: 'BAD_SEGMENT',
    cause,
  });
});
