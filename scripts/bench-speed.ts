/**
 * `npm run bench:speed [-- --models DIR] [--mib N] [--runs N] [--neural] [--only TEXT] [--limit SECONDS]`: how fast patches are made and
 * applied, beside other tools in the same run, all on one core. Two models of N MiB (256) made here, one weight in 200 changed and nearly
 * every weight changed, and the three largest pairs of DIR. Every tool's output is compared with the target. Times are medians of whole
 * commands; what it takes ours to start is shown apart and not subtracted. Ratios are of processor time, where the system tells it: that
 * of other programs on the machine does not count. A tool that is not installed is left out, one that takes longer than SECONDS (3600) to
 * create is ended, and ratios to it are lower bounds. The last line is JSON.
 */

import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Change, hashFile, writeModel } from '../hil-tests/large/large-models.js';
import { type MeasuredRun, measureCommand, measureWithin } from '../hil-tests/large/measured-run.js';
import { root } from './esbuild-options.js';
import { type Files, isInstalled, OTHER_TOOLS, ours, type Tool } from './speed-tools.js';

const MIB = 1 << 20;
const LARGEST_PAIRS = 3;
const START_UP_RUNS = 7;
/** Processor time is told in hundredths; what takes less counts as one. */
const LEAST_SECONDS = 0.01;

const { values } = parseArgs({
  options: {
    models: { type: 'string', default: join(root, '../shared/models') },
    mib: { type: 'string', default: '256' },
    runs: { type: 'string', default: '3' },
    neural: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    limit: { type: 'string', default: '3600' },
  },
});

const OTHERS = OTHER_TOOLS.filter(({ name }) => isInstalled(name));
const TOOLS: readonly Tool[] = [
  ours('mallorn'),
  ...(values.neural ? [ours('mallorn --neural', '--neural')] : []),
  ...OTHERS,
];

interface Figures {
  readonly tool: string;
  readonly patchBytes: number;
  readonly create: Timing;
  readonly apply: Timing;
}

interface Timing {
  readonly seconds: number;
  /** Processor time, or `seconds` where the system does not tell it. */
  readonly cpuSeconds: number;
  readonly rssMiB: number | null;
}

/** Creating took longer than the limit. */
interface NotFinished {
  readonly tool: string;
  readonly notFinishedAfterSeconds: number;
}

