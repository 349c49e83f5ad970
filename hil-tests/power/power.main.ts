/**
 * One process of the power-cut suite (scripts/test-power.ts): runs the groups it is told over the IPC channel, or those named
 * on its command line up to the first failure, as mutants are. Prints nothing but what failed.
 */
import { GROUPS } from './groups.js';
import { type Failure, FirstFailure, Tally, type TallyOptions } from './tally.js';

export interface GroupReport {
  readonly group: string;
  readonly fired: number;
  readonly failures: readonly Failure[];
  readonly cpuMs: number;
}

const [mode, ...rest] = process.argv.slice(2);
if (mode === 'list') console.log(JSON.stringify(GROUPS.map(({ name }) => name)));
else if (mode === 'replay') replay(rest[0] ?? '');
else if (mode === 'until-failure') untilFailure(rest);
else if (process.send !== undefined) process.on('message', (name: string) => process.send!(report(name, {})));

function report(name: string, options: TallyOptions): GroupReport {
  const group = GROUPS.find((each) => each.name === name);
  if (group === undefined) throw new Error(`no group is called ${name}`);
  const tally = new Tally(options);
  const before = process.cpuUsage();
  let failures: readonly Failure[] = tally.failures;
  try {
    group.run(tally);
  } catch (error) {
    // An update that fails without any cut fails the group as a whole.
    if (!(error instanceof FirstFailure)) failures = [...failures, { id: name, message: String(error) }];
  }
  const { user, system } = process.cpuUsage(before);
  return { group: name, fired: tally.fired, failures, cpuMs: (user + system) / 1000 };
}

function replay(id: string): void {
  const group = GROUPS.find(({ name }) => id === name || id.startsWith(`${name}/`));
  if (group === undefined) {
    console.log(`no group of the suite has a case ${id}`);
    process.exitCode = 2;
    return;
  }
  const { fired, failures } = report(group.name, id === group.name ? {} : { only: id });
  for (const failure of failures) console.log(`${failure.id}: ${failure.message}`);
  console.log(`${fired} cuts fired, ${failures.length} failed`);
  process.exitCode = failures.length > 0 ? 1 : fired > 0 ? 0 : 2;
}

function untilFailure(names: readonly string[]): void {
  for (const name of names) {
    const { failures } = report(name, { stopAtFirst: true });
    if (failures.length === 0) continue;
    console.log(JSON.stringify(failures[0]));
    process.exitCode = 1;
    return;
  }
}
