/** What `npm run fuzz` throws bytes at. One file a target or a family of them; they are listed in targets.ts. */

import type { Prng } from '../../targets/sim/prng.js';

export interface FuzzTarget {
  readonly name: string;
  /** Mutations of a run that it gets, in relation to the others' shares. */
  readonly share: number;
  /** Well-formed inputs, to be mutated. */
  seeds(): Uint8Array[];
  /** Knows the structure of its inputs. Default: mutated (mutate.ts). */
  mutate?(seeds: readonly Uint8Array[], random: Prng): Uint8Array;
  /**
   * Makes hashes, checksums, lengths or signatures of a mutation right, so that it gets past the checks of transport and reaches
   * what lies behind them; null where too little of the structure is left. Done to most mutations, for what is damaged by chance is
   * stopped by them. Absent where the format has nothing of the kind.
   */
  repair?(bytes: Uint8Array): Uint8Array | null;
  /**
   * Gives `bytes` to the code under test. Returns where it took them or refused them as it should; throws Hang when more than
   * `budget` steps were taken, anything else for a crash.
   */
  run(bytes: Uint8Array, budget: number): Outcome;
}

export type Outcome = 'taken' | 'refused';

/** More steps were taken than any input may cost. */
export class Hang extends Error {
  override readonly name = 'Hang';
}
