import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ByteBuilder } from '../diff/byte-builder.js';
import { InvalidPatch } from '../errors.js';
import { buildPatch, copySegment, noise, storedSegment, zstdSegment } from './build-patch.test.js';
import type { PatchHeader } from './header.js';
import {
  bytesToGrid,
  emptySegmentHeader,
  MAX_SEGMENT_HEADER_BYTES,
  readSegmentHeader,
  type SegmentHeader,
} from './segment.js';

const SOURCE_BYTES = 5000;
const TARGET_BYTES = 4000;
const START = 1000;

const { header: parsed } = buildPatch({
  source: noise(SOURCE_BYTES),
  target: noise(TARGET_BYTES),
  segments: [{ kind: 'raw', bytes: noise(10) }],
  header: { segmentBytes: 2048, plainBytes: 2100, packedBytes: 700, dictionaryBytes: 600 },
});

function read(
  bytes: Uint8Array,
  length = bytes.length,
  patch: PatchHeader = parsed,
): { used: number; segment: SegmentHeader } {
  const segment = emptySegmentHeader();
  return { used: readSegmentHeader(bytes, length, START, patch, segment), segment };
}

function assertRefused(bytes: Uint8Array, message: RegExp): void {
  assert.throws(
    () => read(bytes),
    (error) => {
      assert.ok(error instanceof InvalidPatch, String(error));
      assert.equal(error.code, 'BAD_SEGMENT');
      assert.match(error.message, /^segment at target byte 1000: /);
      assert.match(error.message, message);
      return true;
    },
  );
}

function zstd(changes: Partial<Parameters<typeof zstdSegment>[0]> & { packedBytes?: number }): Uint8Array {
  const { packedBytes = 700, ...rest } = changes;
  return zstdSegment({
    at: START,
    length: 2048,
    plainBytes: 2100,
    packed: new Uint8Array(packedBytes),
    dictionaryBytes: 600,
    dictionaryOffset: SOURCE_BYTES - 600,
    ...rest,
  });
}

test('each kind reads back as it was written, at its limits, and no byte of the payload is used', () => {
  const copy = copySegment(START, 3000, SOURCE_BYTES - 3000);
  assert.deepEqual(read(copy), {
    used: copy.length,
    segment: { ...emptySegmentHeader(), targetBytes: 3000, sourceOffset: SOURCE_BYTES - 3000 },
  });
  assert.equal(read(copySegment(START, 3000, 0)).segment.sourceOffset, 0);
  const stored = storedSegment(2048, new Uint8Array(2100));
  assert.deepEqual(read(stored), {
    used: stored.length - 2100,
    segment: { ...emptySegmentHeader(), kind: 1, targetBytes: 2048, plainBytes: 2100 },
  });
  const packed = zstd({});
  assert.deepEqual(read(packed), {
    used: packed.length - 700,
    segment: {
      kind: 2,
      targetBytes: 2048,
      sourceOffset: 0,
      plainBytes: 2100,
      packedBytes: 700,
      dictionaryBytes: 600,
      dictionaryOffset: SOURCE_BYTES - 600,
    },
  });
});

const TO_GRID = 4;
const DICTIONARY = 8;
const WHOLE_SOURCE = 16;

test("a segment may end where the grid's next line or the target does, and then says no length", () => {
  const stored = { ...emptySegmentHeader(), kind: 1 };
  // The grid has lines every 2048 bytes, and this segment starts at 1000.
  assert.deepEqual(read(Uint8Array.of(1 | TO_GRID, 2)), {
    used: 2,
    segment: { ...stored, targetBytes: 1048, plainBytes: 1049 },
  });
  const short = { ...parsed, targetSize: 1500 };
  assert.deepEqual(read(Uint8Array.of(1 | TO_GRID, 1), 2, short).segment, {
    ...stored,
    targetBytes: 500,
    plainBytes: 499,
  });
  assert.equal(read(Uint8Array.of(0 | TO_GRID, 0)).segment.targetBytes, 1048);
  assert.equal(bytesToGrid(2048, parsed), 1952);
  assert.equal(bytesToGrid(2047, parsed), 1);
  assert.equal(bytesToGrid(0, parsed), 2048);
});

test('a dictionary may be the whole source, and then says no range', () => {
  const patch = { ...parsed, dictionaryBytes: SOURCE_BYTES };
  const { used, segment } = read(Uint8Array.of(2 | TO_GRID | DICTIONARY | WHOLE_SOURCE, 0, 9), 3, patch);
  assert.equal(used, 3);
  assert.deepEqual(segment, {
    ...emptySegmentHeader(),
    kind: 2,
    targetBytes: 1048,
    plainBytes: 1048,
    packedBytes: 9,
    dictionaryBytes: SOURCE_BYTES,
  });
  assertRefused(Uint8Array.of(2 | TO_GRID | DICTIONARY | WHOLE_SOURCE, 0, 9), /dictionary up to 600, got 5000/);
});

test('flags without a meaning are refused', () => {
  const rest = [5, 0, 9, 0, 0];
  for (const flags of [32, 64, 128]) {
    for (const kind of [0, 1, 2]) assertRefused(Uint8Array.of(kind | flags, ...rest), /known segment flags/);
  }
  for (const flags of [DICTIONARY, WHOLE_SOURCE, DICTIONARY | WHOLE_SOURCE]) {
    for (const kind of [0, 1]) assertRefused(Uint8Array.of(kind | flags, ...rest), /known segment flags/);
  }
  assertRefused(Uint8Array.of(2 | WHOLE_SOURCE, ...rest), /known segment flags/);
});

