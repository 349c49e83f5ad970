/** Batches: what one pair does to another, which is nothing, and what ends all of them. */

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { noise, testKeypair } from '../../hil-tests/support/make-patch.js';
import {
  type BatchProgress,
  createPatch,
  createPatches,
  IoError,
  type PatchPair,
  type PatchResult,
  patchInfo,
  verifyPatch,
} from './index.js';

const folder = mkdtempSync(join(tmpdir(), 'mallorn-batch-'));
const at = (name: string): string => join(folder, name);
afterEach(() => {
  for (const name of readdirSync(folder)) rmSync(at(name), { recursive: true });
});
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const source = noise(200_000, 1);
/** Large enough to be interrupted. */
const LARGE_BYTES = 20 << 20;

function targetOf(seed: number): Uint8Array {
  const target = source.slice();
  target.set(noise(20_000, seed), 10_000 * seed);
  return target;
}

function pairsOf(seeds: readonly number[], prefix: string): PatchPair[] {
  return seeds.map((seed) => ({ source, target: targetOf(seed), output: at(`${prefix}-${seed}`) }));
}

const kinds = (results: readonly PatchResult[]): string[] => results.map(({ kind }) => kind);

describe('a batch', () => {
  test('gives the bytes and figures of one call after another, at any concurrency', async () => {
    const seeds = [2, 3, 4, 5, 6];
    const { privateKey } = testKeypair(1);
    const options = { compressionLevel: 7, privateKey, family: 'kws' };
    const alone = [];
    for (const { source, target, output } of pairsOf(seeds, 'alone')) {
      const stats = await createPatch(source, target, output, options);
      alone.push({ stats, bytes: readFileSync(output) });
    }
    for (const concurrency of [1, 4, undefined]) {
      const pairs = pairsOf(seeds, `with-${concurrency}`);
      const results = await createPatches(pairs, concurrency === undefined ? options : { ...options, concurrency });
      const made = results.map((result, i) => {
        assert.equal(result.kind, 'created');
        return { stats: result.kind === 'created' && result.stats, bytes: readFileSync(pairs[i]!.output) };
      });
      assert.deepEqual(made, alone);
    }
  });

  test('of none gives none', async () => {
    assert.deepEqual(await createPatches([]), []);
  });

  test('takes options of a pair over its own', async () => {
    const [first, second] = pairsOf([2, 3], 'own');
    const alone: PatchPair = { ...second!, source: null, options: { profile: 'mcu', versionCounter: 7 } };
    await createPatches([first!, alone], { versionCounter: 5 });
    const [one, two] = [await patchInfo(first!.output), await patchInfo(alone.output)];
    assert.deepEqual([one.profile, one.versionCounter, one.standalone], ['gateway', 5, false]);
    assert.deepEqual([two.profile, two.versionCounter, two.standalone], ['mcu', 7, true]);
  });

  test('goes on when pairs fail, and says which and why, in their order', async () => {
    const pairs = pairsOf([2, 3, 4, 5], 'patch');
    pairs[0] = { ...pairs[0]!, source: at('missing') };
    pairs[2] = { ...pairs[2]!, output: at('no/such/folder') };
    const results = await createPatches(pairs, { concurrency: 2 });
    assert.deepEqual(kinds(results), ['failed', 'created', 'failed', 'created']);
    for (const result of results) if (result.kind === 'failed') assert.ok(result.error instanceof IoError);
    assert.deepEqual(readdirSync(folder).sort(), ['patch-3', 'patch-5']);
    assert.ok((await verifyPatch(source, at('patch-5'))).isValid());
  });

  test('tells of a malformed model, each pair to its own listener', async () => {
    const heard: string[] = [];
    const [first, second] = pairsOf([2, 3], 'patch');
    const broken = Uint8Array.from([...'GGUF'].map((c) => c.charCodeAt(0)).concat(Array(40).fill(255)));
    await createPatches(
      [
        { ...first!, source: broken, options: { onWarning: () => heard.push('first') } },
        { ...second!, source: broken },
      ],
      { onWarning: () => heard.push('batch') },
    );
    assert.deepEqual(heard.sort(), ['batch', 'first']);
  });
});

