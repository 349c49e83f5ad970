/** Runs cases one after another, in a process that a script has started. */

export interface Case {
  readonly name: string;
  /** Why it cannot be run on this machine; null where it can. In CI what cannot be run has failed. */
  cannot?(): string | null;
  /** Gives how many faults hit. */
  run(): Promise<number>;
}

export interface Outcome {
  readonly failed: number;
  readonly faults: number;
}

/** Those whose name contains the first argument. */
export async function runCases(cases: readonly Case[]): Promise<void> {
  const part = process.argv[2] ?? '';
  let failed = 0;
  let faults = 0;
  for (const { name, run, cannot } of cases.filter((each) => each.name.includes(part))) {
    const began = performance.now();
    const reason = cannot?.() ?? null;
    if (reason !== null && process.env['CI'] !== 'true') {
      console.log(`skipped: ${name}: ${reason}`);
      continue;
    }
    try {
      if (reason !== null) throw new Error(reason);
      const fired = await run();
      faults += fired;
      console.log(`ok: ${name} (${fired > 0 ? `${fired} faults, ` : ''}${Math.round(performance.now() - began)} ms)`);
    } catch (error) {
      failed++;
      console.log(`FAILED: ${name}: ${error instanceof Error ? error.stack : error}`);
    }
  }
  process.send?.({ failed, faults } satisfies Outcome);
  process.exitCode = failed === 0 ? 0 : 1;
}
