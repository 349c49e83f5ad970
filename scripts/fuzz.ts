/**
 * `npm run fuzz -- [TARGET...] [--count N | --long] [--seed S]`: random and mutated inputs for the targets in hil-tests/fuzz, a
 * million over all of them unless told otherwise, ten million with --long. Each target in a process of its own, two at a time:
 * its memory is then its own. Prints a row for each, with the share of mutations whose hashes, checksums or signatures were made right where
 * its format has any, and ends with one line of JSON.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type FuzzReport, fuzz } from '../hil-tests/fuzz/fuzz.js';
import type { FuzzTarget } from '../hil-tests/fuzz/target.js';
import { TARGETS } from '../hil-tests/fuzz/targets.js';

/** Heap and buffers may grow by so much over all mutations of a target: noise of the engine, not a leak. */
const MOST_GROWTH_BYTES = 4 << 20;
/** Most of the machine's memory that a target's process may ever have had: the engine alone takes a quarter of it. */
const MOST_RSS_BYTES = 320 << 20;
/** Mutations after which the engine has warmed up. */
const WARM_UP = 20_000;
/** Of the mutations of a format with hashes, checksums or signatures, those that get past them. */
const LEAST_REPAIRED = 0.5;
const WORKERS = 2;
const LOOKS = 8;
/** A target that says nothing for so long is in a loop that counts no steps. */
const SILENCE_MS = 300_000;
const MILLION = 1_000_000;
const COLUMNS = [
  'target    ',
  'mutations',
  're-hashed',
  '     taken',
  '  refused',
  'crashes',
  'hangs',
  'CPU s',
  'peak MiB',
  'grew KiB',
] as const;

type Totals = Record<'mutations' | 'crashes' | 'hangs', number>;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: 'string' },
    long: { type: 'boolean', default: false },
    seed: { type: 'string', default: '1' },
    /** Ours: does one target in this process. */
    child: { type: 'boolean', default: false },
  },
});
const count = Number(values.count ?? (values.long ? 10 * MILLION : MILLION));
const seed = Number(values.seed);
const targets = TARGETS.filter((create) => positionals.length === 0 || positionals.includes(create().name));
if (targets.length === 0 || !Number.isSafeInteger(count) || count < 1 || !Number.isSafeInteger(seed)) {
  console.error('usage: npm run fuzz -- [TARGET...] [--count N | --long] [--seed S]');
  process.exit(2);
}
if (values.child) runTarget(targets[0]!());
else await runAll(targets.map((create) => create()));

// --- all of them ------------------------------------------------------------------------------------------------------

async function runAll(all: readonly FuzzTarget[]): Promise<void> {
  const totals: Totals = { mutations: 0, crashes: 0, hangs: 0 };
  const waiting = partsOf(all);
  const work = async (): Promise<void> => {
    for (let part = waiting.shift(); part !== undefined; part = waiting.shift()) add(totals, await runChild(part));
  };
  console.log(row(COLUMNS));
  await Promise.all(Array.from({ length: WORKERS }, work));
  if (totals.crashes + totals.hangs > 0) process.exitCode = 1;
  console.log(JSON.stringify(totals));
}

interface Part {
  readonly name: string;
  readonly count: number;
}

/** Largest first, so that no long one is left at the end; together exactly `count`. */
function partsOf(all: readonly FuzzTarget[]): Part[] {
  const shares = all.reduce((sum, { share }) => sum + share, 0);
  const parts = all.map(({ name, share }) => ({ name, count: Math.floor((count * share) / shares) }));
  const rest = count - parts.reduce((sum, part) => sum + part.count, 0);
  return parts.map((part, i) => (i === 0 ? { ...part, count: part.count + rest } : part)).sort(byCount);
}

function byCount(a: Part, b: Part): number {
  return b.count - a.count;
}

function add(totals: Totals, more: Totals): void {
  for (const key of ['mutations', 'crashes', 'hangs'] as const) totals[key] += more[key];
}