describe('progress', () => {
  test('is one number over all pairs, rises, and ends at its total though a pair fails', async () => {
    const seen: BatchProgress[] = [];
    const pairs = pairsOf([2, 3, 4], 'patch');
    pairs[1] = { ...pairs[1]!, source: at('missing') };
    await createPatches(pairs, { onProgress: (progress) => seen.push(progress) });
    seen.reduce((before, now) => {
      assert.ok(now.done >= before.done && now.settled >= before.settled, 'it rises');
      return now;
    });
    assert.deepEqual(seen.at(-1), { done: 600_000, total: 600_000, settled: 3, pairs: 3 });
  });

  test('of a target that is not there counts nothing', async () => {
    let last: BatchProgress | null = null;
    const results = await createPatches([{ source, target: at('missing'), output: at('patch') }], {
      onProgress: (progress) => {
        last = progress;
      },
    });
    assert.deepEqual(kinds(results), ['failed']);
    assert.deepEqual(last, { done: 0, total: 0, settled: 1, pairs: 1 });
  });

  test('whose listener throws ends the batch with that error, even at the very end', async () => {
    const broken = new Error('broken listener');
    for (const when of [0, 1]) {
      const onProgress = ({ settled }: BatchProgress): void => {
        if (settled >= when) throw broken;
      };
      await assert.rejects(createPatches(pairsOf([2], 'patch'), { onProgress }), (error) => error === broken);
    }
  });
});

describe('an abort', () => {
  test('in the middle rejects with the reason; finished patches stay, nothing else does', async () => {
    const reason = new Error('enough');
    const abort = new AbortController();
    const large = { source: noise(LARGE_BYTES, 3), target: noise(LARGE_BYTES, 4) };
    const pairs = [...pairsOf([2], 'small'), { ...large, output: at('large') }, { ...large, output: at('waiting') }];
    const onProgress = ({ settled, done }: BatchProgress): void => {
      if (settled === 1 && done > source.length) abort.abort(reason);
    };
    const call = createPatches(pairs, { concurrency: 1, signal: abort.signal, onProgress });
    await assert.rejects(call, (error) => error === reason);
    assert.deepEqual(readdirSync(folder), ['small-2']);
    assert.ok((await verifyPatch(source, at('small-2'))).isValid());
  });

  test('before the start opens nothing', async () => {
    const call = createPatches(pairsOf([2], 'patch'), { signal: AbortSignal.abort('never') });
    await assert.rejects(call, (reason) => reason === 'never');
    assert.deepEqual(readdirSync(folder), []);
  });
});

describe('refused before anything is written:', () => {
  const refused = async (pairs: PatchPair[], options: object, message: RegExp): Promise<void> => {
    await assert.rejects(createPatches(pairs, options), (error) => {
      assert.ok(error instanceof RangeError, String(error));
      assert.match(error.message, message);
      return true;
    });
    assert.ok(!readdirSync(folder).some((name) => name.startsWith('patch')));
  };

  test('a concurrency of 0, of 257, of one and a half', async () => {
    for (const concurrency of [0, 257, 1.5]) {
      await refused(pairsOf([2], 'patch'), { concurrency }, /^concurrency: expected an integer from 1 to 256/);
    }
  });

  test('a bad option of any one pair', async () => {
    const [first, second] = pairsOf([2, 3], 'patch');
    await refused([first!, { ...second!, options: { compressionLevel: 20 } }], {}, /^compressionLevel/);
  });

  test('two pairs with one output, however it is spelled', async () => {
    mkdirSync(at('real'));
    symlinkSync(at('real'), at('link'));
    const [first, second] = pairsOf([2, 3], 'patch');
    for (const [one, two] of [
      [at('patch'), at('patch')],
      [at('patch'), join(folder, 'real/../patch')],
      [at('real/patch'), at('link/patch')],
    ] as const) {
      const pairs = [
        { ...first!, output: one },
        { ...second!, output: two },
      ];
      await refused(pairs, {}, /^pairs\[1\]\.output: .* is also that of pairs\[0\]$/);
    }
  });

  test('an output that is an input of another pair', async () => {
    writeFileSync(at('model'), source);
    symlinkSync(at('model'), at('alias'));
    const [first, second] = pairsOf([2, 3], 'patch');
    const pairs = [
      { ...first!, source: at('alias') },
      { ...second!, output: at('model') },
    ];
    await refused(pairs, {}, /^pairs\[1\]\.output: .* is an input of pairs\[0\]$/);
    assert.deepEqual(new Uint8Array(readFileSync(at('model'))), source);
  });
});
