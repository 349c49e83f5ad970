/** The loop that is written out for speed decodes what the model it repeats does, and leaves the same behind. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../targets/sim/prng.js';
import { CLASSES, decoderOf, encodeWith, NO_PRIORS, rangeDecoder } from './coder-rig.test.js';
import { ElementModels } from './element-models.js';
import { ELEMENT_BYTE, ELEMENT_INT8 } from './elements.js';

const { layout } = CLASSES[0];
const LENGTH = 3000;

/** Differences from none to the largest, in stretches. */
function bytes(seed: number): { source: Uint8Array; target: Uint8Array } {
  const random = new Prng(seed);
  const source = Uint8Array.from({ length: LENGTH }, () => random.byte());
  const target = source.map(
    (old, i) => old + (random.below(2 + ((i >> 8) % 7) * 40) >> 1) * (random.below(2) === 0 ? 1 : -1),
  );
  return { source, target };
}

/** Decodes in runs, of both types and at last a literal, so that what is left behind counts. */
function decode(models: ElementModels, source: Uint8Array): Uint8Array {
  models.begin();
  models.beginOp(1, 0, false);
  const out = source.slice();
  for (let at = 0, run = 1; at < LENGTH; at += run, run = (run * 5 + 3) % 400) {
    const view = out.subarray(at, at + run);
    models.delta(at % 2 === 0 ? ELEMENT_BYTE : ELEMENT_INT8, view, view);
  }
  const literal = new Uint8Array(40);
  models.literal(ELEMENT_BYTE, literal, 0, 0);
  return Uint8Array.from([...out, ...literal]);
}

/** By the coder's bit, one at a time: `decoderOf` wraps it. */
const modelled = (payload: Uint8Array, source: Uint8Array): Uint8Array =>
  decode(new ElementModels(decoderOf(layout, payload), layout, null), source);

function writtenOut(payload: Uint8Array, source: Uint8Array): Uint8Array {
  const decoder = rangeDecoder(new Uint16Array(layout.contexts), false, NO_PRIORS);
  decoder.begin(payload);
  return decode(new ElementModels(decoder, layout, null), source);
}

test('what was encoded comes out either way', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const { source, target } = bytes(seed);
    const payload = encodeWith(layout, (coder) => {
      const models = new ElementModels(coder, layout, null);
      models.begin();
      models.beginOp(1, 0, false);
      models.delta(ELEMENT_BYTE, source, target.slice());
    });
    assert.deepEqual(writtenOut(payload, source).subarray(0, LENGTH), target);
    assert.deepEqual(writtenOut(payload, source), modelled(payload, source));
  }
});

test('garbage comes out the same either way', () => {
  const random = new Prng(99);
  for (let i = 0; i < 200; i++) {
    const byte = random.byte();
    const payload = Uint8Array.from({ length: random.below(600) }, () => (i % 4 === 0 ? byte : random.byte()));
    const { source } = bytes(i);
    assert.deepEqual(writtenOut(payload, source), modelled(payload, source), `payload ${i}`);
  }
});
