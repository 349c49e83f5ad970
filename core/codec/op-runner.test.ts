import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ByteBuilder } from '../diff/byte-builder.js';
import { copy, delta, encodePlain, literal, mergePieces, type Piece } from '../diff/pieces.js';
import { InvalidPatch } from '../errors.js';
import { MemorySource } from '../memory-source.js';
import { noise } from '../patch/build-patch.test.js';
import { ELEMENT_FLOAT16, ELEMENT_FLOAT32, ELEMENT_INT16, ELEMENT_INT32 } from './elements.js';
import { OpRunner } from './op-runner.js';

const SOURCE = noise(1000, 1);
const IO_BYTES = 16;

/** What the ops write. */
class Sink {
  readonly out: number[] = [];

  write(bytes: Uint8Array): void {
    this.out.push(...bytes);
  }
}

function run(plain: Uint8Array, targetOffset: number, targetBytes: number): { target: Uint8Array; steps: number } {
  const sink = new Sink();
  const runner = new OpRunner({ source: new MemorySource(SOURCE), sink, io: new Uint8Array(IO_BYTES) });
  runner.begin(plain, targetOffset, targetBytes);
  let steps = 1;
  for (let before = 0; !runner.step(); steps++) {
    assert.ok(sink.out.length - before <= IO_BYTES, 'at most an I/O buffer a step');
    before = sink.out.length;
  }
  assert.equal(sink.out.length, targetBytes);
  return { target: Uint8Array.from(sink.out), steps };
}

function encode(pieces: readonly Piece[], target: Uint8Array, targetOffset: number): Uint8Array {
  return encodePlain(pieces, target, targetOffset, (offset, length) => SOURCE.subarray(offset, offset + length));
}

test('copies, differences and literals of every type give the target, at most an I/O buffer a step', () => {
  const pieces = [
    copy(33, 100),
    literal(5),
    delta(40, 500, ELEMENT_FLOAT32),
    literal(36, ELEMENT_INT32),
    delta(17, 0, 0),
    literal(34, ELEMENT_INT16),
    delta(22, 3, ELEMENT_FLOAT16),
    delta(2, 25, ELEMENT_INT16),
    copy(1, 999),
    delta(100, 900, ELEMENT_INT32),
  ];
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const target = noise(length, 2);
  target.set(SOURCE.subarray(100, 133), 0);
  target[length - 101] = SOURCE[999]!;
  for (const targetOffset of [0, 7, 5000]) {
    assert.deepEqual(run(encode(pieces, target, targetOffset), targetOffset, length).target, target);
  }
});

test('a segment without ops is one literal', () => {
  const target = noise(50, 3);
  assert.deepEqual(run(Uint8Array.of(0, ...target), 9, 50), { target, steps: 4 });
});

test('short ops are run together, as many as fit in an I/O buffer', () => {
  const pieces = Array.from({ length: 40 }, (_, i) => copy(4, 20 * i));
  const target = Uint8Array.from(pieces.flatMap(({ source }) => [...SOURCE.subarray(source, source + 4)]));
  assert.deepEqual(run(encode(pieces, target, 0), 0, 160), { target, steps: 10 });
});

test('the cursor starts at the target offset and follows every op, literals too', () => {
  const plain = Uint8Array.of(6, 0, 2, 2, 3, 0, 4, 0xaa, 0xbb, 0xcc);
  assert.deepEqual(
    run(plain, 10, 9).target,
    Uint8Array.of(...SOURCE.subarray(10, 12), 0xaa, 0xbb, 0xcc, ...SOURCE.subarray(15, 19)),
  );
});

test('any plan of pieces gives any target', () => {
  const piece = fc.record({
    kind: fc.nat(2),
    type: fc.nat(6),
    count: fc.integer({ min: 1, max: 20 }),
    source: fc.nat(900),
  });
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 12 }), fc.nat(100), (plan, salt) => {
      const pieces = mergePieces(
        plan.map(({ kind, type, count, source }) => {
          if (kind === 0) return copy(count, source);
          return kind === 1 ? delta(4 * count, source, type) : literal(4 * count, type);
        }),
      );
      const target = noise(
        pieces.reduce((sum, { length }) => sum + length, 0),
        salt,
      );
      let at = 0;
      for (const { kind, length, source } of pieces) {
        if (kind === 0) target.set(SOURCE.subarray(source, source + length), at);
        at += length;
      }
      assert.deepEqual(run(encode(pieces, target, salt), salt, target.length).target, target);
    }),
    { numRuns: 300, seed: 1 },
  );
});

/** Plain bytes from ops spelled out and data. */
function plainOf(ops: readonly number[], dataBytes: number): Uint8Array {
  return Uint8Array.of(ops.length, ...ops, ...noise(dataBytes));
}

function zigzag(value: number): number[] {
  const out = new ByteBuilder();
  out.signed(value);
  return [...out.view()];
}

const COPY = 0;
const DELTA = 1;
const LITERAL = 2;
const SHIFT = 0x20;

