/**
 * What a release does to a model besides training it, and what each costs: every case goes through createPatch and applyPatch,
 * on built models, and its bound is a share of the target. Weights are noise, so whatever is not understood costs all of it.
 */

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { applyPatch, createPatch } from '../../hil-tests/support/in-thread.js';
import type { PatchStats, Profile } from '../../targets/node/index.js';
import { CAST_BF16, CAST_F16, CAST_Q4_0, CAST_Q5_1, CAST_Q8_0 } from '../codec/cast.js';
import { buildGguf, TYPE as GGUF } from '../formats/build-gguf.test.js';
import { buildTflite, type SmallTensor, TYPE } from '../formats/build-tflite.test.js';
import { readLayout } from '../formats/detect.js';
import { MemorySource } from '../memory-source.js';
import { bytesOf, converted, quantised, rounded, tuned, weights } from './build-weights.test.js';

const folder = mkdtempSync(join(tmpdir(), 'mallorn-changes-'));
after(() => rmSync(folder, { recursive: true }));

/** Creates, applies, compares. */
async function patch(source: Uint8Array, target: Uint8Array, profile: Profile = 'gateway'): Promise<PatchStats> {
  const [patchFile, output] = [join(folder, 'patch'), join(folder, 'output')];
  const stats = await createPatch(source, target, patchFile, { profile });
  applyPatch(source, patchFile, output);
  assert.ok(readFileSync(output).equals(target), 'the target, byte for byte');
  return stats;
}

interface Layer extends Omit<SmallTensor, 'buffer' | 'type'> {
  readonly type: number;
  readonly data: Uint8Array;
}

function tfliteOf(layers: readonly Layer[]): Uint8Array {
  const tensors = layers.map(({ data: _, ...tensor }, i) => ({ ...tensor, buffer: i + 1 }));
  return buildTflite({ buffers: [new Uint8Array(0), ...layers.map(({ data }) => data)], subgraphs: [tensors] });
}

/** A layer of `rows` by `columns` floats. */
function floatLayer(name: string, values: Float32Array, shape: readonly number[]): Layer {
  return { name, type: TYPE.f32, shape, data: bytesOf(values) };
}

function halfLayer(name: string, values: Float32Array, shape: readonly number[]): Layer {
  return { name, type: TYPE.f16, shape, data: converted(values, CAST_F16) };
}

const COLUMNS = 64;
const ROWS = [300, 120, 41, 200];
const LAYERS = ROWS.map((rows, i) => weights(rows * COLUMNS, i + 1));
const TUNED = LAYERS.map((layer, i) => tuned(layer, 50 + i));

function floatModel(layers: readonly Float32Array[], nameOf = (i: number): string => `layer/${i}`): Uint8Array {
  return tfliteOf(layers.map((values, i) => floatLayer(nameOf(i), values, [values.length / COLUMNS, COLUMNS])));
}

const BASE = floatModel(LAYERS);