/** What a child printed last; a child that died is a crash, one that fell silent a hang. */
async function runChild({ name, count: share }: Part): Promise<Totals> {
  if (share === 0) return { mutations: 0, crashes: 0, hangs: 0 };
  const args = [fileURLToPath(import.meta.url), name, '--child', '--count', String(share), '--seed', String(seed)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
  let output = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const silent = await endOrSilence(child);
  const lines = output.trimEnd().split('\n');
  const last = lines.pop() ?? '';
  for (const line of lines) console.log(line);
  if (child.exitCode !== 0) process.exitCode = 1;
  if (last.startsWith('{')) return JSON.parse(last) as Totals;
  console.log(
    `FAILED ${name}: its process ${silent ? 'fell silent' : `ended with ${child.signalCode ?? child.exitCode}`}`,
  );
  return { mutations: 0, crashes: silent ? 0 : 1, hangs: silent ? 1 : 0 };
}

/** True when it had to be ended. */
function endOrSilence(child: ChildProcess): Promise<boolean> {
  return new Promise((resolve) => {
    let silent = false;
    const watch = (): NodeJS.Timeout =>
      setTimeout(() => {
        silent = true;
        child.kill('SIGKILL');
      }, SILENCE_MS);
    let timer = watch();
    child.on('message', () => {
      clearTimeout(timer);
      timer = watch();
    });
    child.on('close', () => {
      clearTimeout(timer);
      resolve(silent);
    });
  });
}

// --- one of them ------------------------------------------------------------------------------------------------------

function runTarget(target: FuzzTarget): void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  /** Buffers are freed beside the program: the least of several looks is what is really held. */
  const memoryInUse = (): number => {
    const looks = Array.from({ length: LOOKS }, () => {
      collect();
      const { heapUsed, arrayBuffers } = process.memoryUsage();
      return heapUsed + arrayBuffers;
    });
    return Math.min(...looks);
  };
  const onProgress = (done: number): void => void process.send?.(done);
  const warmUp = fuzz(target, { count: Math.min(WARM_UP, Math.ceil(count / 10)), seed: seed + 1, onProgress });
  const before = memoryInUse();
  const report = fuzz(target, { count, seed, onProgress });
  const grown = memoryInUse() - before;
  const rss = process.resourceUsage().maxRSS * 1024;
  show(report, process.cpuUsage().user / 1e6, grown, rss);
  for (const failure of warmUp.failures) console.log(`FAILED in the warm-up: ${failure}`);
  const crashes = report.crashes + warmUp.crashes;
  const hangs = report.hangs + warmUp.hangs;
  if (crashes + hangs > 0 || grown > MOST_GROWTH_BYTES || rss > MOST_RSS_BYTES) process.exitCode = 1;
  // A few mutations are no share.
  if (count >= WARM_UP && report.repaired !== null && report.repaired < LEAST_REPAIRED * count) {
    console.log(`FAILED ${target.name}: ${report.repaired} of ${count} mutations passed its hashes`);
    process.exitCode = 1;
  }
  console.log(JSON.stringify({ mutations: report.mutations, crashes, hangs }));
  process.disconnect?.();
}

function show({ failures, ...report }: FuzzReport, seconds: number, grown: number, rss: number): void {
  for (const failure of failures) console.log(`FAILED ${failure}`);
  const { target, mutations, repaired, taken, refused, crashes, hangs } = report;
  const share = repaired === null ? 'n/a' : `${Math.floor((100 * repaired) / mutations)} %`;
  const counts = [share, taken, refused, crashes, hangs, seconds.toFixed(0), rss >> 20, grown >> 10];
  console.log(row([target, mutations, ...counts]));
}

function row([name, ...values]: readonly (string | number)[]): string {
  const [first, ...others] = COLUMNS;
  const cells = others.map((title, i) => String(values[i]).padStart(title.length));
  return [String(name).padEnd(first.length), ...cells].join('  ');
}
