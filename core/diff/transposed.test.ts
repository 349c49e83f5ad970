/**
 * A release whose exporter turned the weights round, trained on or not: no two neighbours are still that, so that tools that look for
 * equal bytes find nothing. Through createPatch and applyPatch, bounded by what the same training costs where nothing was turned.
 */

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { applyPatch, createPatch } from '../../hil-tests/support/in-thread.js';
import type { CreateOptions } from '../../targets/node/index.js';
import { CAST_F16 } from '../codec/cast.js';
import { graph, model, TYPE as ONNX, prefixed, tensor } from '../formats/build-onnx.test.js';
import { bytesOf, converted, tuned, weights } from './build-weights.test.js';

const folder = mkdtempSync(join(tmpdir(), 'mallorn-turned-'));
after(() => rmSync(folder, { recursive: true }));

const [ROWS, COLUMNS] = [90, 200];
const OLD = weights(ROWS * COLUMNS, 1);
const NOW = tuned(OLD, 2, 0.02);

function turned(values: Float32Array): Float32Array {
  return values.map((_, i) => values[(i % ROWS) * COLUMNS + Math.floor(i / ROWS)]!);
}

const KINDS: readonly (readonly [string, number, (values: Float32Array) => Uint8Array])[] = [
  ['fp32', ONNX.f32, bytesOf],
  ['fp16', ONNX.f16, (values) => converted(values, CAST_F16)],
  ['int8', ONNX.i8, (values) => bytesOf(Int8Array.from(values, (value) => Math.round(value * 600)))],
];

async function patchBytes(source: Uint8Array, target: Uint8Array, options: CreateOptions = {}): Promise<number> {
  const [patchFile, output] = [join(folder, 'patch'), join(folder, 'output')];
  const { patchSize } = await createPatch(source, target, patchFile, { neural: true, ...options });
  applyPatch(source, patchFile, output);
  assert.ok(readFileSync(output).equals(target), 'the target, byte for byte');
  return patchSize;
}

for (const [name, type, bytes] of KINDS) {
  const build = (shape: readonly number[], values: Float32Array): Uint8Array =>
    model(graph({ initializers: [tensor('dense.weight', type, shape, [...prefixed(9, bytes(values))])] }));
  const source = build([ROWS, COLUMNS], OLD);

  test(`${name} weights that were transposed cost next to nothing, trained on what the training does`, async () => {
    const still = await patchBytes(source, build([COLUMNS, ROWS], turned(OLD)));
    assert.ok(still < 400, `${still} of ${source.length}`);
    const training = await patchBytes(source, build([ROWS, COLUMNS], NOW));
    const both = await patchBytes(source, build([COLUMNS, ROWS], turned(NOW)));
    assert.ok(both < 1.03 * training + 100, `${both}, for the training ${training}`);
  });

  test(`${name} weights that were transposed apply on microcontrollers, in place and without the neural codec too`, async () => {
    const target = build([COLUMNS, ROWS], turned(OLD));
    for (const options of [{ profile: 'mcu' }, { inPlace: true }, { neural: false }] as const)
      assert.ok((await patchBytes(source, target, options)) < 1.01 * target.length + 600);
  });
}
