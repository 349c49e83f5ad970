/**
 * The systemd suite (hil-tests/systemd): the packed package, installed by the instructions of docs/operations.md, under a real systemd
 * as process 1 of namespaces of its own, with Debian's mosquitto. Ends with one line of JSON. Skipped where that cannot be had (root,
 * namespaces, systemd, mosquitto of scripts/fleet-setup.sh, a registry for the package's dependencies); in CI (CI=true) that fails.
 *
 *   npm run test:systemd                           on this machine's own systemd; a minute and a half
 *   npm run test:systemd -- --root FOLDER          on that of a Debian in a folder (scripts/debian-root.sh)
 *   npm run test:systemd -- PART                   the cases whose name contains PART
 */
import { parseArgs } from 'node:util';
import { UNIT_CASES } from '../hil-tests/systemd/cases.js';
import { InstalledUnit } from '../hil-tests/systemd/installed-unit.js';
import { missingForMachine } from '../hil-tests/systemd/machine.js';

/** Several times what it takes on two cores. */
const GIVE_UP_MINUTES = 8;
const { values, positionals } = parseArgs({
  options: { root: { type: 'string', default: '/' } },
  allowPositionals: true,
});
const [part = ''] = positionals;
const watchdog = setTimeout(() => {
  console.log(`FAILED: not done after ${GIVE_UP_MINUTES} minutes`);
  process.exit(1);
}, GIVE_UP_MINUTES * 60_000);
const missing = missingForMachine(values.root);
let passed = 0;
let failed = 0;
if (missing === null) {
  await runCases();
} else {
  const inCi = process.env['CI'] === 'true';
  console.log(`${inCi ? 'FAILED' : 'skipped'}: ${missing}`);
  if (inCi) failed++;
}
clearTimeout(watchdog);
console.log(JSON.stringify({ passed, failed, skipped: missing === null ? 0 : UNIT_CASES.length }));
if (failed > 0) process.exitCode = 1;

async function runCases(): Promise<void> {
  const unit = await InstalledUnit.install(values.root);
  try {
    console.log(unit.machine.version);
    for (const { name, run } of UNIT_CASES.filter((each) => each.name.includes(part))) {
      const began = performance.now();
      try {
        await unit.backToFirst();
        await run(unit);
        passed++;
        console.log(`ok: ${name} (${Math.round(performance.now() - began)} ms)`);
      } catch (error) {
        failed++;
        console.log(`FAILED: ${name}: ${error instanceof Error ? error.stack : error}`);
        console.log((await unit.machine.run('journalctl --no-pager -o short-precise | tail -60')).stdout);
      }
    }
  } finally {
    await unit.close();
  }
}
