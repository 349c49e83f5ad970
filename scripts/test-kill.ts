/**
 * The kill suite (hil-tests/kills): two devices at a time, each with the built agent, are killed with SIGKILL at random
 * moments of real updates. Ends with one line of JSON.
 *
 *   npm run test:kill                             300 kills, a seed of the clock's
 *   npm run test:kill -- --kills 50 --seed 7      that many, the moments of this seed
 */

import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { KillChain, PHASES } from '../hil-tests/kills/kill-chain.js';
import { repoRoot } from '../hil-tests/support/paths.js';

const DEVICES = 2;
const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '300' },
    seed: { type: 'string', default: `${Date.now() % 1_000_000}` },
  },
});
const wanted = Number(values.kills);
const seed = Number(values.seed);
console.log(`${wanted} kills, seed ${seed}`);

const cliPath = join(repoRoot, 'dist/cli.js');
const chains: KillChain[] = [];
let failed = 0;
try {
  for (let device = 0; device < DEVICES; device++) {
    // One with each codec: what is left half-done differs.
    chains.push(await KillChain.start({ seed: seed + device, cliPath, neural: device % 2 === 1 }));
  }
  await Promise.all(chains.map(keepKilling));
} finally {
  for (const chain of chains) await chain.stop();
}
const phases = Object.fromEntries(PHASES.map((phase) => [phase, sum((chain) => chain.phases[phase])]));
const kills = sum((chain) => chain.kills);
if (failed > 0 || kills < wanted) process.exitCode = 1;
console.log(
  JSON.stringify({ kills, failed, late: sum(({ late }) => late), updates: sum(({ updates }) => updates), phases }),
);

function sum(of: (chain: KillChain) => number): number {
  return chains.reduce((total, chain) => total + of(chain), 0);
}

async function keepKilling(chain: KillChain, device: number): Promise<void> {
  const enough = (): boolean => failed > 0 || sum(({ kills: done }) => done) >= wanted;
  try {
    while (!enough()) await chain.update(enough);
  } catch (error) {
    failed++;
    console.log(
      `FAILED device ${device}, update ${chain.updates + 1}: ${error instanceof Error ? error.stack : error}`,
    );
    console.log(`${chain.log}\n  again: npm run test:kill -- --seed ${seed}`);
  }
}