describe('a change of type', () => {
  const halves = tfliteOf(LAYERS.map((values, i) => halfLayer(`layer/${i}`, values, [ROWS[i]!, COLUMNS])));

  for (const profile of ['gateway', 'mcu'] as const) {
    test(`from fp32 to fp16 costs under a hundredth, back what the lost bits are worth (${profile})`, async () => {
      const { patchSize, targetSize } = await patch(BASE, halves, profile);
      assert.ok(patchSize < targetSize / 100, `${patchSize} of ${targetSize}`);
      const back = await patch(halves, BASE, profile);
      // 13 of 32 bits were dropped; nothing can know them.
      assert.ok(back.patchSize < 0.5 * back.targetSize, `${back.patchSize} of ${back.targetSize}`);
    });

    for (const [where, axis] of [
      ['first', 0],
      ['in the middle', 1],
      ['last', 2],
    ] as const) {
      test(`from fp32 to int8 with a scale per channel, that axis ${where}, costs little (${profile})`, async () => {
        // Segments of either profile cut channels in two: 12 times 31 times 64 elements, and no power of two divides 31.
        const shape = [12, 31, 64];
        const values = [8, 9, 10].map((seed) => weights(12 * 31 * 64, seed));
        const source = tfliteOf(values.map((layer, i) => floatLayer(`conv/${i}`, layer, shape)));
        const int8 = values.map((layer) => quantised(layer, shape, axis));
        const target = tfliteOf(
          int8.map(({ values, scales }, i) => ({
            ...{ name: `quantised/${i}`, type: TYPE.i8, shape, data: bytesOf(values), scales, axis },
          })),
        );
        const { patchSize, targetSize } = await patch(source, target, profile);
        // The scales are in the target and, where a cast uses them, in the patch too.
        const scaleBytes = int8.reduce((sum, { scales }) => sum + 4 * scales.length, 0);
        const overhead = 600 + (profile === 'mcu' ? 3 : 1) * scaleBytes;
        assert.ok(patchSize < overhead, `${patchSize} of ${targetSize}, ${scaleBytes} of them scales`);
      });
    }
  }

  test('of int32 biases, one scale a channel and one for all, costs little beside their float originals', async () => {
    const values = weights(4000, 5);
    const scales = Array.from({ length: 4000 }, (_, i) => Math.fround(1e-6 * (1 + (i % 7))));
    const biases = Int32Array.from(values, (value, i) => Math.round(value / scales[i]!));
    const single = Int32Array.from(values, (value) => Math.round(value / Math.fround(1e-6)));
    const target = tfliteOf([
      { name: 'per channel', type: TYPE.i32, shape: [4000], data: bytesOf(biases), scales, axis: 0 },
      { name: 'for all', type: TYPE.i32, shape: [4000], data: bytesOf(single), scales: [1e-6], axis: 0 },
    ]);
    const { patchSize, targetSize } = await patch(tfliteOf([floatLayer('bias', values, [4000])]), target);
    assert.ok(patchSize < 0.02 * targetSize, `${patchSize} of ${targetSize}`);
  });
});

describe('a GGUF quantised anew', () => {
  const shape = [256, 120];
  const layers = [21, 22, 23].map((seed) => weights(256 * 120, seed));

  function ggufOf(type: number, cast: (layer: Float32Array) => Uint8Array): Uint8Array {
    const data = layers.map(cast);
    const tensors = data.map(({ length }, i) => ({ name: `blk.${i}.ffn`, type, shape, bytes: length }));
    const { bytes } = buildGguf({ tensors });
    for (const { name, offset } of readLayout(new MemorySource(bytes)).tensors) {
      bytes.set(data[tensors.findIndex((tensor) => tensor.name === name)]!, offset);
    }
    return bytes;
  }

  /** llama.cpp converts to f16 first and quantises that. */
  const f16 = ggufOf(GGUF.f16, (layer) => converted(layer, CAST_F16));

  for (const [name, type, cast] of [
    ['q8_0', GGUF.q8_0, CAST_Q8_0],
    ['q4_0', GGUF.q4_0, CAST_Q4_0],
    ['q5_1', 7, CAST_Q5_1],
  ] as const) {
    test(`from f16 to ${name} costs next to nothing`, async () => {
      const { patchSize, targetSize } = await patch(
        f16,
        ggufOf(type, (layer) => converted(rounded(layer, CAST_F16), cast)),
      );
      assert.ok(patchSize < 500, `${patchSize} of ${targetSize}`);
    });
  }

  test('from f32 to bf16 costs under a hundredth', async () => {
    const target = ggufOf(30, (layer) => converted(layer, CAST_BF16));
    const { patchSize, targetSize } = await patch(
      ggufOf(GGUF.f32, (layer) => bytesOf(layer)),
      target,
    );
    assert.ok(patchSize < 0.01 * targetSize, `${patchSize} of ${targetSize}`);
  });
});

