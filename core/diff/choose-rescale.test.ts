import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CAST_I8, CAST_I32 } from '../codec/cast.js';
import type { DType, Tensor } from '../formats/model.js';
import { noise } from '../patch/build-patch.test.js';
import { weights } from './build-weights.test.js';
import { takeResidual } from './cast-residual.js';
import { channelAt } from './channel-axes.js';
import { chooseRescaled, chooseRescaledWords, type RescaleRun } from './choose-rescale.js';
import type { Piece } from './pieces.js';
import { takeDelta } from './take-delta.js';

function tensorOf(dtype: DType, shape: readonly number[], bytes: number, more: Partial<Tensor> = {}): Tensor {
  return { name: 'w', aliases: [], dtype, shape, offset: 0, length: bytes, scales: [], scaleAxis: 0, ...more };
}

function runOf(tensor: Tensor, source: Uint8Array, target: Uint8Array, mostScales = 4096, base = tensor): RescaleRun {
  return { base, tensor, sourceOffset: 0, start: 0, source, target, mostScales, isNeural: true };
}

/** Share of the elements that the pieces predict. */
function predicted(pieces: readonly Piece[], source: Uint8Array, target: Uint8Array): number {
  let at = 0;
  let right = 0;
  for (const piece of pieces) {
    const [old, now] = [source.subarray(at, at + piece.length), target.subarray(at, at + piece.length)];
    const residual = new Uint8Array(piece.length);
    if (piece.cast === undefined) takeDelta(0, old, now, residual);
    else takeResidual(piece, piece.cast, old, now, residual);
    right += residual.filter((value) => value === 0).length;
    at += piece.length;
  }
  assert.equal(at, target.length);
  return right / target.length;
}

const int8 = (values: ArrayLike<number>): Uint8Array =>
  new Uint8Array(Int8Array.from(values, (value) => Math.max(-128, Math.min(127, Math.round(value)))).buffer);

/** Old weights, and the same with a factor for each row and each column. */
function balanced(rows: number, columns: number, place: (row: number, column: number) => number): Uint8Array[] {
  const values = weights(rows * columns, 5);
  const old = new Float32Array(rows * columns);
  const now = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = place(row, column);
      old[at] = values[at]! * 700;
      now[at] = old[at]! * (0.6 + (row % 7) / 9) * (1.3 - (column % 5) / 8);
    }
  }
  return [int8(old), int8(now)];
}

test('factors of rows and columns that no container names are found', () => {
  const [old, now] = balanced(64, 96, (row, column) => row * 96 + column);
  const pieces = chooseRescaled(CAST_I8, runOf(tensorOf('i8', [64, 96], 6144), old!, now!))!;
  assert.equal(pieces.length, 1);
  assert.deepEqual([pieces[0]!.cast!.scales!.scaleCount, pieces[0]!.cast!.scales!.crossCount], [64, 96]);
  assert.ok(predicted(pieces, old!, now!) > 0.7, `${predicted(pieces, old!, now!)}`);
});

test('and where output channels lie interleaved by 16', () => {
  const place = (row: number, column: number): number => ((row >> 4) * 96 + column) * 16 + (row & 15);
  const [old, now] = balanced(64, 96, place);
  const tensor = tensorOf('i8', [1, 1, 96, 64], 6144, { interleaved: 16 });
  const pieces = chooseRescaled(CAST_I8, runOf(tensor, old!, now!))!;
  assert.ok(predicted(pieces, old!, now!) > 0.7, `${predicted(pieces, old!, now!)}`);
});

test('an op has no more ratios than a device takes: rows go to several', () => {
  const [old, now] = balanced(100, 60, (row, column) => row * 60 + column);
  const pieces = chooseRescaled(CAST_I8, runOf(tensorOf('i8', [100, 60], 6000), old!, now!, 32))!;
  assert.deepEqual(
    pieces.map(({ cast }) => [cast!.scales!.scaleCount, cast!.scales!.crossCount]),
    [
      [32, 0],
      [32, 0],
      [32, 0],
      [4, 0],
    ],
  );
});

test('weights of another training are left alone, uniform ones and bell-shaped ones', () => {
  const trainings = [1, 2].map((seed) => int8(weights(36_864, seed).map((value) => value * 700)));
  for (const [old, now] of [[noise(36_864, 1), noise(36_864, 2)], trainings]) {
    assert.equal(chooseRescaled(CAST_I8, runOf(tensorOf('i8', [64, 576], 36_864), old!, now!)), null);
  }
});

test('biases whose scale changed are told by one ratio, or by the powers of two of their container', () => {
  const old = Int32Array.from(weights(64, 3), (value) => value * 3e5);
  const once = Int32Array.from(old, (value) => Math.round(value * 1.23456));
  const bytes = (values: Int32Array): Uint8Array => new Uint8Array(values.buffer);
  const [one] = chooseRescaled(CAST_I32, runOf(tensorOf('i32', [64], 256), bytes(old), bytes(once)))!;
  assert.equal(one!.cast!.scales!.scaleCount, 1);
  const scales = Array.from({ length: 64 }, (_, i) => 2 ** -(10 + (i % 3)));
  const shifted = Int32Array.from(old, (value, i) => Math.round(value * (2 ** -10 / scales[i]!)));
  const [base, tensor] = [
    tensorOf('i32', [64], 256, { scales: scales.map(() => 2 ** -10) }),
    tensorOf('i32', [64], 256, { scales }),
  ];
  const [many] = chooseRescaled(CAST_I32, runOf(tensor, bytes(old), bytes(shifted), 4096, base))!;
  assert.equal(many!.cast!.scales!.scaleCount, 64);
});

test('a vector of scales that all grew alike is one ratio', () => {
  const old = weights(32, 4).map(Math.abs);
  const now = old.map((value) => value * 1.0371);
  const bytes = (values: Float32Array): Uint8Array => new Uint8Array(values.buffer);
  const run = runOf(tensorOf('f32', [32], 128), bytes(old), bytes(now));
  assert.equal(chooseRescaledWords(run)?.cast?.scales?.scaleCount, 1);
  assert.equal(chooseRescaledWords({ ...run, target: noise(128, 3) }), null);
});

test('a place in an interleaved axis is that of its channel', () => {
  const axis = { count: 32, inner: 1, group: 16, outer: 16 * 9 };
  assert.deepEqual(
    [0, 15, 16, 143, 144, 160, 287, 288].map((element) => channelAt(axis, element)),
    [0, 15, 0, 15, 16, 16, 31, 0],
  );
});
