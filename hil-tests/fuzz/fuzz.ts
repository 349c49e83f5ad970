/** Runs a target on mutations of its seeds and counts what happens. */

import { Prng } from '../../targets/sim/prng.js';
import { mutated } from './mutate.js';
import { type FuzzTarget, Hang, type Outcome } from './target.js';

/** Steps an input may take, whatever it is. */
const BUDGET = 100_000;
/** For loops that count no steps. Far beyond what an input takes on a machine that is busy with other things. */
const MOST_MS = 60_000;
const PROGRESS_EVERY = 500;
const MOST_FAILURES_KEPT = 20;
/** Of the mutations of a target that can repair, one in so many stays as it is. */
const UNREPAIRED_SHARE = 4;
const REPAIR_TRIES = 8;

export interface FuzzReport {
  readonly target: string;
  readonly seed: number;
  mutations: number;
  /** Of these, how many had their hashes, checksums or signatures made right; null where the format has none. */
  repaired: number | null;
  taken: number;
  refused: number;
  crashes: number;
  hangs: number;
  /** The first failures: which mutation of this seed, the bytes in hex, what was thrown. */
  readonly failures: string[];
}

export interface FuzzOptions {
  readonly count: number;
  readonly seed: number;
  /** Told now and then how many are done. */
  readonly onProgress?: (done: number) => void;
}

export function fuzz(target: FuzzTarget, { count, seed, onProgress }: FuzzOptions): FuzzReport {
  const report: FuzzReport = {
    target: target.name,
    seed,
    mutations: 0,
    repaired: target.repair === undefined ? null : 0,
    taken: 0,
    refused: 0,
    crashes: 0,
    hangs: 0,
    failures: [],
  };
  const random = new Prng(seed);
  const seeds = target.seeds();
  for (let i = 0; i < count; i++) {
    // The seeds themselves first: a target that refuses those tests nothing.
    let bytes = seeds[i] ?? mutate(target, seeds, random);
    if (i >= seeds.length && report.repaired !== null && random.below(UNREPAIRED_SHARE) > 0) {
      const repaired = mutateAndRepair(target, seeds, random);
      if (repaired !== null) report.repaired++;
      bytes = repaired ?? bytes;
    }
    try {
      report[timed(target, bytes)]++;
    } catch (error) {
      report[error instanceof Hang ? 'hangs' : 'crashes']++;
      if (report.failures.length < MOST_FAILURES_KEPT)
        report.failures.push(
          `${target.name} seed ${seed} mutation ${i}: ${error}\n  ${Buffer.from(bytes).toString('hex')}`,
        );
    }
    report.mutations++;
    if (i % PROGRESS_EVERY === 0) onProgress?.(i);
  }
  return report;
}

function mutate(target: FuzzTarget, seeds: readonly Uint8Array[], random: Prng): Uint8Array {
  return target.mutate?.(seeds, random) ?? mutated(seeds, random);
}

/** Many a mutation leaves too little of the structure: others are tried. */
function mutateAndRepair(target: FuzzTarget, seeds: readonly Uint8Array[], random: Prng): Uint8Array | null {
  for (let tries = 0; tries < REPAIR_TRIES; tries++) {
    const repaired = target.repair?.(mutate(target, seeds, random)) ?? null;
    if (repaired !== null) return repaired;
  }
  return null;
}

function timed(target: FuzzTarget, bytes: Uint8Array): Outcome {
  const started = performance.now();
  const outcome = target.run(bytes, BUDGET);
  const tookMs = performance.now() - started;
  if (tookMs > MOST_MS) throw new Hang(`${Math.round(tookMs)} ms`);
  return outcome;
}