/** Ops and data of a segment of 20 target bytes at target offset 990, with 1000 source bytes. */
const MALFORMED: Readonly<Record<string, { plain: Uint8Array; message: RegExp }>> = {
  'no bytes at all': { plain: new Uint8Array(0), message: /ops within/ },
  'ops longer than the segment': { plain: Uint8Array.of(3, COPY, 10), message: /ops within/ },
  'an ops length that is cut short': { plain: Uint8Array.of(0x80), message: /ops within/ },
  'an ops length not in its shortest form': {
    plain: Uint8Array.of(0x82, 0x00, LITERAL, 20, ...noise(20)),
    message: /ops within/,
  },
  'an unknown cast': { plain: plainOf([3 | SHIFT, 20, ...zigzag(-900), 0xf1], 20), message: /known cast types/ },
  'a cast that is cut off': { plain: plainOf([3 | SHIFT, 20, ...zigzag(-900)], 20), message: /the end of the ops/ },
  'a cast without scales': {
    plain: plainOf([3 | SHIFT, 20, ...zigzag(-900), 0x03, 0, 1, 0, 0], 20),
    message: /at least one scale/,
  },
  'a cast whose scales leave no residual': {
    plain: plainOf([3 | SHIFT, 20, ...zigzag(-900), 0x03, 1, 20, 0, 0], 20),
    message: /bytes of data/,
  },
  'a cast of half a block': { plain: plainOf([3 | SHIFT, 20, ...zigzag(-900), 0x05], 20), message: /multiple of 18/ },
  'a cast past the end of the source': {
    plain: plainOf([3 | SHIFT, 20, ...zigzag(-29), 0x01], 20),
    message: /inside the source/,
  },
  'an element type of the future': { plain: plainOf([LITERAL | (7 << 2), 20], 20), message: /known element type/ },
  'bit 6 of an op': { plain: plainOf([LITERAL | 0x40, 20], 20), message: /bits 6 and 7/ },
  'bit 7 of an op': { plain: plainOf([LITERAL | 0x80, 20], 20), message: /bits 6 and 7/ },
  'an op without target bytes': { plain: plainOf([LITERAL, 0], 20), message: /1 to 20 target bytes, got 0/ },
  'an op past the segment': { plain: plainOf([LITERAL, 21], 21), message: /1 to 20 target bytes, got 21/ },
  'ops that end early': { plain: plainOf([LITERAL, 19], 19), message: /the end of the ops/ },
  'an op whose length is cut off': { plain: plainOf([LITERAL, 0x80], 20), message: /the end of the ops/ },
  'an op whose shift is cut off': { plain: plainOf([COPY | SHIFT, 20], 0), message: /the end of the ops/ },
  'ops after the last target byte': { plain: plainOf([LITERAL, 20, COPY, 1], 20), message: /no ops after/ },
  'data after the last op': { plain: plainOf([LITERAL, 20], 21), message: /no data after/ },
  'a literal without its data': { plain: plainOf([LITERAL, 20], 19), message: /bytes of data/ },
  'a difference without its data': {
    plain: plainOf([DELTA | SHIFT, 20, ...zigzag(-100)], 19),
    message: /bytes of data/,
  },
  'half an element': {
    plain: plainOf([LITERAL | (ELEMENT_FLOAT32 << 2), 18, LITERAL, 2], 20),
    message: /multiple of 4/,
  },
  'a typed copy': {
    plain: plainOf([COPY | (1 << 2) | SHIFT, 20, ...zigzag(-100)], 0),
    message: /element type 0 for a copy/,
  },
  'a literal with a source offset': {
    plain: plainOf([LITERAL | SHIFT, 20, ...zigzag(1)], 20),
    message: /no source offset/,
  },
  'a copy past the end of the source': { plain: plainOf([COPY, 11, LITERAL, 9], 9), message: /inside the source/ },
  'a copy before the start of the source': {
    plain: plainOf([COPY | SHIFT, 20, ...zigzag(-991)], 0),
    message: /inside the source/,
  },
  'a difference past the end of the source': {
    plain: plainOf([DELTA | SHIFT, 20, ...zigzag(-9)], 20),
    message: /inside the source/,
  },
  'a shift of 2^52': { plain: plainOf([COPY | SHIFT, 20, ...zigzag(2 ** 52 - 1)], 0), message: /inside the source/ },
  'an implied literal that is too short': { plain: Uint8Array.of(0, ...noise(19)), message: /19 bytes of data/ },
  'an implied literal that is too long': { plain: Uint8Array.of(0, ...noise(21)), message: /no data after/ },
};

for (const [what, { plain, message }] of Object.entries(MALFORMED)) {
  test(`refuses ${what}`, () => {
    assert.throws(
      () => run(plain, 990, 20),
      (error) => {
        assert.ok(error instanceof InvalidPatch, String(error));
        assert.equal(error.code, 'BAD_OP');
        assert.match(error.message, /^segment at target byte 990: /);
        assert.match(error.message, message);
        return true;
      },
    );
  });
}

test('garbage is refused, or runs to its end within the segment', () => {
  let accepted = 0;
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 40 }),
      fc.integer({ min: 1, max: 60 }),
      fc.boolean(),
      (garbage, targetBytes, typed) => {
        // Every other garbage has an ops length and an op byte that make sense, to get further.
        if (typed && garbage.length > 4) {
          garbage[0] = 3 + (garbage[0]! % 2);
          garbage[1] = garbage[1]! & 0x3e;
          garbage[2] = targetBytes;
        }
        try {
          assert.equal(run(garbage, 100, targetBytes).target.length, targetBytes);
          accepted++;
        } catch (error) {
          assert.ok(error instanceof InvalidPatch, String(error));
        }
      },
    ),
    { numRuns: 5000, seed: 1 },
  );
  assert.ok(accepted > 0);
});
