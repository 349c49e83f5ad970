/** Counts the faults that fired and collects the cases that failed, each under an id that replays it. */

export interface Failure {
  readonly id: string;
  readonly message: string;
}

export interface TallyOptions {
  /** Run the cases whose id this is, or which this id goes through, alone. */
  readonly only?: string;
  /** Throw at the first failure: for mutants, of which one failure is enough. */
  readonly stopAtFirst?: boolean;
}

/** Ends a run of which only the first failure matters. */
export class FirstFailure extends Error {}

export class Tally {
  fired = 0;
  readonly failures: Failure[] = [];
  private readonly options: TallyOptions;

  constructor(options: TallyOptions = {}) {
    this.options = options;
  }

  /** Whether any case whose id begins with `prefix` is to run. */
  wants(prefix: string): boolean {
    return this.options.only?.startsWith(prefix) ?? true;
  }

  /** To be called where a cut was seen to fire, never where it was planned. */
  countFired(): void {
    this.fired++;
  }

  run(id: string, check: () => void): void {
    if (this.options.only !== undefined && this.options.only !== id) return;
    try {
      check();
    } catch (error) {
      const detail = error instanceof Error ? (this.options.only ? error.stack : error.message) : String(error);
      this.failures.push({ id, message: detail ?? '' });
      if (this.options.stopAtFirst) throw new FirstFailure(id);
    }
  }
}
