/**
 * `npm run bench:ablation [-- DIR] [--only TEXT,TEXT] [--most-bytes N] [--ideas TEXT,TEXT]`: what each idea of the neural codec is worth. Every idea is switched off by an edit
 * of the production source, built, and measured with bench:size over the pairs of DIR (default ../shared/models)
 * whose target has at most N bytes (default 400000); the table has the
 * geometric mean of ours / best other tool per group. A minute an idea and core. `--ideas` leaves out ideas whose names contain none of the texts.
 */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ABLATIONS, type Ablation } from './ablations.js';
import { editedBench } from './edited-bench.js';
import { root } from './esbuild-options.js';

const LANES = 2;

interface Group {
  readonly group: string;
  readonly all: { readonly geometricMean: number };
  readonly mcu: { readonly geometricMean: number } | null;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string', default: '' },
    'most-bytes': { type: 'string', default: '400000' },
    ideas: { type: 'string', default: '' },
  },
});
const models = positionals[0] ?? join(root, '../shared/models');
const ideas = ABLATIONS.filter(({ name }) => values.ideas.split(',').some((text) => name.includes(text)));
const outdir = join(root, `.build/ablation-${process.pid}`);
try {
  await main();
} finally {
  rmSync(outdir, { recursive: true, force: true });
}

async function main(): Promise<void> {
  const rows = new Map<Ablation, Group[]>();
  const waiting = [...ideas];
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      rows.set(next, await measure(next));
      console.error(`done: ${next.name}`);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  const groups = rows.get(ideas[0]!)!.map(({ group }) => group);
  for (const profile of ['all', 'mcu'] as const) {
    console.log(`\n| ${profile === 'all' ? 'gateway' : 'mcu'} profile | ${groups.join(' | ')} |`);
    console.log(`| --- |${' --- |'.repeat(groups.length)}`);
    for (const ablation of ideas) {
      const figures = rows.get(ablation)!.map((group) => group[profile]?.geometricMean.toFixed(3) ?? '');
      console.log(`| ${ablation.name} | ${figures.join(' | ')} |`);
    }
  }
}

async function measure({ name, edits }: Ablation): Promise<Group[]> {
  const folder = join(outdir, String(ABLATIONS.findIndex((ablation) => ablation.name === name)));
  const options = ['--neural', '--only', values.only, '--most-bytes', values['most-bytes']];
  const { groups } = (await editedBench(folder, edits, [models, ...options])) as { groups: Group[] };
  return groups;
}
