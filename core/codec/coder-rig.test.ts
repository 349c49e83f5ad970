/**
 * The two ends of the range coder for the tests, each with contexts of its own. No tests of its own; the suffix keeps it out of
 * core.
 */

import { RangeEncoder } from '../diff/range-encoder.js';
import type { BitCoder } from './bit-coder.js';
import { CONTEXT_LAYOUTS, type ContextLayout } from './context-layout.js';
import { ElementModels } from './element-models.js';
import { createMixedModels } from './mixed-models.js';
import { type MixedModels, NEURAL_CONTEXT_BYTES } from './neural-runner.js';
import { Priors } from './priors.js';
import { CountedDecoder, type RangeDecoder, SingleRateDecoder } from './range-decoder.js';

/** Layouts by decode-cost class, with a name for a test's title. */
export const CLASSES = [
  { name: 'class 0', decodeClass: 0, layout: CONTEXT_LAYOUTS[0]! },
  { name: 'class 1', decodeClass: 1, layout: CONTEXT_LAYOUTS[1]! },
] as const;

/** Contexts that know nothing when a segment begins. */
export const NO_PRIORS = new Priors(new Uint8Array(0), new Uint8Array(0));

/** A coder of each class, over an entry a context and rate. */
export function rangeEncoder(state: Uint16Array, counted: boolean, priors = NO_PRIORS): RangeEncoder {
  return new RangeEncoder(state, counted ? null : priors);
}

export function rangeDecoder(state: Uint16Array, counted: boolean, priors = NO_PRIORS): RangeDecoder {
  return counted ? new CountedDecoder(state) : new SingleRateDecoder(state, priors);
}

/** What `code` encodes, as a payload. */
export function encodeWith(layout: ContextLayout, code: (coder: BitCoder) => void): Uint8Array {
  const encoder = rangeEncoder(new Uint16Array((layout.counted ? 2 : 1) * layout.contexts), layout.counted);
  encoder.begin();
  code(encoder);
  return encoder.finish().slice();
}

/** Any contexts are within these; a model that leaves its own gets an exception, where an array would give undefined. */
export function decoderOf(layout: ContextLayout, payload: Uint8Array): BitCoder {
  const decoder = rangeDecoder(new Uint16Array((layout.counted ? 2 : 1) * layout.contexts), layout.counted);
  decoder.begin(payload);
  return {
    encodes: false,
    bit: (context) => {
      if (!Number.isInteger(context) || context < 0 || context >= layout.contexts)
        throw new Error(`context ${context} of ${layout.contexts}`);
      return decoder.bit(context);
    },
    mixed: (zero) => {
      if (!Number.isInteger(zero) || zero < 1 || zero > 4095) throw new Error(`probability ${zero} of 4096`);
      return decoder.mixed(zero);
    },
    direct: (count) => {
      if (!Number.isInteger(count) || count < 0 || count > 24) throw new Error(`${count} bits at once`);
      return decoder.direct(count);
    },
  };
}

/** Used by turns: an encoder's and its decoder's. */
const memories = Array.from({ length: 2 }, () => new Uint8Array(NEURAL_CONTEXT_BYTES[1]!).fill(0x5a).buffer);

/** What class 1 mixes, over memory that is not clean, until others are made twice; null in class 0. */
export function mixedModels(coder: BitCoder, layout: ContextLayout): MixedModels | null {
  if (layout === CONTEXT_LAYOUTS[0]) return null;
  memories.reverse();
  return createMixedModels(coder, memories[0]!, 0);
}

export function elementModels(coder: BitCoder, layout: ContextLayout): ElementModels {
  return new ElementModels(coder, layout, mixedModels(coder, layout));
}
