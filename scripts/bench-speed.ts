/**
 * `npm run bench:speed [-- --models DIR] [--mib N] [--runs N] [--neural] [--only TEXT]`: how fast patches are made and applied, beside other tools
 * in the same run, all on one core. Two models of N MiB (256) made here, one weight in 200 changed and nearly every weight changed,
 * and the three largest pairs of DIR. Every tool's output is compared with the target. Times are medians of whole commands; what it
 * takes ours to start is shown apart and not subtracted. A tool that is not installed is left out. The last line is JSON.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Change, hashFile, writeModel } from '../hil-tests/large/large-models.js';
import { type MeasuredRun, measureCommand } from '../hil-tests/large/measured-run.js';
import { root } from './esbuild-options.js';

const MIB = 1 << 20;
const LARGEST_PAIRS = 3;
const START_UP_RUNS = 7;
/** Above this, zstd's match window has to be widened by hand. */
const ZSTD_WINDOW_LOG = 30;

const { values } = parseArgs({
  options: {
    models: { type: 'string', default: join(root, '../shared/models') },
    mib: { type: 'string', default: '256' },
    runs: { type: 'string', default: '3' },
    neural: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
  },
});

interface Files {
  readonly source: string;
  readonly target: string;
  readonly patch: string;
  readonly output: string;
}

interface Tool {
  readonly name: string;
  readonly create: (files: Files) => readonly string[];
  readonly apply: (files: Files) => readonly string[];
}

const cli = [process.execPath, join(root, 'dist/cli.js')];
const ours = (name: string, ...flags: string[]): Tool => ({
  name,
  create: ({ source, target, patch }) => [...cli, 'create', source, target, '-o', patch, ...flags],
  apply: ({ source, patch, output }) => [...cli, 'apply', source, patch, '-o', output],
});
const KNOWN: readonly Tool[] = [
  {
    name: 'bsdiff',
    create: ({ source, target, patch }) => ['bsdiff', source, target, patch],
    apply: ({ source, patch, output }) => ['bspatch', source, output, patch],
  },
  {
    name: 'xdelta3',
    create: ({ source, target, patch }) => ['xdelta3', '-f', '-B', String(2 ** 30), '-e', '-s', source, target, patch],
    apply: ({ source, patch, output }) => ['xdelta3', '-f', '-B', String(2 ** 30), '-d', '-s', source, patch, output],
  },
  {
    name: 'zstd',
    create: ({ source, target, patch }) => [
      'zstd',
      '-qf',
      '-3',
      `--long=${ZSTD_WINDOW_LOG}`,
      `--patch-from=${source}`,
      target,
      '-o',
      patch,
    ],
    apply: ({ source, patch, output }) => [
      'zstd',
      '-qfd',
      `--long=${ZSTD_WINDOW_LOG}`,
      `--patch-from=${source}`,
      patch,
      '-o',
      output,
    ],
  },
];
const OTHERS = KNOWN.filter(({ name }) => isInstalled(name));
const TOOLS: readonly Tool[] = [
  ours('mallorn'),
  ...(values.neural ? [ours('mallorn --neural', '--neural')] : []),
  ...OTHERS,
];

interface Figures {
  readonly tool: string;
  readonly patchBytes: number;
  readonly createSeconds: number;
  readonly createRssMiB: number | null;
  readonly applySeconds: number;
  readonly applyRssMiB: number | null;
}

