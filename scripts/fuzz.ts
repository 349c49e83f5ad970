/**
 * `npm run fuzz -- [TARGET...] [--count N] [--seed S]`: random and mutated inputs for the targets in hil-tests/fuzz, a million each
 * unless told otherwise. Prints what each did and how memory grew, and ends with one line of JSON.
 */

import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type FuzzReport, fuzz } from '../hil-tests/fuzz/fuzz.js';
import { TARGETS } from '../hil-tests/fuzz/targets.js';

/** Heap and buffers may grow by so much over all mutations of a target: noise of the engine, not a leak. */
const MOST_GROWTH_BYTES = 4 << 20;
/** Mutations after which the engine has warmed up. */
const WARM_UP = 20_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { count: { type: 'string', default: '1000000' }, seed: { type: 'string', default: '1' } },
});
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const count = Number(values.count);
const targets = TARGETS.map((create) => create()).filter(
  ({ name }) => positionals.length === 0 || positionals.includes(name),
);
if (targets.length === 0 || !Number.isSafeInteger(count) || count < 1) {
  console.error('usage: npm run fuzz -- [TARGET...] [--count N] [--seed S]');
  process.exit(2);
}
const totals = { mutations: 0, crashes: 0, hangs: 0 };
for (const target of targets) {
  const warmUp = fuzz(target, { count: Math.min(WARM_UP, count), seed: Number(values.seed) + 1 });
  const before = memoryInUse();
  const report = fuzz(target, { count, seed: Number(values.seed), onProgress: showProgress });
  const grown = memoryInUse() - before;
  show(report, grown);
  if (grown > MOST_GROWTH_BYTES || warmUp.failures.length > 0) process.exitCode = 1;
  totals.mutations += report.mutations;
  totals.crashes += report.crashes;
  totals.hangs += report.hangs;
}
if (totals.crashes + totals.hangs > 0) process.exitCode = 1;
console.log(JSON.stringify(totals));

function memoryInUse(): number {
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function showProgress(done: number): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${count}`);
}

function show({ target, seed, mutations, taken, refused, crashes, hangs, failures }: FuzzReport, grown: number): void {
  for (const failure of failures) console.log(`FAILED ${failure}`);
  const figures = `${taken} taken, ${refused} refused, ${crashes} crashes, ${hangs} hangs`;
  console.log(`${target}, seed ${seed}: ${mutations} mutations, ${figures}; memory in use grew by ${grown} bytes`);
}
