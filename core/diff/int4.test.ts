/**
 * Packed int4, two weights a byte, as TFLite and ONNX have it: one weight of the two that moved makes a byte nobody has seen. A
 * made pair end to end, bounded by what bsdiff, the best of the tools that every distribution has, makes of the same files.
 */

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { applyPatch, createPatch } from '../../hil-tests/support/in-thread.js';
import { graph, model, node, TYPE as ONNX, prefixed, tensor } from '../formats/build-onnx.test.js';
import { buildTflite, TYPE } from '../formats/build-tflite.test.js';
import { bytesOf, tuned, weights } from './build-weights.test.js';

const folder = mkdtempSync(join(tmpdir(), 'mallorn-int4-'));
after(() => rmSync(folder, { recursive: true }));

const SHAPE = [150, 256];
const OLD = weights(150 * 256, 1);
const NOW = tuned(OLD, 2, 0.05);

/** A scale for each row, -7 to 7, the lower half of a byte first. */
function packed(values: Float32Array): { readonly bytes: Uint8Array; readonly scales: number[] } {
  const [rows = 0, columns = 0] = SHAPE;
  const scales = Array.from({ length: rows }, (_, row) =>
    Math.fround(
      values.subarray(row * columns, (row + 1) * columns).reduce((most, x) => Math.max(most, Math.abs(x)), 0) / 7,
    ),
  );
  const level = (i: number): number => Math.round(values[i]! / scales[Math.floor(i / columns)]!) & 15;
  const bytes = Uint8Array.from({ length: values.length / 2 }, (_, i) => level(2 * i) | (level(2 * i + 1) << 4));
  return { bytes, scales };
}

function tflite(values: Float32Array): Uint8Array {
  const { bytes, scales } = packed(values);
  const kernel = { name: 'dense/kernel', type: TYPE.i4, shape: SHAPE, buffer: 1, scales, axis: 0 };
  return buildTflite({ buffers: [new Uint8Array(0), bytes], subgraphs: [[kernel]] });
}

function onnx(values: Float32Array, type: number): Uint8Array {
  const { bytes, scales } = packed(values);
  const scaleBytes = bytesOf(Float32Array.from(scales));
  const nodes = [node('DequantizeLinear', { inputs: ['w', 's'], outputs: ['d'] })];
  const initializers = [
    tensor('w', type, SHAPE, [...prefixed(9, bytes)]),
    tensor('s', ONNX.f32, [SHAPE[0]!], [...prefixed(9, scaleBytes)]),
  ];
  return model(graph({ nodes, initializers }));
}

for (const [name, build, best] of [
  ['TFLite', tflite, 4939],
  ['ONNX', (values: Float32Array) => onnx(values, ONNX.i4), 4677],
  ['ONNX as uint4', (values: Float32Array) => onnx(values, ONNX.u4), 4677],
] as const) {
  for (const profile of ['gateway', 'mcu'] as const) {
    test(`int4 of ${name}, trained on, takes four fifths of the best other tool's patch (${profile})`, async () => {
      const [source, target] = [build(OLD), build(NOW)];
      const [patchFile, output] = [join(folder, 'patch'), join(folder, 'output')];
      const { patchSize } = await createPatch(source, target, patchFile, { profile, neural: true });
      applyPatch(source, patchFile, output);
      assert.ok(readFileSync(output).equals(target), 'the target, byte for byte');
      assert.ok(patchSize < 0.8 * best, `${patchSize} of ${target.length}, bsdiff ${best}`);
    });
  }
}