await main();

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'mallorn-speed-'));
  try {
    const startUp = await measureStartUp(folder);
    console.log(
      `start-up of mallorn, included below: create ${startUp.create.toFixed(2)} s, apply ${startUp.apply.toFixed(2)} s`,
    );
    const cases = [];
    for (const { name, files } of inputs(folder)) {
      if (name.includes(values.only)) cases.push(await measureCase(name, files()));
    }
    console.log(JSON.stringify({ startUpSeconds: startUp, runs: Number(values.runs), cases }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Seconds that one byte takes. */
async function measureStartUp(folder: string): Promise<{ create: number; apply: number }> {
  const at = (name: string): string => join(folder, name);
  const files = { source: at('a'), target: at('b'), patch: at('patch'), output: at('output') };
  writeFileSync(files.source, 'a');
  writeFileSync(files.target, 'b');
  const mallorn = ours('mallorn');
  const create = median(await repeat(START_UP_RUNS, () => onOneCore(mallorn.create(files))));
  return { create, apply: median(await repeat(START_UP_RUNS, () => onOneCore(mallorn.apply(files)))) };
}

function* inputs(folder: string): Generator<{ name: string; files: () => Files }> {
  const at = (name: string): string => join(folder, name);
  const [patch, output] = [at('patch'), at('output')];
  const model = { tensorCount: Number(values.mib) / 2, tensorBytes: 2 * MIB, filled: () => true };
  for (const [name, change] of [
    ['one weight in 200', 'touched'],
    ['nearly every weight', 'tuned'],
  ] as const satisfies [string, Change][]) {
    const [source, target] = [at('old.gguf'), at('new.gguf')];
    yield {
      name: `${values.mib} MiB of fp16, ${name} changed`,
      files: () => {
        writeModel(source, model);
        writeModel(target, model, () => change);
        return { source, target, patch, output };
      },
    };
  }
  for (const { name, source, target } of largestPairs())
    yield { name, files: () => ({ source, target, patch, output }) };
}

function largestPairs(): { name: string; source: string; target: string; bytes: number }[] {
  if (!existsSync(values.models)) return [];
  const pairs = readdirSync(values.models, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return pairs
    .map(({ name }) => {
      const folder = join(values.models, name);
      const file = (version: string): string =>
        join(folder, readdirSync(folder).find((f) => f.startsWith(`${version}.`))!);
      return { name, source: file('old'), target: file('new'), bytes: statSync(file('new')).size };
    })
    .sort((a, b) => b.bytes - a.bytes)
    .slice(0, LARGEST_PAIRS);
}

async function measureCase(name: string, files: Files): Promise<Record<string, unknown>> {
  const bytes = statSync(files.target).size;
  console.log(`\n${name}: ${bytes} bytes`);
  const wanted = hashFile(files.target);
  const floor = await repeat(Number(values.runs), () => copyAndHash(files));
  const floorSeconds = median(floor);
  console.log(`  cp + sha256sum ${floorSeconds.toFixed(2)} s, ${rate(bytes, floorSeconds)} MB/s`);
  const figures: Figures[] = [];
  for (const tool of TOOLS) figures.push(await measureTool(tool, files, wanted));
  const bsdiff = figures.find(({ tool }) => tool === 'bsdiff');
  for (const one of figures) console.log(`  ${describe(one, bytes, bsdiff)}`);
  return { name, bytes, floorSeconds, tools: figures };
}

async function measureTool(tool: Tool, files: Files, wanted: string): Promise<Figures> {
  // One creation: at these sizes it takes minutes, and other tools need hours.
  const created = await onOneCore(tool.create(files));
  const patchBytes = statSync(files.patch).size;
  const applied = await repeat(Number(values.runs), () => {
    rmSync(files.output, { force: true });
    return onOneCore(tool.apply(files));
  });
  if (hashFile(files.output) !== wanted) throw new Error(`${tool.name} made other bytes`);
  return {
    tool: tool.name,
    patchBytes,
    createSeconds: created.seconds,
    createRssMiB: mib(created.peakRssKiB),
    applySeconds: median(applied),
    applyRssMiB: mib(applied[0]!.peakRssKiB),
  };
}

/** What copying and checking costs without any patch. */
async function copyAndHash({ source, output }: Files): Promise<MeasuredRun> {
  return onOneCore(['sh', '-c', 'cp "$0" "$1" && sha256sum "$1"', source, output]);
}

/** The command on the first core alone, so that threads do not count as speed. */
function onOneCore(command: readonly string[]): Promise<MeasuredRun> {
  return isInstalled('taskset')
    ? measureCommand('taskset', ['-c', '0', ...command])
    : measureCommand(command[0]!, command.slice(1));
}

function isInstalled(tool: string): boolean {
  return spawnSync('which', [tool]).status === 0;
}

async function repeat(times: number, run: () => Promise<MeasuredRun>): Promise<MeasuredRun[]> {
  const runs: MeasuredRun[] = [];
  for (let i = 0; i < times; i++) runs.push(await run());
  return runs;
}

function median(runs: readonly MeasuredRun[]): number {
  const sorted = runs.map(({ seconds }) => seconds).sort((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}

function mib(kib: number | null): number | null {
  return kib === null ? null : Math.round(kib / 1024);
}

function rate(bytes: number, seconds: number): string {
  return (bytes / 1e6 / seconds).toFixed(1);
}

function describe(one: Figures, bytes: number, bsdiff: Figures | undefined): string {
  const times = (own: number, its: number | undefined): string =>
    its === undefined ? '' : `, ${(its / own).toFixed(2)} x bsdiff's speed`;
  const create = `create ${one.createSeconds.toFixed(2)} s (${one.createRssMiB} MiB${times(one.createSeconds, bsdiff?.createSeconds)})`;
  const apply = `apply ${one.applySeconds.toFixed(2)} s = ${rate(bytes, one.applySeconds)} MB/s (${one.applyRssMiB} MiB${times(one.applySeconds, bsdiff?.applySeconds)})`;
  return `${one.tool.padEnd(18)} ${String(one.patchBytes).padStart(10)} bytes; ${create}; ${apply}`;
}
