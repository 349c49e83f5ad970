/**
 * What the built agent costs while it has nothing to do: resident memory and processor time of its process, connected to a broker, once
 * freshly started and once after an update. Then what 10,000 updates leave behind. Ends with one line of JSON; fails over the limits.
 * Needs /proc.
 *
 *   npm run bench:idle                    a minute each
 *   npm run bench:idle -- --seconds 10 --cycles 1000
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { AgentRig } from '../hil-tests/support/agent-rig.js';
import { noise } from '../hil-tests/support/make-patch.js';
import { repoRoot } from '../hil-tests/support/paths.js';
import { UpdateCycles } from '../hil-tests/support/update-cycles.js';

const MAX_RSS_MIB = 70;
const MAX_CPU_PERCENT = 0.5;
const MAX_GROWTH_BYTES = 1_000_000;
/** Compiling and the first garbage collections are over by then. */
const SETTLE_MS = 10_000;
const WARM_CYCLES = 2000;
/** Linux: 100 everywhere that Node runs. */
const TICKS_PER_SECOND = 100;

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, cycles: { type: 'string', default: '10000' } },
});
const seconds = Number(values.seconds);
const OLD = noise(1_000_000, 1);
const NEW = noise(1_000_000, 2);

const rig = await AgentRig.start({ installed: OLD });
let started: Idle;
let updated: Idle;
try {
  const pid = rig.startChild(join(repoRoot, 'dist/cli.js'));
  await rig.reported('no_wish');
  started = await watch(pid);
  await rig.wish(await rig.publishFiles([OLD], NEW));
  await rig.reported('up_to_date');
  updated = await watch(pid);
} finally {
  await rig.stop();
}
const grown = await growth(Number(values.cycles));
console.log(JSON.stringify({ node: process.version, seconds, started, updated, ...grown }));
const isOver = [started, updated].some((idle) => idle.cpuPercent > MAX_CPU_PERCENT || idle.rssMiB > MAX_RSS_MIB);
if (isOver || grown.grownBytes > MAX_GROWTH_BYTES) process.exitCode = 1;

interface Idle {
  /** The most that was seen. */
  readonly rssMiB: number;
  readonly cpuPercent: number;
}

async function watch(pid: number): Promise<Idle> {
  await delay(SETTLE_MS);
  const before = cpuTicks(pid);
  let most = 0;
  for (let second = 0; second < seconds; second++) {
    await delay(1000);
    most = Math.max(most, rssKib(pid));
  }
  const cpuSeconds = (cpuTicks(pid) - before) / TICKS_PER_SECOND;
  return { rssMiB: rounded(most / 1024), cpuPercent: rounded((100 * cpuSeconds) / seconds) };
}

function rssKib(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** User and system time of all its threads: fields 14 and 15 of proc(5), behind the name in brackets. */
function cpuTicks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const [user, system] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13);
  return Number(user) + Number(system);
}

async function growth(count: number): Promise<{ cycles: number; heapBytes: number; grownBytes: number }> {
  const cycles = await UpdateCycles.start();
  try {
    await cycles.run(WARM_CYCLES);
    const before = await cycles.heapBytes();
    await cycles.run(count);
    const heapBytes = await cycles.heapBytes();
    return { cycles: count, heapBytes, grownBytes: heapBytes - before };
  } finally {
    await cycles.stop();
  }
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
