import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IoError, ModelFormatError } from '../errors.js';
import { WindowedSource } from './windowed-source.js';

/** Long enough that pages evict each other (64 pages of 4 KiB are held). */
const file = Uint8Array.from({ length: 70 * 4096 + 5 }, (_, i) => (i * 2654435761) >>> 24);
const truth = new DataView(file.buffer);
const source = {
  size: file.length,
  read(offset: number, into: Uint8Array) {
    into.set(file.subarray(offset, offset + into.length));
    if (offset + into.length > file.length) throw new IoError('read past the end');
  },
};

test('every field equals the file, also across pages and after pages were evicted', () => {
  const window = new WindowedSource(source);
  for (let page = 69; page >= 0; page--) {
    for (let at = Math.max(0, page * 4096 - 9); at < page * 4096 + 1; at++) {
      assert.equal(window.u8(at, 'x'), file[at]);
      assert.equal(window.u16(at, 'x'), truth.getUint16(at, true));
      assert.equal(window.u32(at, 'x'), truth.getUint32(at, true));
      assert.equal(window.i32(at, 'x'), truth.getInt32(at, true));
      assert.equal(window.f32(at, 'x'), truth.getFloat32(at, true));
    }
  }
  assert.deepEqual(window.bytes(4090, 9000, 'x'), file.slice(4090, 13090));
});

test('a field past the end is refused with its offset, the last one is read', () => {
  const window = new WindowedSource(source);
  assert.equal(window.u32(file.length - 4, 'x'), truth.getUint32(file.length - 4, true));
  for (const at of [file.length - 3, file.length, 2 ** 53, -1, Number.NaN]) {
    assert.throws(
      () => window.u32(at, 'a field'),
      (error) => error instanceof ModelFormatError && /4 bytes of a field/.test(error.message),
    );
  }
  assert.throws(() => window.bytes(0, file.length + 1, 'a name'), ModelFormatError);
  assert.throws(() => new WindowedSource({ ...source, size: 0 }).u8(0, 'x'), ModelFormatError);
});

test('a page that failed to load leaves nothing behind of itself or of the page it evicted', () => {
  let failing = false;
  const window = new WindowedSource({
    size: source.size,
    read(offset, into) {
      source.read(offset, into);
      if (!failing) return;
      into.fill(0xee);
      throw new IoError('medium');
    },
  });
  const sameSlot = 8 + 64 * 4096;
  assert.equal(window.u32(8, 'x'), truth.getUint32(8, true));
  failing = true;
  assert.throws(() => window.u32(sameSlot, 'x'), IoError);
  failing = false;
  assert.equal(window.u32(8, 'x'), truth.getUint32(8, true));
  assert.equal(window.u32(sameSlot, 'x'), truth.getUint32(sameSlot, true));
});
