/** The readers of model files: each takes a file to a sound layout or refuses it, and reads within it, a bounded number of times. */

import assert from 'node:assert/strict';
import { ModelFormatError } from '../../core/errors.js';
import * as espdl from '../../core/formats/build-espdl.test.js';
import * as gguf from '../../core/formats/build-gguf.test.js';
import * as onnx from '../../core/formats/build-onnx.test.js';
import * as tflite from '../../core/formats/build-tflite.test.js';
import { readLayout } from '../../core/formats/detect.js';
import { readEspdl } from '../../core/formats/espdl.js';
import { readGguf } from '../../core/formats/gguf.js';
import { readOnnx } from '../../core/formats/onnx.js';
import { assertSound, type Reader } from '../../core/formats/reader-harness.test.js';
import { readSafeTensors } from '../../core/formats/safetensors.js';
import { readTflite } from '../../core/formats/tflite.js';
import type { ByteSource } from '../../core/ports.js';
import { type FuzzTarget, Hang, type Outcome } from './target.js';

class ModelTarget implements FuzzTarget {
  readonly share = 7;
  readonly name: string;
  readonly seeds: () => Uint8Array[];
  private readonly reader: Reader;

  constructor(name: string, reader: Reader, seeds: () => Uint8Array[]) {
    this.name = name;
    this.reader = reader;
    this.seeds = seeds;
  }

  run(bytes: Uint8Array, budget: number): Outcome {
    // What `createPatch` calls never throws over a file's content.
    assertSound(readLayout(watched(bytes, budget)), bytes.length);
    try {
      assertSound(this.reader(watched(bytes, budget)), bytes.length);
      return 'taken';
    } catch (error) {
      if (!(error instanceof ModelFormatError)) throw error;
      assert.ok(error.offset >= 0 && error.offset <= bytes.length, `offset ${error.offset}`);
      return 'refused';
    }
  }
}

function watched(bytes: Uint8Array, budget: number): ByteSource {
  let reads = 0;
  return {
    size: bytes.length,
    read: (offset, into) => {
      if (++reads > budget) throw new Hang(`${reads} reads`);
      const isInside = Number.isInteger(offset) && offset >= 0 && offset + into.length <= bytes.length;
      assert.ok(isInside, `read of ${into.length} bytes at ${offset}`);
      into.set(bytes.subarray(offset, offset + into.length));
    },
  };
}

function safetensors(header: string, dataBytes: number): Uint8Array {
  const json = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + json.length + dataBytes).fill(0x77);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const entry = (dtype: string, shape: readonly number[], begin: number, end: number): string =>
  JSON.stringify({ dtype, shape, data_offsets: [begin, end] });

const SAFETENSORS = `{"__metadata__":{"format":"pt","note":"\\u00e9 \\"}{["},
"layer.weight": ${entry('F16', [2, 3], 16, 28)}, "l\\u00e9\\ud83c\\udf32\\n": ${entry('F32', [4], 0, 16)},
"empty":${entry('F32', [0, 4], 16, 16)}, "scalar":${entry('I64', [], 28, 36)}, "tied":${entry('F16', [6], 16, 28)}}  `;

export const MODEL_TARGETS: readonly (() => FuzzTarget)[] = [
  () => new ModelTarget('tflite', readTflite, () => [tflite.buildTflite(tflite.SMALL), tflite.buildRepeatedTensor(3)]),
  () => new ModelTarget('gguf', readGguf, () => [gguf.buildGguf(gguf.SMALL).bytes]),
  () => new ModelTarget('onnx', readOnnx, () => [onnx.model(onnx.graph(onnx.SMALL))]),
  () => new ModelTarget('safetensors', readSafeTensors, () => [safetensors(SAFETENSORS, 36)]),
  () =>
    new ModelTarget('espdl', readEspdl, () => [
      espdl.buildEspdl(espdl.SMALL, 1),
      espdl.buildEspdl({ ...espdl.SMALL, repeat: 2 }, 2),
    ]),
];
