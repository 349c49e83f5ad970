/** Runs a target on mutations of its seeds and counts what happens. */

import { Prng } from '../../targets/sim/prng.js';
import { mutated } from './mutate.js';
import { type FuzzTarget, Hang } from './target.js';

/** Steps an input may take, whatever it is. */
const BUDGET = 100_000;
const MOST_FAILURES_KEPT = 20;

export interface FuzzReport {
  readonly target: string;
  readonly seed: number;
  mutations: number;
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
    const bytes = seeds[i] ?? mutated(seeds, random);
    try {
      report[target.run(bytes, BUDGET)]++;
    } catch (error) {
      report[error instanceof Hang ? 'hangs' : 'crashes']++;
      if (report.failures.length < MOST_FAILURES_KEPT)
        report.failures.push(
          `${target.name} seed ${seed} mutation ${i}: ${error}\n  ${Buffer.from(bytes).toString('hex')}`,
        );
    }
    report.mutations++;
    if (i % 10_000 === 0) onProgress?.(i);
  }
  return report;
}
