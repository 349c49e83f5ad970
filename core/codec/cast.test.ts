import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fromHex } from '../hex.js';
import {
  CAST_BF16,
  CAST_BLOCKS,
  CAST_F16,
  CAST_F32,
  CAST_I8,
  CAST_I32,
  CAST_Q4_0,
  CAST_Q4_1,
  CAST_Q5_0,
  CAST_Q5_1,
  CAST_Q8_0,
  castRun,
  type Scales,
} from './cast.js';
import { GGML_VECTORS, type QuantName } from './ggml-vectors.test.js';

const QUANTS: Readonly<Record<QuantName, number>> = {
  q8_0: CAST_Q8_0,
  q4_0: CAST_Q4_0,
  q4_1: CAST_Q4_1,
  q5_0: CAST_Q5_0,
  q5_1: CAST_Q5_1,
};

function cast(from: number, to: number, source: Uint8Array, scales: Scales | null = null, first = 0): Uint8Array {
  const elements = (source.length / CAST_BLOCKS[from]!.bytes) * CAST_BLOCKS[from]!.elements;
  const target = new Uint8Array((elements / CAST_BLOCKS[to]!.elements) * CAST_BLOCKS[to]!.bytes);
  castRun({ from, to }, source, target, scales, first);
  return target;
}

