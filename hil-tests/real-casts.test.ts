/** Published releases that change the element type: what CAST makes of them at level 19. */

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createPatch, explainPatch } from '../targets/node/index.js';
import { modelsFolder, NO_MODELS } from './support/paths.js';

const folder = mkdtempSync(join(tmpdir(), 'mallorn-casts-'));
after(() => rmSync(folder, { recursive: true }));

/** fp32 to fp16; fp32 to the int8 export: a tenth of what the best other tool makes, 79,450 bytes (../shared/models/baseline.md). */
const BOUNDS: readonly (readonly [string, number])[] = [
  ['mp-face-landmark-f16', 20_000],
  ['mlperf-resnet-f32-to-int8', 7945],
];

for (const [name, bound] of BOUNDS) {
  test(`${name} costs less than ${bound} bytes, most of it predicted by casts`, {
    skip: modelsFolder === null ? `a pair skipped: ${NO_MODELS}` : false,
  }, async () => {
    const source = join(modelsFolder!, name, 'old.tflite');
    const patch = join(folder, name);
    const { patchSize, targetSize } = await createPatch(source, join(modelsFolder!, name, 'new.tflite'), patch, {
      compressionLevel: 19,
    });
    assert.ok(patchSize < bound, `${patchSize} bytes`);
    const { tensors } = await explainPatch(patch, { source });
    const cast = tensors!.reduce((sum, tensor) => sum + tensor.castBytes, 0);
    assert.ok(cast > 0.75 * targetSize, `${cast} bytes of ${targetSize}`);
  });
}
