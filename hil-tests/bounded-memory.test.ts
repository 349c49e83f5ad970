/**
 * Memory does not grow with the model: a GGUF of 320 MiB, most of it a hole, through create and apply in this process. `npm run
 * test:large` does the same with gigabytes and looks at whole processes.
 */

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { applyPatch, createPatch } from '../targets/node/index.js';
import { hashFile, type LargeModel, writeModel } from './large/large-models.js';

const folder = mkdtempSync(join(tmpdir(), 'mallorn-memory-'));
after(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);

const MIB = 1 << 20;
/** The index of the source, zstd's memory, a segment on either side, and the worker thread itself. Measured: 48 and 24. */
const MOST_GROWTH_MIB = 120;

const MODEL: LargeModel = { tensorCount: 80, tensorBytes: 4 * MIB, filled: (tensor) => tensor % 20 === 0 };

/** By how much the resident set grows while `work` runs, in MiB. */
async function growthOf(work: () => Promise<unknown>): Promise<number> {
  const before = process.memoryUsage.rss();
  let most = before;
  const poll = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss());
  }, 5);
  try {
    await work();
  } finally {
    clearInterval(poll);
  }
  return (most - before) / MIB;
}

test('a model of 320 MiB is created and applied within 120 MiB', async (t) => {
  writeModel(at('old'), MODEL);
  writeModel(at('new'), MODEL, (tensor) => (tensor === 40 ? 'tuned' : tensor === 71 ? 'replaced' : 'kept'));
  const create = await growthOf(() => createPatch(at('old'), at('new'), at('patch')));
  const apply = await growthOf(() => applyPatch(at('old'), at('patch'), at('output')));
  t.diagnostic(`create grows by ${create.toFixed(0)} MiB, apply by ${apply.toFixed(0)}`);
  assert.ok(create < MOST_GROWTH_MIB && apply < MOST_GROWTH_MIB, `${create} and ${apply} MiB`);
  assert.equal(hashFile(at('output')), hashFile(at('new')));
  assert.ok(statSync(at('patch')).size < 2 * MODEL.tensorBytes, 'no larger than what changed');
});
