/**
 * `npm run bench:priors [-- DIR] [--most-bytes N]`: what priors are worth to models that had no part in making them. For each family of pairs in DIR
 * (default ../shared/models) defaults are learnt from all other families but the synthetic one, whose pairs are made from others' models, built in, and patches of that family's pairs made, applied and
 * compared in the mcu profile by bench:size: without priors, with defaults, with the header's own, with both. Pairs whose target has
 * more than N bytes (default 3000000) are learnt from, but not measured. The table has geometric means of ours / best other tool per
 * group, and beside them what the shipped defaults, which all pairs had a part in, give.
 */

import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Edit } from '../hil-tests/support/edit.js';
import { editedBench } from './edited-bench.js';
import { root } from './esbuild-options.js';
import { defaultsFrom, familyOf, measurePairs, SYNTHETIC } from './measure-priors.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { 'most-bytes': { type: 'string', default: '3000000' } },
});
const models = positionals[0] ?? join(root, '../shared/models');
const outdir = join(root, `.build/priors-${process.pid}`);

interface Row {
  readonly pair: string;
  readonly group: string;
  readonly ratio: number;
}

const WITHOUT_HEADER: Edit = {
  file: 'core/diff/encode-body.ts',
  from: 'const priors = isTrained ? trainPriors(options) : NO_PRIORS;',
  to: 'const priors = NO_PRIORS;',
};

/** The bundles' default priors: this list. */
function defaults(list: readonly number[]): Edit[] {
  const file = 'core/codec/default-priors.ts';
  return [
    { file, from: '{ length: TEXT.length / 2 }', to: `{ length: ${list.length} }` },
    { file, from: 'TEXT.slice(', to: `'${Buffer.from(list).toString('hex')}'.slice(` },
  ];
}

let builds = 0;
try {
  await main();
} finally {
  rmSync(outdir, { recursive: true, force: true });
}

async function main(): Promise<void> {
  const measured = measurePairs(models, (name) => console.error(`learning: ${name}`));
  const names = (JSON.parse(readFileSync(join(models, 'manifest.json'), 'utf8')) as { name: string }[]).map(
    ({ name }) => name,
  );
  const columns: [string, Row[]][] = [
    ['none', await run([...defaults([]), WITHOUT_HEADER], names)],
    ['defaults', []],
    ['header', await run(defaults([]), names)],
    ['both', []],
    ['shipped', await run([], names)],
  ];
  for (const family of new Set(names.map(familyOf))) {
    const list = defaultsFrom(measured.filter((pair) => pair.family !== family && pair.family !== SYNTHETIC));
    const own = names.filter((name) => familyOf(name) === family);
    columns[1]![1].push(...(await run([...defaults(list), WITHOUT_HEADER], own)));
    columns[3]![1].push(...(await run(defaults(list), own)));
    console.error(`done: ${family}`);
  }
  console.log(`| pairs | ${columns.map(([name]) => name).join(' | ')} |`);
  console.log(`| --- |${' --- |'.repeat(columns.length)}`);
  for (const group of new Set(columns[0]![1].map((row) => row.group))) {
    const means = columns.map(([, rows]) => geometricMean(rows.filter((row) => row.group === group)).toFixed(3));
    console.log(`| ${group} | ${means.join(' | ')} |`);
  }
}

/** Patches of the pairs, made by a build with these edits. */
async function run(edits: readonly Edit[], pairs: readonly string[]): Promise<Row[]> {
  const options = ['--neural', '--profile', 'mcu', '--most-bytes', values['most-bytes'], '--only', pairs.join(',')];
  const { rows } = (await editedBench(join(outdir, String(builds++)), edits, [models, ...options])) as { rows: Row[] };
  return rows.filter(({ pair }) => pairs.includes(pair));
}

function geometricMean(rows: readonly Row[]): number {
  return Math.exp(rows.reduce((sum, { ratio }) => sum + Math.log(ratio), 0) / rows.length);
}