for (const profile of ['gateway', 'mcu'] as const)
  describe(`tensors that (${profile})`, () => {
    // Segments of the small profile are sixty-four times as many, and each has a header.
    const little = profile === 'mcu' ? 1000 : 500;

    /** Rows of LAYERS[0], with others put in before row `at`. */
    function withRows(at: number, rows: number): Float32Array {
      const layer = LAYERS[0]!;
      const added = weights(rows * COLUMNS, 77);
      return Float32Array.from([...layer.subarray(0, at * COLUMNS), ...added, ...layer.subarray(at * COLUMNS)]);
    }

    for (const [where, at] of [
      ['at the end', 300],
      ['in the middle', 100],
      ['at the start', 0],
    ] as const) {
      test(`grew by rows ${where} cost those rows`, async () => {
        const target = floatModel([withRows(at, 20), ...LAYERS.slice(1)]);
        const { patchSize, targetSize } = await patch(BASE, target, profile);
        const added = 20 * COLUMNS * 4;
        assert.ok(patchSize < added + little, `${patchSize} of ${targetSize}, ${added} of them new`);
      });
    }

    for (const [how, layer] of [
      ['lost their last rows', LAYERS[0]!.subarray(0, 250 * COLUMNS)],
      ['lost their first rows', LAYERS[0]!.subarray(50 * COLUMNS)],
      [
        'lost rows in the middle',
        Float32Array.from([...LAYERS[0]!.subarray(0, 64 * COLUMNS), ...LAYERS[0]!.subarray(128 * COLUMNS)]),
      ],
    ] as const) {
      test(`${how} cost next to nothing`, async () => {
        const { patchSize, targetSize } = await patch(BASE, floatModel([layer, ...LAYERS.slice(1)]), profile);
        assert.ok(patchSize < little, `${patchSize} of ${targetSize}`);
      });
    }

    test('lie in another order and at other offsets cost next to nothing', async () => {
      const order = [3, 1, 0, 2];
      const target = tfliteOf(
        order
          .map((i) => floatLayer(`layer/${i}`, LAYERS[i]!, [ROWS[i]!, COLUMNS]))
          .concat(floatLayer('new', weights(5, 9), [5])),
      );
      const { patchSize, targetSize, tensorsUnchanged } = await patch(BASE, target, profile);
      assert.ok(patchSize < little, `${patchSize} of ${targetSize}`);
      assert.equal(tensorsUnchanged, 4);
    });

    test('share one buffer where there were two, or have two where they shared one, cost next to nothing', async () => {
      const layer = (i: number, of: number): Layer => floatLayer(`layer/${i}`, LAYERS[of]!, [ROWS[of]!, COLUMNS]);
      const apart = tfliteOf([layer(0, 0), layer(1, 1), layer(2, 1)]);
      const tensors = [0, 1, 2].map((i) => ({
        ...{ name: `layer/${i}`, type: TYPE.f32, shape: [ROWS[Math.min(i, 1)]!, COLUMNS], buffer: Math.min(i, 1) + 1 },
      }));
      const buffers = [new Uint8Array(0), bytesOf(LAYERS[0]!), bytesOf(LAYERS[1]!)];
      const shared = buildTflite({ buffers, subgraphs: [tensors] });
      for (const [source, target] of [
        [apart, shared],
        [shared, apart],
      ] as const) {
        const { patchSize, targetSize } = await patch(source, target, profile);
        assert.ok(patchSize < little, `${patchSize} of ${targetSize}`);
      }
    });

    test('have other names, in another order, and were trained on, cost what the training alone does', async () => {
      // Of one shape, so that only the weights tell which is which.
      const layers = [31, 32, 33, 34].map((seed) => weights(150 * COLUMNS, seed));
      const trained = layers.map((layer, i) => tuned(layer, 60 + i));
      const source = floatModel(layers);
      const { patchSize, targetSize } = await patch(source, floatModel(trained), profile);
      assert.ok(patchSize < 0.6 * targetSize, `${patchSize} of ${targetSize}`);
      const renamed = floatModel(trained, (i) => `StatefulPartitionedCall/dense_${i}/kernel`);
      const order = [2, 3, 1, 0];
      const moved = floatModel(
        order.map((i) => trained[i]!),
        (i) => `dense_${i}`,
      );
      for (const target of [renamed, moved]) {
        const other = await patch(source, target, profile);
        assert.ok(other.patchSize < 1.01 * patchSize + 600, `${other.patchSize}, for the training ${patchSize}`);
      }
    });

    test('were trained on and quantised anew cost what the training changed', async () => {
      const shape = [ROWS[0]!, COLUMNS];
      const int8 = quantised(TUNED[0]!, shape, 0);
      const target = tfliteOf([
        { name: 'w', type: TYPE.i8, shape, data: bytesOf(int8.values), scales: int8.scales, axis: 0 },
      ]);
      const { patchSize, targetSize } = await patch(tfliteOf([floatLayer('w', LAYERS[0]!, shape)]), target, profile);
      assert.ok(patchSize < 0.2 * targetSize, `${patchSize} of ${targetSize}`);
    });
  });
