/**
 * Neural segments end to end: what the encoder makes of any plan the runner turns into the target, in both decode classes and
 * through any I/O buffer; and whatever a hostile payload says, the runner ends, within its bounds.
 */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Prng } from '../../targets/sim/prng.js';
import { NeuralEncoder } from '../diff/neural-encoder.js';
import { castPiece, copy, delta, literal, mergePieces, type Piece, sourceBytesOf } from '../diff/pieces.js';
import { InvalidPatch } from '../errors.js';
import { MemorySource } from '../memory-source.js';
import { noise } from '../patch/build-patch.test.js';
import type { ByteSource } from '../ports.js';
import { CAST_F16, CAST_F32, CAST_I8 } from './cast.js';
import { NO_SCALES } from './cast-op.js';
import { anyPlaces, CAST_PAIRS, castOfElements, predictedBytes } from './cast-rig.test.js';
import { CLASSES } from './coder-rig.test.js';
import { ELEMENT_BYTES } from './elements.js';
import { createMixedModels } from './mixed-models.js';
import { MAX_NEURAL_SCALES, NEURAL_CONTEXT_BYTES, NeuralRunner, type NeuralSegment } from './neural-runner.js';

const IO_BYTES = 256;
const TYPES = ELEMENT_BYTES.map((_, type) => type);
const NO_BYTES = new Uint8Array(0);

/** A source that fails the test when it is read outside of itself, as MemorySource does too, or more than an I/O buffer at a time. */
function strictSource(bytes: Uint8Array, mostBytes: number): ByteSource {
  const inner = new MemorySource(bytes);
  return {
    size: bytes.length,
    read(offset, into) {
      assert.ok(into.length <= mostBytes, `${into.length} bytes at a time`);
      inner.read(offset, into);
    },
  };
}

/** A decoder with its memory, which starts out dirty, and what it wrote. */
class Device {
  readonly out: number[] = [];
  readonly memory: Uint8Array;
  readonly runner: NeuralRunner;
  private readonly io: Uint8Array;
  private readonly guarded: Uint8Array[];

  constructor(decodeClass: number, source: Uint8Array, segmentBytes: number, ioBytes = IO_BYTES) {
    // As the applier cuts it, with guards between: contexts, history, I/O.
    const contextBytes = NEURAL_CONTEXT_BYTES[decodeClass]!;
    const historyBytes = decodeClass === 0 ? 0 : segmentBytes;
    const guard = 64;
    const memory = new Uint8Array(contextBytes + historyBytes + ioBytes + 3 * guard).fill(0xa5);
    let used = 0;
    const take = (length: number): Uint8Array => {
      used += length;
      return memory.subarray(used - length, used);
    };
    const contexts = take(contextBytes);
    const guards = [take(guard)];
    const history = take(historyBytes);
    guards.push(take(guard));
    this.io = take(ioBytes);
    guards.push(take(guard));
    this.memory = memory;
    this.guarded = guards;
    this.runner = new NeuralRunner({
      source: strictSource(source, ioBytes),
      sink: { write: (bytes) => void this.out.push(...bytes) },
      io: this.io,
      contexts,
      history,
      mixedModels: decodeClass === 0 ? null : createMixedModels,
      priors: new Uint8Array(0),
    });
  }

  /** Runs a segment to its end; gives the target. Every step makes at least a byte and at most an I/O buffer. */
  run(segment: NeuralSegment): number[] {
    this.out.length = 0;
    this.runner.begin(segment);
    for (let complete = false; !complete; ) {
      const before = this.out.length;
      complete = this.runner.step();
      const made = this.out.length - before;
      assert.ok(made >= 1 && made <= this.io.length, `a step made ${made} bytes`);
      assert.ok(this.out.length <= segment.targetBytes);
      assert.equal(complete, this.out.length === segment.targetBytes);
    }
    return this.out;
  }

  assertGuards(): void {
    for (const guard of this.guarded)
      assert.ok(
        guard.every((byte) => byte === 0xa5),
        'nothing was written outside',
      );
  }
}

interface Plan {
  readonly pieces: readonly Piece[];
  readonly source: Uint8Array;
  readonly target: Uint8Array;
  readonly targetOffset: number;
  readonly dictionary: { readonly offset: number; readonly bytes: Uint8Array };
}

const encoders = [new NeuralEncoder(0), new NeuralEncoder(1)];

