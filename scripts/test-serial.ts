/**
 * The serial suite (hil-tests/serial): faults on the line in virtual time; updates through a PTY; peers that are not ours; the agent's children. Ends with
 * one line of JSON; `faults` counts those that hit, `efficiency...` is the share of patch bytes in all bytes from the gateway to the
 * device, counted in the cable. What socat and Python's smpclient are needed for skips itself without them; in CI (CI=true) that
 * fails. scripts/serial-setup.sh installs both.
 *
 *   npm run test:serial                     all of it
 *   npm run test:serial -- PART             the cases whose name contains PART
 */
import { fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import type { Outcome } from '../hil-tests/serial/run-cases.js';
import { nodeBundle, packageVersion, root } from './esbuild-options.js';

interface Report extends Outcome {
  /** null where they were not measured. */
  readonly efficiencyConsole: number | null;
  readonly efficiencyRaw: number | null;
}

type Message = Partial<Outcome> & { readonly efficiency?: { readonly console: number; readonly raw: number } };

const OUT = '.build/serial';
const PARTS = ['link', 'port', 'interop', 'child'] as const;
const NEED_TOOLS: readonly string[] = ['port', 'interop', 'child'];

const part = process.argv[2] ?? '';
await bundle();
const missing = missingTools();
let report: Report = { failed: 0, faults: 0, efficiencyConsole: null, efficiencyRaw: null };
if (missing !== null) {
  const inCi = process.env['CI'] === 'true';
  console.log(
    `${inCi ? 'FAILED' : 'skipped'}: PTYs and foreign peers: ${missing}. scripts/serial-setup.sh installs it.`,
  );
  if (inCi) report = { ...report, failed: 1 };
}
// Two at a time: one part computes, the others mostly wait for lines.
const parts = PARTS.filter((name) => missing === null || !NEED_TOOLS.includes(name));
const [first, ...others] = parts;
await Promise.all([run(first!), others.reduce((before, name) => before.then(() => run(name)), Promise.resolve())]);
console.log(JSON.stringify(report));
process.exitCode = report.failed === 0 ? 0 : 1;

async function bundle(): Promise<void> {
  await build({
    ...nodeBundle,
    entryPoints: [...PARTS, 'cable'].map((name) => `hil-tests/serial/${name}.main.ts`),
    outdir: OUT,
    outExtension: { '.js': '.mjs' },
    sourcemap: 'linked',
    define: {
      'import.meta.url': JSON.stringify(pathToFileURL(join(root, 'hil-tests/serial/rig.ts')).href),
      MALLORN_VERSION: JSON.stringify(packageVersion()),
      MALLORN_CABLE: JSON.stringify(join(root, OUT, 'cable.main.mjs')),
    },
  });
}

/** What is missing; null when all is there. */
function missingTools(): string | null {
  const { status, stdout, stderr } = spawnSync(join(root, 'scripts/serial-setup.sh'), ['--check'], {
    encoding: 'utf8',
  });
  return status === 0 ? null : (stdout ?? '').trim() || (stderr ?? '').trim() || 'scripts/serial-setup.sh does not run';
}

async function run(name: string): Promise<void> {
  const child = fork(join(root, OUT, `${name}.main.mjs`), [part], { execArgv: ['--enable-source-maps'] });
  let heard = false;
  child.on('message', ({ failed, faults, efficiency }: Message) => {
    heard ||= failed !== undefined;
    report = { ...report, failed: report.failed + (failed ?? 0), faults: report.faults + (faults ?? 0) };
    if (efficiency === undefined) return;
    const measured = (share: number): number | null => (share === 0 ? null : share);
    report = { ...report, efficiencyConsole: measured(efficiency.console), efficiencyRaw: measured(efficiency.raw) };
  });
  await once(child, 'close');
  // It ended before it could count.
  if (!heard) report = { ...report, failed: report.failed + 1 };
}
