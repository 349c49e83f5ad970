/**
 * Weights whose zero point is not 0: uint8 of older TFLite exports, uint8 and int8 of ONNX QDQ graphs. What a release costs where
 * the old model has the same weights as floats, and where it has them with other scales and zero points.
 */

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { applyPatch, createPatch } from '../../hil-tests/support/in-thread.js';
import type { Profile } from '../../targets/node/index.js';
import { graph, model, node, TYPE as ONNX, prefixed, tensor, varint } from '../formats/build-onnx.test.js';
import { buildTflite, TYPE } from '../formats/build-tflite.test.js';
import { bytesOf, tuned, weights } from './build-weights.test.js';

const folder = mkdtempSync(join(tmpdir(), 'mallorn-zeros-'));
after(() => rmSync(folder, { recursive: true }));

/** Creates, applies, compares. */
async function patchBytes(source: Uint8Array, target: Uint8Array, profile: Profile, neural = true): Promise<number> {
  const [patchFile, output] = [join(folder, 'patch'), join(folder, 'output')];
  const { patchSize } = await createPatch(source, target, patchFile, { profile, neural });
  applyPatch(source, patchFile, output);
  assert.ok(readFileSync(output).equals(target), 'the target, byte for byte');
  return patchSize;
}

const SHAPE = [120, 160];
const WEIGHTS = weights(120 * 160, 1);

interface Affine {
  readonly bytes: Uint8Array;
  readonly scale: number;
  readonly zero: number;
}

/** As exporters calibrate: the whole range from the least to the greatest value, 0 exact. @param stretch of that range */
function affine(values: Float32Array, isSigned: boolean, stretch = 1): Affine {
  const least = values.reduce((a, b) => Math.min(a, b), 0) * stretch;
  const most = values.reduce((a, b) => Math.max(a, b), 0);
  const scale = Math.fround((most - least) / 255);
  const zero = Math.round(-least / scale) - (isSigned ? 128 : 0);
  const first = isSigned ? -128 : 0;
  const bytes = Uint8Array.from(values, (value) =>
    Math.max(first, Math.min(first + 255, Math.round(value / scale) + zero)),
  );
  return { bytes, scale, zero };
}

function tflite(type: number, bytes: Uint8Array, scales?: number[], zeros?: number[]): Uint8Array {
  const quantisation = scales === undefined ? {} : { scales, zeros: zeros ?? [] };
  const [shape, name] = [SHAPE, 'dense/kernel'];
  return buildTflite({
    buffers: [new Uint8Array(0), bytes],
    subgraphs: [[{ name, type, shape, buffer: 1, ...quantisation }]],
  });
}

const tfliteUint8 = ({ bytes, scale, zero }: Affine): Uint8Array => tflite(TYPE.u8, bytes, [scale], [zero]);

/** The weight behind a DequantizeLinear, or as floats without one. @param zeroData fields with the zero point */
function onnx(type: number, bytes: Uint8Array, scale: number, zeroData: readonly number[]): Uint8Array {
  const nodes = [node('DequantizeLinear', { inputs: ['w', 's', 'z'], outputs: ['d'] })];
  const initializers = [tensor('w', type, SHAPE, [...prefixed(9, bytes)])];
  const parameters = [
    tensor('s', ONNX.f32, [], [...prefixed(9, bytesOf(Float32Array.of(scale)))]),
    tensor('z', type, [], [...zeroData]),
  ];
  return model(graph(type === ONNX.f32 ? { initializers } : { nodes, initializers: [...initializers, ...parameters] }));
}

const onnxFloats = onnx(ONNX.f32, bytesOf(WEIGHTS), 1, []);

for (const profile of ['gateway', 'mcu'] as const) {
  test(`from fp32 to uint8 of TFLite, to uint8 and int8 of ONNX costs next to nothing (${profile})`, async () => {
    const [unsigned, signed] = [affine(WEIGHTS, false, 1.4), affine(WEIGHTS, true, 1.4)];
    assert.notEqual(unsigned.zero, 128);
    for (const [source, target] of [
      [tflite(TYPE.f32, bytesOf(WEIGHTS)), tfliteUint8(unsigned)],
      [onnxFloats, onnx(ONNX.u8, unsigned.bytes, unsigned.scale, prefixed(5, varint(unsigned.zero)))],
      [onnxFloats, onnx(ONNX.i8, signed.bytes, signed.scale, prefixed(9, [signed.zero & 255]))],
    ] as const) {
      const bytes = await patchBytes(source, target, profile);
      assert.ok(bytes < 600, `${bytes} of ${target.length}`);
    }
    // Plain bytes carry the zero point too.
    assert.ok((await patchBytes(tflite(TYPE.f32, bytesOf(WEIGHTS)), tfliteUint8(unsigned), 'gateway', false)) < 600);
  });

  test(`another scale and zero point costs what the roundings lost (${profile})`, async () => {
    const old = affine(WEIGHTS, false, 1.4);
    const now = affine(WEIGHTS, false, 1.1);
    assert.notEqual(old.zero, now.zero);
    const again = await patchBytes(tfliteUint8(old), tfliteUint8(now), profile);
    assert.ok(again < 0.16 * now.bytes.length, `${again} of ${now.bytes.length}`);
    const trained = affine(tuned(WEIGHTS, 2, 0.01), false, 1.1);
    const bytes = await patchBytes(tfliteUint8(old), tfliteUint8(trained), profile);
    assert.ok(bytes < 0.3 * now.bytes.length, `${bytes} of ${now.bytes.length}`);
  });
}