test('a header that is cut short asks for more, at every length', () => {
  for (const bytes of [
    copySegment(START, 3000, 7),
    storedSegment(2048, new Uint8Array(300)),
    zstd({ packedBytes: 300 }),
  ]) {
    const { used } = read(bytes);
    for (let length = 0; length < used; length++) assert.equal(read(bytes, length).used, 0);
    assert.ok(used <= MAX_SEGMENT_HEADER_BYTES);
  }
});

test('each length past its limit is refused', () => {
  assertRefused(Uint8Array.of(3, 1, 1), /no neural segment in a zstd patch/);
  assertRefused(copySegment(START, 0, 0), /1 to 3000 target bytes, got 0/);
  assertRefused(copySegment(START, 3001, 0), /1 to 3000 target bytes, got 3001/);
  assertRefused(copySegment(START, 3000, SOURCE_BYTES - 2999), /copied run inside/);
  assertRefused(copySegment(START, 10, -1), /copied run inside/);
  assertRefused(storedSegment(2049, new Uint8Array(0)), /at most 2048 target bytes in a coded segment/);
  assertRefused(storedSegment(2048, new Uint8Array(2101)), /plain size of 1 to 2100, got 2101/);
  assertRefused(storedSegment(2048, new Uint8Array(0)), /plain size of 1 to 2100, got 0/);
  assertRefused(zstd({ length: 2049 }), /at most 2048 target bytes/);
  assertRefused(zstd({ plainBytes: 2101 }), /plain size of 1 to 2100/);
  assertRefused(zstd({ packedBytes: 701 }), /packed size 1 to 700, got 701/);
  assertRefused(zstd({ dictionaryBytes: 601 }), /dictionary up to 600/);
  assertRefused(zstd({ dictionaryOffset: SOURCE_BYTES - 599 }), /dictionary inside/);
  assertRefused(zstd({ dictionaryOffset: -1 }), /dictionary inside/);
});

test('an empty zstd payload is refused: a device without zstd would otherwise be asked to decode it', () => {
  assertRefused(zstd({ packedBytes: 0 }), /packed size 1 to 700, got 0/);
});

test('varints are taken in their shortest form only, up to 2^53 - 1', () => {
  const withVarint = (...varint: number[]): Uint8Array => Uint8Array.of(1, ...varint, 2);
  assert.equal(read(withVarint(0x05)).segment.targetBytes, 5);
  assertRefused(withVarint(0x85, 0x00), /shortest form/);
  assertRefused(withVarint(0x80, 0x80, 0x00), /shortest form/);
  const largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
  assertRefused(withVarint(...largest), /1 to 3000 target bytes, got 9007199254740991/);
  assertRefused(withVarint(...largest.slice(0, 7), 0x10), /shortest form/);
  assertRefused(withVarint(...largest.slice(0, 7), 0x8f, 0x01), /shortest form/);
});

test('offsets at both ends of the varint range are refused as outside the source', () => {
  for (const source of [2 ** 52 - 1, -(2 ** 52)])
    assertRefused(copySegment(START, 1, START + source), /inside the source/);
});

test('garbage is refused, or within every limit', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: MAX_SEGMENT_HEADER_BYTES }), fc.nat(32), (garbage, kind) => {
      const bytes = new Uint8Array([kind, ...garbage]);
      try {
        const { used, segment } = read(bytes);
        if (used === 0) return;
        assert.ok(used <= bytes.length && segment.targetBytes >= 1 && segment.targetBytes <= TARGET_BYTES - START);
        assert.ok(segment.sourceOffset >= 0 && segment.dictionaryOffset >= 0);
        assert.ok(segment.kind === 0 || segment.targetBytes <= 2048);
      } catch (error) {
        assert.ok(error instanceof InvalidPatch, String(error));
      }
    }),
    { numRuns: 5000, seed: 1 },
  );
});

test('the builder of these tests writes varints of every length in their shortest form', () => {
  for (let bits = 0; bits < 53; bits++) {
    for (const value of [2 ** bits - 1, 2 ** bits]) {
      const out = new ByteBuilder();
      out.unsigned(value);
      assert.equal(out.length, Math.max(1, Math.ceil(value.toString(2).length / 7)));
    }
  }
});

test('a neural segment of a few bytes cannot have a long dictionary, which takes long to look through', () => {
  const patch: PatchHeader = { ...parsed, codec: 'neural', decodeClass: 1, sourceSize: 1e6, dictionaryBytes: 1e6 };
  const segment = (targetBytes: number, dictionaryBytes: number): Uint8Array => {
    const bytes = new ByteBuilder(32);
    bytes.byte(3 | 8);
    for (const field of [targetBytes, 1, dictionaryBytes]) bytes.unsigned(field);
    bytes.signed(-START);
    return bytes.view();
  };
  for (const targetBytes of [1, 1000]) {
    const most = 65536 + 64 * targetBytes;
    const bytes = segment(targetBytes, most);
    assert.equal(read(bytes, bytes.length, patch).segment.dictionaryBytes, most);
    const longer = segment(targetBytes, most + 1);
    assert.throws(() => read(longer, longer.length, patch), /dictionary of a neural segment up to/);
  }
});
