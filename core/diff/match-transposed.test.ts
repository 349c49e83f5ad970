import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DType, ModelFormat, Tensor } from '../formats/model.js';
import { MemorySource } from '../memory-source.js';
import { bytesOf, tuned, weights } from './build-weights.test.js';
import type { ModelToMatch } from './match-tensors.js';
import { matchTransposed, transposedPlaces } from './match-transposed.js';

function modelOf(
  shape: readonly number[],
  values: Float32Array,
  name = 'w',
  format: ModelFormat = 'ONNX',
): ModelToMatch {
  const place = { offset: 0, length: 4 * values.length };
  const tensor: Tensor = { name, aliases: [], dtype: 'f32' as DType, shape, ...place, scales: [], scaleAxis: 0 };
  return { layout: { format, tensors: [tensor], warning: null }, bytes: new MemorySource(bytesOf(values)) };
}

/** Matrices of rows by columns, each transposed. */
function turned(values: Float32Array, rows: number, columns: number): Float32Array {
  return Float32Array.from({ length: values.length }, (_, i) => {
    const inMatrix = i % (rows * columns);
    return values[i - inMatrix + (inMatrix % rows) * columns + Math.floor(inMatrix / rows)]!;
  });
}

const OLD = weights(6 * 20 * 30, 1);
const NOW = tuned(OLD, 2, 0.05);

/** Of the only tensor's parts: [offset in source and target, rows, columns]. */
function found(source: ModelToMatch, target: ModelToMatch, bases: (Tensor | null)[] = [null]): number[][] | null {
  const [parts] = matchTransposed(source, target, bases);
  return (
    parts?.map(({ tensor, base, isTransposed }) => {
      assert.ok(isTransposed);
      assert.equal(base!.offset, tensor.offset);
      return [tensor.offset, ...tensor.shape];
    }) ?? null
  );
}

test('a matrix that was transposed and trained on is found, by name or by size', () => {
  const source = modelOf([120, 30], OLD);
  assert.deepEqual(found(source, modelOf([30, 120], turned(NOW, 120, 30))), [[0, 30, 120]]);
  assert.deepEqual(found(source, modelOf([30, 120], turned(NOW, 120, 30), 'renamed')), [[0, 30, 120]]);
  const reversed = modelOf([30, 120], OLD, 'w', 'GGUF');
  assert.deepEqual(found(reversed, modelOf([120, 30], turned(NOW, 120, 30), 'w', 'GGUF')), [[0, 30, 120]]);
});

test('filters with channels last where they came first, in each output channel or over all', () => {
  const source = modelOf([6, 20, 5, 6], OLD);
  const channelsLast = modelOf([6, 5, 6, 20], turned(NOW, 20, 30));
  assert.deepEqual(
    found(source, channelsLast),
    [0, 1, 2, 3, 4, 5].map((part) => [part * 2400, 30, 20]),
  );
  assert.deepEqual(found(source, modelOf([20, 5, 6, 6], turned(NOW, 6, 600))), [[0, 600, 6]]);
});

test('a square matrix is, though its namesake has its shape', () => {
  const square = OLD.subarray(0, 3600);
  const source = modelOf([60, 60], square);
  const bases = [source.layout.tensors[0]!];
  assert.deepEqual(found(source, modelOf([60, 60], turned(square, 60, 60)), bases), [[0, 60, 60]]);
  assert.equal(found(source, modelOf([60, 60], tuned(square, 3)), bases), null);
});

test('weights of another training, or of the shape and not transposed, are not', () => {
  const source = modelOf([120, 30], OLD);
  assert.equal(found(source, modelOf([30, 120], weights(3600, 9))), null);
  assert.equal(found(source, modelOf([30, 120], NOW)), null);
  assert.equal(found(source, modelOf([120, 30], turned(NOW, 120, 30))), null);
});

test('a piece that begins in a row reads from that row on', () => {
  const source = modelOf([120, 30], OLD);
  const [parts] = matchTransposed(source, modelOf([30, 120], turned(NOW, 120, 30)), [null]);
  assert.deepEqual(transposedPlaces(parts![0]!, 250), { columns: 120, column: 10, stride: 30, width: 4, source: 8 });
});
