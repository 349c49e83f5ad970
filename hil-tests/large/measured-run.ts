/** Runs a command and watches how much memory its whole process takes. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

export interface MeasuredRun {
  readonly seconds: number;
  /** Highest resident set, threads and all; null where the system has no /proc. */
  readonly peakRssKiB: number | null;
  readonly stdout: string;
}

/** The kernel keeps the mark; it only has to be read before the process is gone. */
const POLL_MS = 10;

/** Runs node on `args`. @throws Error when it fails */
export function runMeasured(args: readonly string[]): Promise<MeasuredRun> {
  return measureCommand(process.execPath, args);
}

/** @throws Error when it fails */
export async function measureCommand(command: string, args: readonly string[]): Promise<MeasuredRun> {
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
  const poll = setInterval(() => {
    peakRssKiB = Math.max(peakRssKiB ?? 0, highWaterKiB(child.pid!) ?? 0) || null;
  }, POLL_MS);
  const [code] = (await once(child, 'close')) as [number | null];
  clearInterval(poll);
  if (code !== 0)
    throw new Error(`${[command, ...args].join(' ')} ended with ${code}: ${output.stderr}${output.stdout}`);
  return { seconds: (performance.now() - start) / 1000, peakRssKiB, stdout: output.stdout };
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
