import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlashImage } from '../../hil-tests/board/flash-image.js';
import { FlashRegion } from '../flash-region.js';
import { formatTrustedKeys, MAX_TRUSTED_KEYS, readTrustedKeys } from './trusted-keys.js';

/** Head, payload and checksum. */
const RECORD_BYTES = 144;
const KEYS = Array.from({ length: MAX_TRUSTED_KEYS }, (_, i) => new Uint8Array(32).fill(i + 1));

function keyAreas(): { image: FlashImage; areas: [FlashRegion, FlashRegion] } {
  const image = new FlashImage();
  const [first, second] = image.layout.keys;
  return { image, areas: [new FlashRegion(image, first), new FlashRegion(image, second)] };
}

test('trusted keys are read back as written, from none to the most there is room for', () => {
  for (let count = 0; count <= MAX_TRUSTED_KEYS; count++) {
    const { areas } = keyAreas();
    formatTrustedKeys(areas, KEYS.slice(0, count));
    assert.deepEqual(readTrustedKeys(areas), KEYS.slice(0, count));
  }
  assert.throws(() => formatTrustedKeys(keyAreas().areas, [...KEYS, new Uint8Array(32)]));
  assert.throws(() => formatTrustedKeys(keyAreas().areas, [new Uint8Array(31)]));
});

test('a part without a record of keys trusts nobody', () => {
  assert.deepEqual(readTrustedKeys(keyAreas().areas), []);
});

test('either copy of the keys is enough, a damaged byte never changes a key, and without a whole copy nobody is trusted', () => {
  const { image, areas } = keyAreas();
  formatTrustedKeys(areas, KEYS);
  const written = image.bytes.slice();
  const { blockLength } = image.status();
  const offsets = image.layout.keys.map(({ firstBlock }) => firstBlock * blockLength);
  for (const offset of offsets) {
    image.bytes.fill(0xff, offset, offset + blockLength);
    assert.deepEqual(readTrustedKeys(areas), KEYS);
    image.bytes.set(written);
  }
  for (let at = 0; at < 256; at++) {
    for (const offset of offsets) image.bytes[offset + at]! ^= 0x10;
    const keys = readTrustedKeys(areas);
    if (keys.length > 0) assert.deepEqual(keys, KEYS, `byte ${at}`);
    if (at < RECORD_BYTES) assert.deepEqual(keys, [], `byte ${at}`);
    image.bytes.set(written);
  }
});