await main();

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'mallorn-speed-'));
  try {
    const startUp = await measureStartUp(folder);
    console.log(
      `start-up of mallorn, included below: create ${describeTiming(startUp.create)}, apply ${describeTiming(startUp.apply)}`,
    );
    const cases = [];
    for (const { name, files } of inputs(folder)) {
      if (name.includes(values.only)) cases.push(await measureCase(name, files()));
    }
    console.log(JSON.stringify({ startUp, runs: Number(values.runs), cases }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What one byte takes. */
async function measureStartUp(folder: string): Promise<{ create: Timing; apply: Timing }> {
  const at = (name: string): string => join(folder, name);
  const files = { source: at('a'), target: at('b'), patch: at('patch'), output: at('output') };
  writeFileSync(files.source, 'a');
  writeFileSync(files.target, 'b');
  const mallorn = ours('mallorn');
  const create = timingOf(await repeat(START_UP_RUNS, () => onOneCore(mallorn.create(files))));
  return { create, apply: timingOf(await repeat(START_UP_RUNS, () => onOneCore(mallorn.apply(files)))) };
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
  const floorSeconds = timingOf(await repeat(Number(values.runs), () => copyAndHash(files))).seconds;
  console.log(`  cp + sha256sum ${floorSeconds.toFixed(2)} s, ${rate(bytes, floorSeconds)} MB/s`);
  const figures: (Figures | NotFinished)[] = [];
  for (const tool of TOOLS) figures.push(await measureTool(tool, files, wanted));
  const bsdiff = figures.find(({ tool }) => tool === 'bsdiff');
  for (const one of figures) console.log(`  ${describe(one, bytes, bsdiff)}`);
  return { name, bytes, floorSeconds, tools: figures };
}

async function measureTool(tool: Tool, files: Files, wanted: string): Promise<Figures | NotFinished> {
  // One creation: at these sizes it takes minutes, and other tools need hours.
  const created = await onOneCoreWithin(tool.create(files), Number(values.limit));
  if (created === null) return { tool: tool.name, notFinishedAfterSeconds: Number(values.limit) };
  const patchBytes = statSync(files.patch).size;
  const applied = await repeat(Number(values.runs), () => {
    rmSync(files.output, { force: true });
    return onOneCore(tool.apply(files));
  });
  if (hashFile(files.output) !== wanted) throw new Error(`${tool.name} made other bytes`);
  return {
    tool: tool.name,
    patchBytes,
    create: timingOf([created]),
    apply: timingOf(applied),
  };
}

/** What copying and checking costs without any patch. */
async function copyAndHash({ source, output }: Files): Promise<MeasuredRun> {
  return onOneCore(['sh', '-c', 'cp "$0" "$1" && sha256sum "$1"', source, output]);
}

function onOneCore(command: readonly string[]): Promise<MeasuredRun> {
  const [program, ...args] = pinned(command);
  return measureCommand(program!, args);
}

function onOneCoreWithin(command: readonly string[], limitSeconds: number): Promise<MeasuredRun | null> {
  const [program, ...args] = pinned(command);
  return measureWithin(program!, args, limitSeconds);
}

/** The command on the first core alone, so that threads do not count as speed. */
function pinned(command: readonly string[]): readonly string[] {
  return isInstalled('taskset') ? ['taskset', '-c', '0', ...command] : command;
}

async function repeat(times: number, run: () => Promise<MeasuredRun>): Promise<MeasuredRun[]> {
  const runs: MeasuredRun[] = [];
  for (let i = 0; i < times; i++) runs.push(await run());
  return runs;
}

/** Medians. */
function timingOf(runs: readonly MeasuredRun[]): Timing {
  const seconds = median(runs.map((run) => run.seconds));
  const cpuSeconds = Math.max(LEAST_SECONDS, median(runs.map((run) => run.cpuSeconds ?? run.seconds)));
  return { seconds, cpuSeconds, rssMiB: mib(runs[0]!.peakRssKiB) };
}

function median(times: readonly number[]): number {
  return [...times].sort((a, b) => a - b)[times.length >> 1]!;
}

function mib(kib: number | null): number | null {
  return kib === null ? null : Math.round(kib / 1024);
}

function rate(bytes: number, seconds: number): string {
  return (bytes / 1e6 / seconds).toFixed(1);
}

function describe(one: Figures | NotFinished, bytes: number, bsdiff: Figures | NotFinished | undefined): string {
  const tool = one.tool.padEnd(18);
  if ('notFinishedAfterSeconds' in one) return `${tool} create not finished after ${one.notFinishedAfterSeconds} s`;
  const against = (phase: 'create' | 'apply'): string => {
    const { cpuSeconds } = one[phase];
    if (bsdiff === undefined) return '';
    if (!('notFinishedAfterSeconds' in bsdiff))
      return `, ${(bsdiff[phase].cpuSeconds / cpuSeconds).toFixed(2)} x bsdiff's speed`;
    if (phase === 'apply') return '';
    return `, over ${(bsdiff.notFinishedAfterSeconds / one.create.seconds).toFixed(1)} x bsdiff's speed`;
  };
  const create = `create ${describeTiming(one.create)}${against('create')}`;
  const apply = `apply ${describeTiming(one.apply)} = ${rate(bytes, one.apply.seconds)} MB/s${against('apply')}`;
  return `${tool} ${String(one.patchBytes).padStart(10)} bytes; ${create}; ${apply}`;
}

function describeTiming({ seconds, cpuSeconds, rssMiB }: Timing): string {
  return `${seconds.toFixed(2)} s (${cpuSeconds.toFixed(2)} s of CPU, ${rssMiB} MiB)`;
}
