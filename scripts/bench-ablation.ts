/**
 * `npm run bench:ablation [-- DIR] [--only TEXT,TEXT] [--most-bytes N] [--ideas TEXT,TEXT]`: what each idea of the neural codec is worth. Every idea is switched off by an edit
 * of the production source, built, and measured with bench:size over the pairs of DIR (default ../shared/models)
 * whose target has at most N bytes (default 400000); the table has the
 * geometric mean of ours / best other tool per group. A minute an idea and core. `--ideas` leaves out ideas whose names contain none of the texts.
 */

import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import type { Edit } from '../hil-tests/support/edit.js';
import { ABLATIONS, type Ablation } from './ablations.js';
import { editing } from './edit-sources.js';
import { nodeBundle, packageVersion, root } from './esbuild-options.js';

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
  const applied = new Set<Edit>();
  await bundle('targets/node/worker.main.ts', join(folder, 'worker.js'), edits, applied);
  await bundle('scripts/bench-size.ts', join(folder, 'bench-size.js'), edits, applied);
  if (applied.size < edits.length) throw new Error(`${name}: an edited file is not in the bundle`);
  const options = ['--neural', '--only', values.only, '--most-bytes', values['most-bytes']];
  const child = spawn(process.execPath, [join(folder, 'bench-size.js'), models, ...options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (text) => {
    output += text;
  });
  const code = await new Promise((resolve) => child.on('close', resolve));
  if (code !== 0) throw new Error(`${name}: exit code ${code}\n${output}`);
  return (JSON.parse(output.trim().split('\n').at(-1)!) as { groups: Group[] }).groups;
}

async function bundle(entry: string, outfile: string, edits: readonly Edit[], applied: Set<Edit>): Promise<void> {
  await build({
    ...nodeBundle,
    entryPoints: [entry],
    outfile,
    define: { MALLORN_VERSION: JSON.stringify(packageVersion()), MALLORN_WORKER: '"./worker.js"' },
    plugins: [editing(edits, applied)],
  });
}
