/**
 * The power-cut suite (hil-tests/power): every case of every group in two processes, then mutants of the production source,
 * each of which a part of the suite must kill. Ends with one line of JSON.
 *
 *   npm run test:power                     all of it
 *   npm run test:power -- --mutants        the mutants alone
 *   npm run test:power -- --replay ID      one case, by the id that a failure printed
 */

import { type ChildProcess, execFileSync, fork, spawn, spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { GEOMETRIES } from '../hil-tests/power/geometries.js';
import { IN_PLACE_MUTANTS } from '../hil-tests/power/in-place-mutants.js';
import { MUTANTS as APPLY_MUTANTS, type Mutant } from '../hil-tests/power/mutants.js';
import type { GroupReport } from '../hil-tests/power/power.main.js';
import { SLOT_MUTANTS } from '../hil-tests/power/slot-mutants.js';
import type { Failure } from '../hil-tests/power/tally.js';
import type { Edit } from '../hil-tests/support/edit.js';
import { editing } from './edit-sources.js';
import { nodeBundle, root } from './esbuild-options.js';

const MUTANTS: readonly Mutant[] = [...APPLY_MUTANTS, ...IN_PLACE_MUTANTS, ...SLOT_MUTANTS];
const WORKERS = 2;
const LEAST_FIRED = 100_000;
const LEAST_GEOMETRIES = 12;
const MOST_FAILURES_SHOWN = 20;
/** A mutant that boots for ever is killed too; the slowest group takes a few seconds. */
const MUTANT_MS = 60_000;

type Verdict = 'killed' | 'survived' | 'broken';

const outdir = join(root, `.build/power-${process.pid}`);
const [option, id] = process.argv.slice(2);
try {
  const suite = join(outdir, 'suite.mjs');
  await bundle(suite, []);
  if (option === '--replay') process.exitCode = replay(suite, id ?? '');
  else await runAll(suite, option === '--mutants');
} finally {
  rmSync(outdir, { recursive: true, force: true });
}

async function runAll(suite: string, mutantsOnly: boolean): Promise<void> {
  for (const { id, part, profile, segmentBytes, segments, journalBlocks } of GEOMETRIES) {
    const erased = `erased to 0x${part.eraseValue.toString(16).padStart(2, '0')}`;
    const flash = `blocks of ${part.blockLength}, write unit ${part.writeAlign}, ${erased}, ${journalBlocks} for the journal`;
    console.log(`${id}: ${flash}; ${profile} patch of ${segments} segments of ${segmentBytes}`);
  }
  const reports = mutantsOnly ? [] : await runGroups(suite);
  const fired = reports.reduce((sum, report) => sum + report.fired, 0);
  const failures = reports.flatMap((report) => report.failures);
  const cpuSeconds = reports.reduce((sum, report) => sum + report.cpuMs, 0) / 1000;
  for (const { id, message } of failures.slice(0, MOST_FAILURES_SHOWN)) {
    console.log(`FAILED ${id}: ${message}\n  again: npm run test:power -- --replay ${id}`);
  }
  if (!mutantsOnly) console.log(`${fired} cuts in ${cpuSeconds.toFixed(0)} s of CPU time`);
  const verdicts = await inParallel(MUTANTS, runMutant);
  const killed = verdicts.filter((verdict) => verdict === 'killed').length;
  const short =
    !mutantsOnly && (fired < LEAST_FIRED || new Set(GEOMETRIES.map(({ id }) => id)).size < LEAST_GEOMETRIES);
  if (failures.length > 0 || killed < MUTANTS.length || short) process.exitCode = 1;
  console.log(JSON.stringify({ fired, failed: failures.length, mutants: MUTANTS.length, killed }));
}

async function runGroups(suite: string): Promise<GroupReport[]> {
  const names = JSON.parse(execFileSync(process.execPath, [suite, 'list'], { encoding: 'utf8' })) as string[];
  const workers = Array.from({ length: WORKERS }, () => fork(suite, [], { execArgv: ['--enable-source-maps'] }));
  try {
    const reports = await Promise.all(workers.map((worker) => drain(worker, names)));
    return reports.flat();
  } finally {
    for (const worker of workers) worker.kill();
  }
}

/** Has `worker` run groups until `names`, which the workers share, is empty. */
function drain(worker: ChildProcess, names: string[]): Promise<GroupReport[]> {
  const reports: GroupReport[] = [];
  return new Promise((resolve, reject) => {
    const next = (): void => {
      const name = names.shift();
      if (name === undefined) resolve(reports);
      else worker.send(name);
    };
    worker.on('message', (report) => {
      reports.push(report as GroupReport);
      next();
    });
    worker.on('error', reject);
    worker.on('exit', (code) => reject(new Error(`a worker ended with ${code} after ${reports.length} groups`)));
    next();
  });
}

function replay(suite: string, id: string): number {
  const { status } = spawnSync(process.execPath, ['--enable-source-maps', suite, 'replay', id], { stdio: 'inherit' });
  return status ?? 1;
}

async function runMutant(mutant: Mutant, index: number): Promise<Verdict> {
  const outfile = join(outdir, `mutant-${index}.mjs`);
  let verdict: Verdict = 'broken';
  let detail: string;
  try {
    await bundle(outfile, mutant.edits);
    [verdict, detail] = await judge(outfile, mutant.groups);
  } catch (error) {
    detail = String(error);
  }
  console.log(`${verdict}: ${mutant.name} (${detail.slice(0, 200)})`);
  return verdict;
}

/** A group that fails without any cut, or does not even load, says nothing about power cuts. */
async function judge(suite: string, groups: readonly string[]): Promise<[Verdict, string]> {
  const child = spawn(process.execPath, [suite, 'until-failure', ...groups], { stdio: ['ignore', 'pipe', 'ignore'] });
  let output = '';
  child.stdout.on('data', (text) => {
    output += text;
  });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
  }, MUTANT_MS);
  const code = await new Promise((resolve) => child.on('close', resolve));
  clearTimeout(timer);
  if (late) return ['killed', 'it never ends'];
  if (code === 0) return ['survived', groups.join(', ')];
  if (code !== 1 || output === '') return ['broken', `exit code ${code}`];
  const { id, message } = JSON.parse(output) as Failure;
  return [groups.includes(id) ? 'broken' : 'killed', `${id}: ${message.split('\n')[0]}`];
}

async function inParallel<T, R>(items: readonly T[], work: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < items.length) {
      const index = next++;
      results[index] = await work(items[index]!, index);
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, lane));
  return results;
}

/** Fails when an edit's text is not there exactly once, or in a file that the suite does not reach. */
async function bundle(outfile: string, edits: readonly Edit[]): Promise<void> {
  const applied = new Set<Edit>();
  await build({
    ...nodeBundle,
    entryPoints: ['hil-tests/power/power.main.ts'],
    outfile,
    sourcemap: 'linked',
    logLevel: 'error',
    plugins: [editing(edits, applied)],
  });
  if (applied.size < edits.length) throw new Error('the suite does not reach an edited file');
}
