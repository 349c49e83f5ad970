/**
 * Tensors that grew or shrank while they were trained on: no byte of what stayed is where and what it was, so that tools that look
 * for equal bytes find nothing. Every case goes through createPatch and applyPatch; its bound is what the same training costs
 * where no tensor changed its size, and what the new slices take.
 */

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { applyPatch, createPatch } from '../../hil-tests/support/in-thread.js';
import type { Profile } from '../../targets/node/index.js';
import { CAST_Q4_K, CAST_Q8_0 } from '../codec/cast.js';
import { buildGguf, TYPE as GGUF } from '../formats/build-gguf.test.js';
import { graph, model, node, TYPE as ONNX, prefixed, tensor } from '../formats/build-onnx.test.js';
import { buildTflite, type SmallTensor, TYPE } from '../formats/build-tflite.test.js';
import { readLayout } from '../formats/detect.js';
import { MemorySource } from '../memory-source.js';
import { quantisedBlocks } from './build-blocks.test.js';
import { bytesOf, converted, quantised, tuned, weights } from './build-weights.test.js';

const folder = mkdtempSync(join(tmpdir(), 'mallorn-grown-'));
after(() => rmSync(folder, { recursive: true }));

async function patchBytes(source: Uint8Array, target: Uint8Array, profile: Profile, neural = true): Promise<number> {
  const [patchFile, output] = [join(folder, 'patch'), join(folder, 'output')];
  const { patchSize } = await createPatch(source, target, patchFile, { profile, neural });
  applyPatch(source, patchFile, output);
  assert.ok(readFileSync(output).equals(target), 'the target, byte for byte');
  return patchSize;
}

const COLUMNS = 256;
const ROWS = 64;
const ADDED = 8;
const BASE = weights(ROWS * COLUMNS, 1);
const TRAINED = tuned(BASE, 2, 0.02);
const NEW = weights(ADDED * COLUMNS, 3);

/** TRAINED with rows of NEW before each of `places`, in equal shares. */
function grown(...places: number[]): Float32Array {
  const share = NEW.length / places.length;
  const pieces: Float32Array[] = [];
  let from = 0;
  places.forEach((place, i) => {
    pieces.push(TRAINED.subarray(from * COLUMNS, place * COLUMNS), NEW.subarray(i * share, (i + 1) * share));
    from = place;
  });
  return Float32Array.from([...pieces, TRAINED.subarray(from * COLUMNS)].flatMap((piece) => [...piece]));
}

/** TRAINED without some rows. */
function shrunk(from: number, count: number): Float32Array {
  return TRAINED.filter((_, i) => i < from * COLUMNS || i >= (from + count) * COLUMNS);
}

function ggufOf(type: number, values: Float32Array, blocks: (values: Float32Array) => Uint8Array): Uint8Array {
  const data = blocks(values);
  const shape = [COLUMNS, values.length / COLUMNS];
  const { bytes } = buildGguf({ tensors: [{ name: 'token_embd.weight', type, shape, bytes: data.length }] });
  bytes.set(data, readLayout(new MemorySource(bytes)).tensors[0]!.offset);
  return bytes;
}

function tfliteOf(tensors: readonly (Omit<SmallTensor, 'buffer'> & { readonly data: Uint8Array })[]): Uint8Array {
  return buildTflite({
    buffers: [new Uint8Array(0), ...tensors.map(({ data }) => data)],
    subgraphs: [tensors.map(({ data: _, ...rest }, i) => ({ ...rest, buffer: i + 1 }))],
  });
}

function int8Model(values: Float32Array): Uint8Array {
  const rows = values.length / COLUMNS;
  const { values: data, scales } = quantised(values, [rows, COLUMNS], 0);
  const bias = weights(1000, 9).subarray(0, rows);
  return tfliteOf([
    { name: 'head/kernel', type: TYPE.i8, shape: [rows, COLUMNS], data: bytesOf(data), scales, axis: 0 },
    { name: 'head/bias', type: TYPE.f32, shape: [rows], data: bytesOf(bias) },
  ]);
}

function onnxOf(values: Float32Array): Uint8Array {
  const raw = [...prefixed(9, bytesOf(values))];
  return model(
    graph({
      nodes: [node('Gemm', { inputs: ['x', 'head.weight'], outputs: ['y'] })],
      initializers: [tensor('head.weight', ONNX.f32, [values.length / COLUMNS, COLUMNS], raw)],
    }),
  );
}

const KINDS: readonly (readonly [string, (values: Float32Array) => Uint8Array])[] = [
  ['a GGUF in Q8_0', (values) => ggufOf(GGUF.q8_0, values, (all) => converted(all, CAST_Q8_0))],
  ['a GGUF in Q4_K', (values) => ggufOf(GGUF.q4_k, values, (all) => quantisedBlocks(CAST_Q4_K, all))],
  ['a TFLite in int8 with a scale per channel', int8Model],
  ['an ONNX in fp32', onnxOf],
];

for (const [name, build] of KINDS) {
  describe(name, () => {
    const source = build(BASE);
    for (const profile of ['gateway', 'mcu'] as const) {
      test(`costs its training and what is new (${profile})`, async () => {
        const training = await patchBytes(source, build(TRAINED), profile);
        const added = (build(TRAINED).length * ADDED) / ROWS;
        const longer = await patchBytes(source, build(grown(5, 40, 41, ROWS)), profile);
        assert.ok(longer < 1.02 * training + added + 300, `${longer}, for the training ${training}, new ${added}`);
        const shorter = await patchBytes(source, build(shrunk(30, ADDED)), profile);
        assert.ok(shorter < training + 100, `${shorter}, for the training ${training}`);
      });
    }
  });
}
