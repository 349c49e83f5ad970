/**
 * The fleet suite (hil-tests/fleet): agents of a whole fleet in this process, each with its own slots, ordered to update while brokers
 * are killed, messages repeated and wills of dead sessions published. Once on Debian's mosquitto with TLS and ACLs, once on the
 * embedded broker. Ends with one line of JSON. Without mosquitto (scripts/fleet-setup.sh installs it) that half is skipped; in CI
 * (CI=true) that fails.
 *
 *   npm run test:fleet                      200 agents on each broker
 *   npm run test:fleet -- --agents 20 --seed 7 --broker mosquitto
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { EmbeddedFleetBroker, type FleetBroker, Mosquitto } from '../hil-tests/fleet/brokers.js';
import { Fleet, type FleetReport } from '../hil-tests/fleet/fleet.js';
import { repoRoot } from '../hil-tests/support/paths.js';

/** Several times what it takes on two cores. */
const GIVE_UP_MINUTES = 10;
const { values } = parseArgs({
  options: {
    agents: { type: 'string', default: '200' },
    seed: { type: 'string', default: `${Date.now() % 1_000_000}` },
    broker: { type: 'string', default: 'both' },
  },
});
const seed = Number(values.seed);
const devices = Array.from({ length: Number(values.agents) }, (_, index) => `gw-${index + 1}`);
const folder = mkdtempSync(join(tmpdir(), 'mallorn-fleet-'));
let total: FleetReport = { agents: 0, rightVersion: 0, oneTerminal: 0, faults: 0 };
console.log(`${devices.length} agents, seed ${seed}`);
const watchdog = setTimeout(() => {
  console.log(`FAILED: not done after ${GIVE_UP_MINUTES} minutes`);
  process.exit(1);
}, GIVE_UP_MINUTES * 60_000);
try {
  if (values.broker !== 'embedded') await onMosquitto();
  if (values.broker !== 'mosquitto') await on('embedded', new EmbeddedFleetBroker());
} finally {
  clearTimeout(watchdog);
  rmSync(folder, { recursive: true, force: true });
}
console.log(JSON.stringify(total));
if (total.rightVersion < total.agents || total.oneTerminal < total.agents) process.exitCode = 1;

async function onMosquitto(): Promise<void> {
  const { status, stdout } = spawnSync(join(repoRoot, 'scripts/fleet-setup.sh'), ['--check'], { encoding: 'utf8' });
  if (status === 0)
    return on('mosquitto', new Mosquitto(join(folder, 'broker'), [...devices, 'server', 'observer', 'chaos']));
  const inCi = process.env['CI'] === 'true';
  console.log(`${inCi ? 'FAILED' : 'skipped'}: mosquitto: ${stdout.trim()}. scripts/fleet-setup.sh installs it.`);
  if (inCi) process.exitCode = 1;
}

async function on(name: string, broker: FleetBroker): Promise<void> {
  const fleet = new Fleet(join(folder, name), join(repoRoot, 'dist/cli.js'), broker, devices, seed);
  const report = await fleet.run();
  total = {
    agents: total.agents + report.agents,
    rightVersion: total.rightVersion + report.rightVersion,
    oneTerminal: total.oneTerminal + report.oneTerminal,
    faults: total.faults + report.faults,
  };
}