function encode({ pieces, source, target, targetOffset, dictionary }: Plan, decodeClass: number): Uint8Array {
  const read = (offset: number, length: number): Uint8Array => source.slice(offset, offset + length);
  const before = target.slice();
  // One encoder for all, as in a patch of many segments.
  const payload = encoders[decodeClass]!.encode(pieces, target, targetOffset, read, dictionary).slice();
  assert.deepEqual(target, before);
  return payload;
}

function segmentOf(plan: Plan, payload: Uint8Array, decodeClass: number): NeuralSegment {
  const { target, targetOffset, dictionary } = plan;
  const some = decodeClass === 1;
  return {
    payload,
    targetOffset,
    targetBytes: target.length,
    dictionary: some ? dictionary.bytes : NO_BYTES,
    dictionaryOffset: some ? dictionary.offset : 0,
  };
}

function assertRoundTrip(plan: Plan): void {
  for (const { decodeClass } of CLASSES) {
    const payload = encode(plan, decodeClass);
    for (const ioBytes of [IO_BYTES, 65536]) {
      const device = new Device(decodeClass, plan.source, plan.target.length, ioBytes);
      assert.deepEqual(device.run(segmentOf(plan, payload, decodeClass)), [...plan.target], `class ${decodeClass}`);
      device.assertGuards();
    }
  }
}

const SOURCE = noise(20_000, 1);

/** Fields for a piece of any kind; which of them count depends on the kind. */
const anyPiece = fc.record({
  kind: fc.nat(3),
  type: fc.constantFrom(...TYPES),
  count: fc.integer({ min: 1, max: 200 }),
  source: fc.nat(9000),
  columns: fc.integer({ min: 1, max: 90 }),
  column: fc.nat(89),
  /** Of a delta: how much of it is unchanged, in quarters. */
  same: fc.nat(4),
  cast: fc.constantFrom(...CAST_PAIRS),
  places: anyPlaces,
});
type PieceFields = typeof anyPiece extends fc.Arbitrary<infer Fields> ? Fields : never;

function pieceOf({ kind, type, count, source, columns, column, cast, places }: PieceFields): Piece {
  const length = count * ELEMENT_BYTES[type]!;
  if (kind === 0) return copy(length, source);
  const place = { columns, column: column % columns };
  if (kind === 1) return { ...delta(length, source, type), ...place };
  if (kind === 2) return literal(length, type);
  const piece = castOfElements(count, source, cast, places);
  return cast.from === cast.to ? { ...piece, ...place } : piece;
}

/** A target for the pieces: copies are copies, the others partly what they are predicted from. */
function targetFor(pieces: readonly Piece[], same: number): Uint8Array {
  const target = noise(
    pieces.reduce((sum, { length }) => sum + length, 0),
    7,
  );
  let at = 0;
  for (const piece of pieces) {
    const base = SOURCE.subarray(piece.source, piece.source + sourceBytesOf(piece));
    const predicted = piece.cast === undefined ? base : predictedBytes(piece, base);
    for (let i = 0; i < piece.length && piece.kind !== 2; i++)
      if (piece.kind === 0 || (i >> 5) % 4 < same) target[at + i] = predicted[i]!;
    at += piece.length;
  }
  return target;
}

test('any plan gives the target in both classes, through I/O buffers of 256 and 65536 bytes', () => {
  fc.assert(
    fc.property(
      fc.array(anyPiece, { minLength: 1, maxLength: 8 }),
      fc.oneof(fc.nat(9), fc.nat(2 ** 33)),
      fc.nat(4),
      fc.record({ offset: fc.nat(5000), length: fc.nat(3000) }),
      (fields, targetOffset, same, range) => {
        const pieces = mergePieces(fields.map(pieceOf), same % 2 === 0);
        assertRoundTrip({
          pieces,
          source: SOURCE,
          target: targetFor(pieces, same),
          targetOffset,
          dictionary: { offset: range.offset, bytes: SOURCE.slice(range.offset, range.offset + range.length) },
        });
      },
    ),
    { numRuns: 250, seed: 1 },
  );
});

