/** Runs a command and watches how much memory and processor time its whole process takes. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

export interface MeasuredRun {
  readonly seconds: number;
  /** Of all threads, to about 0.02 s; null where the system has no /proc. Other programs on the machine hardly change it. */
  readonly cpuSeconds: number | null;
  /** Highest resident set, threads and all; null where the system has no /proc. */
  readonly peakRssKiB: number | null;
  readonly stdout: string;
}

/** The kernel keeps the marks; they only have to be read before the process is gone. */
const POLL_MS = 10;
/** Of /proc: USER_HZ, the same on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Runs node on `args`. @throws Error when it fails */
export function runMeasured(args: readonly string[]): Promise<MeasuredRun> {
  return measureCommand(process.execPath, args);
}

/** @throws Error when it fails */
export async function measureCommand(command: string, args: readonly string[]): Promise<MeasuredRun> {
  const run = await measureWithin(command, args, Number.POSITIVE_INFINITY);
  if (run === null) throw new Error('no limit was set, and one was reached');
  return run;
}

/** Null when it takes longer than `limitSeconds`: it is ended then. @throws Error when it fails */
export async function measureWithin(
  command: string,
  args: readonly string[],
  limitSeconds: number,
): Promise<MeasuredRun | null> {
  const start = performance.now();
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk) => {
    output.stdout += String(chunk);
  });
  child.stderr.on('data', (chunk) => {
    output.stderr += String(chunk);
  });
  let peakRssKiB: number | null = null;
  let cpuSeconds: number | null = null;
  let isCut = false;
  const poll = setInterval(() => {
    peakRssKiB = Math.max(peakRssKiB ?? 0, highWaterKiB(child.pid!) ?? 0) || null;
    cpuSeconds = cpuSecondsOf(child.pid!) ?? cpuSeconds;
    if (isCut || performance.now() - start < 1000 * limitSeconds) return;
    isCut = true;
    child.kill('SIGKILL');
  }, POLL_MS);
  const [code] = (await once(child, 'close')) as [number | null];
  clearInterval(poll);
  if (isCut) return null;
  if (code !== 0)
    throw new Error(`${[command, ...args].join(' ')} ended with ${code}: ${output.stderr}${output.stdout}`);
  return { seconds: (performance.now() - start) / 1000, cpuSeconds, peakRssKiB, stdout: output.stdout };
}

function highWaterKiB(pid: number): number | null {
  try {
    const found = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return found === null ? null : Number(found[1]);
  } catch {
    // Gone already, or a system without /proc.
    return null;
  }
}

/** User and system time: fields 14 and 15, counted from behind the name, which may hold anything. */
function cpuSecondsOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  } catch {
    return null;
  }
}
