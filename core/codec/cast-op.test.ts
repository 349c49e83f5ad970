/** CAST ops end to end: what the encoder writes, the runner turns into the target, whatever the bytes and wherever they are cut. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { castPiece, encodePlain, literal, type Piece, sourceBytesOf } from '../diff/pieces.js';
import { InvalidPatch } from '../errors.js';
import { MemorySource } from '../memory-source.js';
import { noise } from '../patch/build-patch.test.js';
import { CAST_BF16, CAST_F16, CAST_F32, CAST_I8, CAST_Q4_0, CAST_Q8_0 } from './cast.js';
import { CAST_RUN_BYTES } from './cast-op.js';
import { anyPlaces, CAST_PAIRS, castOfElements, predictedBytes } from './cast-rig.test.js';
import { OpRunner } from './op-runner.js';

/** The target that `plain` gives, through an I/O buffer of `ioBytes`. */
function run(
  plain: Uint8Array,
  source: Uint8Array,
  targetOffset: number,
  targetBytes: number,
  ioBytes: number,
): number[] {
  const out: number[] = [];
  const sink = { write: (bytes: Uint8Array) => void out.push(...bytes) };
  const runner = new OpRunner({ source: new MemorySource(source), sink, io: new Uint8Array(ioBytes) });
  runner.begin(plain, targetOffset, targetBytes);
  while (!runner.step());
  return out;
}

function roundTrip(pieces: readonly Piece[], source: Uint8Array, target: Uint8Array): void {
  const targetOffset = 1000;
  const read = (offset: number, length: number): Uint8Array => source.subarray(offset, offset + length);
  const plain = encodePlain(pieces, target, targetOffset, read);
  for (const ioBytes of [CAST_RUN_BYTES, 256, 65536]) {
    assert.deepEqual(run(plain, source, targetOffset, target.length, ioBytes), [...target], `I/O of ${ioBytes}`);
  }
}

for (const { from, to } of CAST_PAIRS) {
  test(`from type ${from} to ${to} the runner makes what was encoded, of any bytes and at any length`, () => {
    const shape = fc.record({
      elements: fc.integer({ min: 1, max: 320 }),
      head: fc.nat(40),
      tail: fc.nat(5),
      gap: fc.nat(9),
      seed: fc.integer({ min: 1, max: 1e6 }),
      places: anyPlaces,
    });
    fc.assert(
      fc.property(shape, ({ elements, head, tail, gap, seed, places }) => {
        const piece = castOfElements(elements, gap, { from, to }, places);
        // Random bytes hold NaNs, infinities and subnormals of every type.
        const source = noise(gap + sourceBytesOf(piece) + 3, seed);
        const target = noise(head + piece.length + tail, seed + 1);
        // Half of the elements as predicted, the others anything.
        const predicted = predictedBytes(piece, source.subarray(gap, gap + sourceBytesOf(piece)));
        predicted.forEach((byte, i) => {
          if (i % 16 < 8) target[head + i] = byte;
        });
        const pieces = [literal(head), piece, literal(tail)].filter(({ length }) => length > 0);
        roundTrip(pieces, source, target);
      }),
      { numRuns: 15 },
    );
  });
}

test('two casts, the second of which goes on where the first stopped in the source, need no shift', () => {
  const source = noise(640, 1);
  const [first, second] = [castPiece(64, 0, { from: CAST_F32, to: CAST_F16, scales: null }), 128] as const;
  const pieces = [first, castPiece(256, second, { from: CAST_F32, to: CAST_BF16, scales: null })];
  roundTrip(pieces, source, noise(320, 2));
});

/** An op over `targetBytes` with these parameters behind its length, and as much data as it asks for. */
function castOp(type: number, targetBytes: number, parameters: number[], dataBytes = targetBytes): Uint8Array {
  // Source offset 0: the segments below start at target offset 0.
  const ops = [3 | (type << 2), targetBytes, ...parameters];
  return Uint8Array.from([ops.length, ...ops, ...Array<number>(dataBytes).fill(0)]);
}

const types = (from: number, to: number): number => (from << 4) | to;

for (const [what, plain, targetBytes, message] of [
  ['unknown types', castOp(0, 2, [types(10, CAST_F16)]), 2, /known cast types/],
  ['an unknown type to', castOp(0, 2, [types(CAST_F32, 10)]), 2, /known cast types/],
  ['int8 as the type from', castOp(0, 2, [types(CAST_I8, CAST_F16)]), 2, /known cast types/],
  ['no scale', castOp(0, 2, [types(CAST_F32, CAST_I8), 0, 1, 0, 0]), 2, /at least one scale/],
  ['a scale for no element', castOp(0, 2, [types(CAST_F32, CAST_I8), 1, 0, 0, 0], 6), 2, /at least one scale/],
  ['fewer scales than promised', castOp(0, 2, [types(CAST_F32, CAST_I8), 9, 1, 0, 0], 20), 2, /20 bytes of data/],
  ['scales past 2^32', castOp(0, 2, [types(CAST_F32, CAST_I8), 255, 255, 255, 255, 31, 1, 0, 0]), 2, /bytes of data/],
  [
    'a zero point of no type',
    castOp(0, 2, [types(CAST_F32, CAST_I8), 1, 1, 0, 0x80, 4], 6),
    2,
    /zero points below 512/,
  ],
  ['half a block', castOp(0, 17, [types(CAST_F32, CAST_Q4_0)]), 17, /a multiple of 18 bytes/],
  ['half a block of the source', castOp(0, 32, [types(CAST_Q8_0, CAST_F16)]), 32, /a multiple of 32 elements/],
  ['an element type over two blocks', castOp(2, 4, [types(CAST_F32, CAST_F16)]), 4, /divides 2 bytes/],
  ['a source that is too short', castOp(0, 102, [types(CAST_F32, CAST_Q8_0)]), 102, /inside the source/],
  ['no parameters', castOp(0, 2, []), 2, /the end of the ops/],
  ['data cut short', castOp(0, 2, [types(CAST_F32, CAST_F16)], 1), 2, /bytes of data/],
] as const) {
  test(`refused: ${what}`, () => {
    assert.throws(
      () => run(plain, new Uint8Array(300), 0, targetBytes, 256),
      (error) => error instanceof InvalidPatch && error.code === 'BAD_OP' && message.test(error.message),
    );
  });
}