test('differences from a transposed matrix, in ops that begin and end anywhere in its rows', () => {
  const dictionary = { offset: 0, bytes: SOURCE };
  for (const type of TYPES) {
    const width = ELEMENT_BYTES[type]!;
    for (const [columns, column, stride, count] of [
      [40, 0, 30, 1200],
      [40, 17, 30, 900],
      [3, 2, 400, 1100],
      [1000, 999, 2, 1500],
      [7, 3, 50, 2],
      [1, 0, 1, 5],
    ] as const) {
      const turned = { ...delta(count * width, 5, type), columns, column, stride };
      const pieces = [literal(3), turned, delta(10 * width, 40, type)];
      const plan = { pieces, source: SOURCE, target: targetFor(pieces, 2), targetOffset: 900, dictionary };
      const payload = encode(plan, 1);
      for (const ioBytes of [IO_BYTES, 65536])
        assert.deepEqual(new Device(1, SOURCE, plan.target.length, ioBytes).run(segmentOf(plan, payload, 1)), [
          ...plan.target,
        ]);
    }
  }
});

test('ops longer than an I/O buffer, of every kind and type, at odd offsets', () => {
  for (const type of TYPES) {
    const width = ELEMENT_BYTES[type]!;
    const pieces = [
      literal(3),
      delta(1500 * width, 7, type),
      literal(1500 * width, type),
      copy(1501, 3),
      { ...delta(1700 * width, 1, type), columns: 1000, column: 999 },
    ];
    for (const same of [0, 3]) {
      const dictionary = { offset: 0, bytes: SOURCE };
      assertRoundTrip({ pieces, source: SOURCE, target: targetFor(pieces, same), targetOffset: 12_345, dictionary });
    }
  }
});

for (const { name, decodeClass } of CLASSES) {
  test(`as many scales as a cast may have, and not one more: ${name}`, () => {
    const most = MAX_NEURAL_SCALES[decodeClass]!;
    const plan = (count: number): Plan => {
      const scales = { ...NO_SCALES, scaleCount: count, bytes: noise(4 * count, 3) };
      const pieces = [castPiece(600, 0, { from: CAST_F32, to: CAST_I8, scales })];
      return {
        pieces,
        source: SOURCE,
        target: noise(600, 4),
        targetOffset: 0,
        dictionary: { offset: 0, bytes: NO_BYTES },
      };
    };
    const device = new Device(decodeClass, SOURCE, 600);
    const run = (tried: Plan): number[] => device.run(segmentOf(tried, encode(tried, decodeClass), decodeClass));
    assert.deepEqual(run(plan(most)), [...noise(600, 4)]);
    assert.throws(() => run(plan(most + 1)), { code: 'BAD_OP', message: new RegExp(`at most ${most} scales`) });
  });
}

test('segments after each other on one device do not touch each other', () => {
  const plans = [0, 1, 2, 1, 0].map((seed): Plan => {
    const pieces = [literal(40), delta(400, 9 * seed, 4), literal(200, 3), copy(30, 5)];
    const target = targetFor(pieces, seed);
    return {
      pieces,
      source: SOURCE,
      target,
      targetOffset: seed,
      dictionary: { offset: 50, bytes: SOURCE.slice(50, 99) },
    };
  });
  for (const { decodeClass } of CLASSES) {
    const device = new Device(decodeClass, SOURCE, 1000);
    for (const plan of plans)
      assert.deepEqual(device.run(segmentOf(plan, encode(plan, decodeClass), decodeClass)), [...plan.target]);
  }
});

