/** What `npm run fuzz` throws bytes at. One file a target; they are listed in targets.ts. */

export interface FuzzTarget {
  readonly name: string;
  /** Well-formed inputs, to be mutated. */
  seeds(): Uint8Array[];
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
