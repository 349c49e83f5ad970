/** The models that only the gateway class has, put together. */

import type { BitCoder } from './bit-coder.js';
import { ByteModel } from './byte-model.js';
import { LiteralModel } from './literal-model.js';
import { NarrowModel } from './narrow-model.js';
import type { MixedModels } from './neural-runner.js';
import { BYTE_MODEL_BYTES, NARROW_MODEL_BYTES, WIDE_MODEL_BYTES } from './neural-sizes.js';
import { readTransposed, transposedSpan } from './transposed-read.js';
import { WideModel } from './wide-model.js';

export function createMixedModels(coder: BitCoder, memory: ArrayBuffer, offset: number): MixedModels {
  const wideAt = offset + BYTE_MODEL_BYTES;
  return {
    bytes: new ByteModel(coder, memory, offset),
    wide: new WideModel(coder, memory, wideAt),
    narrow: new NarrowModel(coder, memory, wideAt + WIDE_MODEL_BYTES),
    literals: new LiteralModel(coder, memory, wideAt + WIDE_MODEL_BYTES + NARROW_MODEL_BYTES),
    transposed: { span: transposedSpan, read: readTransposed },
  };
}