describe('a hostile payload', () => {
  const plan = ((): Plan => {
    const pieces = [
      literal(60),
      { ...delta(300, 10, 4), columns: 7 },
      literal(80, 6),
      castPiece(64, 40, { from: CAST_F32, to: CAST_F16, scales: null }),
      castPiece(50, 90, {
        from: CAST_F16,
        to: CAST_I8,
        scales: { ...NO_SCALES, bytes: noise(12, 5), scaleCount: 3, inner: 4, outer: 4, phase: 2 },
      }),
      delta(200, 600, 6),
      copy(90, 17),
      delta(120, 777, 5),
    ];
    const dictionary = { offset: 100, bytes: SOURCE.slice(100, 400) };
    return { pieces, source: SOURCE, target: targetFor(pieces, 2), targetOffset: 33, dictionary };
  })();

  /** Ends in InvalidPatch or in as many bytes as were declared. */
  function assertEnds(device: Device, segment: NeuralSegment): boolean {
    try {
      assert.equal(device.run(segment).length, segment.targetBytes);
      return true;
    } catch (error) {
      assert.ok(error instanceof InvalidPatch, String(error));
      assert.equal(error.code, 'BAD_OP');
      assert.match(error.message, /^segment at target byte 33: expected /);
      assert.ok(device.out.length < segment.targetBytes);
      return false;
    }
  }

  for (const { name, decodeClass } of CLASSES) {
    // Each clears the class's memory first; `npm run fuzz` does the millions.
    const runs = decodeClass === 0 ? 20_000 : 4000;

    test(`of which ${runs} are random or mutated: ${name} ends with an error or as many bytes as declared`, () => {
      const random = new Prng(decodeClass + 1);
      const sound = encode(plan, decodeClass);
      const segment = segmentOf(plan, sound, decodeClass);
      const device = new Device(decodeClass, SOURCE, plan.target.length);
      let whole = 0;
      for (let run = 0; run < runs; run++) {
        const payload =
          run % 4 === 0 ? Uint8Array.from({ length: random.below(80) }, () => random.below(256)) : sound.slice();
        if (run % 4 === 1) payload[random.below(payload.length)]! ^= 1 << random.below(8);
        if (run % 4 === 2) payload.fill(random.below(256), random.below(payload.length));
        if (run % 4 === 3)
          for (let i = 0; i < 3; i++) payload[random.below(Math.min(40, payload.length))] = random.below(256);
        const cut = run % 8 < 4 ? payload : payload.subarray(0, random.below(payload.length + 1));
        const targetBytes = run % 16 === 0 ? 1 + random.below(plan.target.length) : plan.target.length;
        if (assertEnds(device, { ...segment, payload: cut, targetBytes })) whole++;
      }
      device.assertGuards();
      assert.ok(whole > runs / 50 && whole < runs, `${whole} of ${runs} ran to their end`);
      assert.deepEqual(device.run(segment), [...plan.target], 'and a sound one decodes as before');
    });

    test(`that asks for what is not there is refused: ${name}`, () => {
      const refused = (pieces: readonly Piece[], message: RegExp, targetBytes: number, source = SOURCE): void => {
        const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
        // The encoder reads what it is told; the device has less.
        const generous = { ...plan, pieces, source: noise(40_000, 2), target: noise(length, 3) };
        const payload = encode(generous, decodeClass);
        const device = new Device(decodeClass, source, 70_000);
        const segment = { ...segmentOf(generous, payload, decodeClass), targetBytes };
        assert.throws(() => device.run(segment), { name: 'InvalidPatch', code: 'BAD_OP', message });
      };
      refused([literal(21)], /1 to 20 bytes in whole elements, got 21/, 20);
      refused([literal(9), literal(12, 4)], /1 to 11 bytes in whole elements, got 12/, 20);
      refused([{ ...literal(6), type: 4 }], /whole elements, got 6/, 20);
      refused([{ ...literal(6), type: 7 }], /a known element type, got 7/, 20);
      refused([copy(20, 19_981)], /a range inside the source's 20000 bytes, got 19981\+20/, 20);
      refused([copy(20, -1)], /inside the source/, 20);
      refused([{ ...delta(20, 0, 4), source: 2 ** 52 }], /inside the source/, 20);
      refused([delta(20, 19_984, 4)], /inside the source/, 20);
      refused([copy(20, 0)], /inside the source's 0 bytes/, 20, NO_BYTES);
      const cast = (from: number, to: number, length: number): Piece =>
        castPiece(length, 0, { from, to, scales: null });
      refused([cast(CAST_F32, CAST_F16, 2 * 5001)], /inside the source/, 10_002);
      refused([{ ...cast(CAST_F32, CAST_F16, 6), type: 2 }], /divides 2 bytes|whole elements/, 20);
      if (decodeClass === 0) return;
      refused([{ ...delta(20, 0, 0), columns: 5, column: 5 }], /a column of the row, got 5/, 20);
      const turned = { columns: 4, column: 0, stride: 5 };
      refused([{ ...delta(20, 19_981, 0), ...turned }], /inside the source's 20000 bytes, got 19981\+20/, 20);
      refused([{ ...delta(18, 19_982, 0), ...turned }], /got 19982\+19/, 20);
      refused([{ ...delta(4, 0, 0), ...turned, stride: 2 ** 30 + 1 }], /inside the source/, 4);
    });

    test(`of nothing but the same byte, or of nothing, ends for every length of target: ${name}`, () => {
      const device = new Device(decodeClass, SOURCE, 70_000);
      for (const fill of [0x00, 0x55, 0xff]) {
        for (const length of [0, 1, 4, 50]) {
          for (const targetBytes of [1, 2, 255, 257, 70_000])
            assertEnds(device, { ...segmentOf(plan, new Uint8Array(length).fill(fill), decodeClass), targetBytes });
        }
      }
      device.assertGuards();
    });
  }
});