function floats(...values: number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

function scalesOf(inner: number, ...values: number[]): Scales {
  return { bytes: floats(...values), inner, zero: 0 };
}

function ints(bytes: Uint8Array): number[] {
  return [...new Int32Array(bytes.slice().buffer)];
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('ggml’s reference quantisers', () => {
  for (const [name, type] of Object.entries(QUANTS) as [QuantName, number][]) {
    test(`write ${name} bit for bit as castRun does`, () => {
      for (const vector of GGML_VECTORS) {
        assert.equal(hex(cast(CAST_F32, type, fromHex(vector.floats))), vector.blocks[name], vector.name);
      }
    });

    test(`read ${name} bit for bit as castRun does`, () => {
      const read = GGML_VECTORS.filter((vector) => vector.read !== undefined);
      assert.equal(read.length, 3);
      for (const vector of read) {
        assert.equal(hex(cast(type, CAST_F32, fromHex(vector.blocks[name]))), vector.read![name], vector.name);
      }
    });
  }

  test('from one block type to another go through what the block reads as', () => {
    const { blocks, read } = GGML_VECTORS[0]!;
    for (const from of ['q8_0', 'q5_1'] as const) {
      assert.equal(
        hex(cast(QUANTS[from], CAST_Q4_0, fromHex(blocks[from]))),
        hex(cast(CAST_F32, CAST_Q4_0, fromHex(read![from]))),
      );
    }
  });
});

describe('floats', () => {
  test('narrow to the nearest even and widen exactly, a NaN with the top of its payload', () => {
    const source = new Uint8Array(Uint32Array.of(0x3f801000, 0xbf803000, 0x7fa02000, 0x80000000, 0x33000001).buffer);
    assert.equal(hex(cast(CAST_F32, CAST_F16, source)), '003c02bc017f00800100');
    assert.equal(hex(cast(CAST_F32, CAST_BF16, source)), '803f80bfe07f00800033');
    assert.equal(hex(cast(CAST_F16, CAST_F32, fromHex('017d'))), '0020a07f', 'a signalling NaN keeps its bits');
    assert.equal(hex(cast(CAST_BF16, CAST_F32, fromHex('a07f'))), '0000a07f');
  });

  test('a NaN that arithmetic makes is the same on every machine', () => {
    // An infinite scale times zero.
    const block = fromHex(`00fc${'00'.repeat(32)}`);
    assert.equal(hex(cast(CAST_Q8_0, CAST_F32, block)), '0000c07f'.repeat(32));
    assert.equal(hex(cast(CAST_Q8_0, CAST_F16, block)), '007e'.repeat(32));
  });
});

describe('values no model should hold', () => {
  const nan = Number.NaN;

  test('make the same block on every machine: NaN as a scale is 7e00, as an element 0', () => {
    const withNaN = floats(...Array.from({ length: 32 }, (_, i) => (i === 3 ? nan : i - 16)));
    const zeros = '00'.repeat(16);
    assert.equal(hex(cast(CAST_F32, CAST_Q8_0, withNaN)), `007e${zeros}${zeros}`);
    assert.equal(hex(cast(CAST_F32, CAST_Q4_1, withNaN)), `007e007e${zeros}`);
    assert.equal(hex(cast(CAST_F32, CAST_Q5_1, withNaN)), `007e007e00000000${zeros}`);
    // The greatest magnitude is looked for among the others.
    assert.equal(hex(cast(CAST_F32, CAST_Q4_0, withNaN)), '0040809191a0a2b3b3c4c4d5d5e6e6f7f7f8');
  });

  test('infinity as an element of q8_0 is 0, of the others an end of their range', () => {
    const infinite = floats(Infinity, ...Array<number>(31).fill(1));
    assert.equal(hex(cast(CAST_F32, CAST_Q8_0, infinite)), `007c${'00'.repeat(32)}`);
    assert.equal(hex(cast(CAST_F32, CAST_Q4_0, infinite)), `00fc${'80'}${'88'.repeat(15)}`);
    assert.equal(hex(cast(CAST_F32, CAST_Q4_1, infinite)), `007c003c${'00'.repeat(16)}`);
  });

  test('-0 is less than 0 where a minimum is taken', () => {
    const zeros = floats(0, -0, ...Array<number>(30).fill(0));
    assert.equal(hex(cast(CAST_F32, CAST_Q4_1, zeros)), `00000080${'00'.repeat(16)}`);
  });
});

describe('int8 and int32 with scales', () => {
  test('round half away from zero and stop at the ends of the type', () => {
    const source = floats(0.25, -0.25, 0.75, -0.75, 0.24, 1000, -1000, 63.25, -64.25);
    const expected = [1, -1, 2, -2, 0, 127, -128, 127, -128];
    assert.deepEqual([...new Int8Array(cast(CAST_F32, CAST_I8, source, scalesOf(1, 0.5)).buffer)], expected);
    const wide = cast(CAST_F32, CAST_I32, floats(0.25, -0.25, 1e30, -1e30, 3), scalesOf(1, 0.5));
    assert.deepEqual(ints(wide), [1, -1, 0x7fffffff, -0x80000000, 6]);
  });

  test('the quotient is taken in binary64: a product with the rounded inverse would round otherwise', () => {
    const scale = Math.fround(19 / 37);
    const value = Math.fround(1.5 * scale);
    assert.ok(value / scale < 1.5 && Math.fround(value * Math.fround(1 / scale)) === 1.5);
    assert.deepEqual(ints(cast(CAST_F32, CAST_I32, floats(value), scalesOf(1, scale))), [1]);
  });

  test('a scale of zero, of infinity, of NaN, and a value that is NaN, harm nothing', () => {
    const values = floats(1, -1, 0, Number.NaN);
    assert.deepEqual(ints(cast(CAST_F32, CAST_I32, values, scalesOf(1, 0))), [0x7fffffff, -0x80000000, 0, 0]);
    for (const scale of [Number.NaN, Infinity]) {
      assert.deepEqual(ints(cast(CAST_F32, CAST_I32, values, scalesOf(1, scale))), [0, 0, 0, 0]);
    }
  });

  test('each element has the scale of its channel, counted on from the run’s first', () => {
    const ones = floats(...Array<number>(8).fill(1));
    const scales = scalesOf(2, 1, 0.5, 0.25);
    assert.deepEqual(ints(cast(CAST_F32, CAST_I32, ones, scales)), [1, 1, 2, 2, 4, 4, 1, 1]);
    assert.deepEqual(ints(cast(CAST_F32, CAST_I32, ones, scales, 3)), [2, 4, 4, 1, 1, 2, 2, 4]);
  });
});
