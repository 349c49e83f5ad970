/** Runs one command line: parses it, runs the command, prints what went wrong and sets the exit code. */

import { Command, CommanderError } from 'commander';
import { addAgent } from './agent-command.js';
import { addApply, addVerify } from './apply-command.js';
import { addCreate } from './create-command.js';
import { EXIT_OK, EXIT_USAGE, exitCodeOf, Interrupted, UsageError } from './failure.js';
import { addFingerprint } from './fingerprint-command.js';
import { addDevices, addFlash } from './flash-command.js';
import { addInfo } from './info-command.js';
import { addJobs } from './jobs-command.js';
import { addKeygen, addKeyRecord, addSign } from './key-commands.js';
import { Output } from './output.js';
import type { Platform } from './platform.js';
import { addPublish } from './publish-command.js';
import type { AddCommand, Session } from './session.js';
import { addSimulateMcu } from './simulate-command.js';
import { addStreams } from './streams-command.js';
import { addTrust } from './trust-commands.js';

const COMMANDS: readonly AddCommand[] = [
  addCreate,
  addApply,
  addVerify,
  addInfo,
  addKeygen,
  addSign,
  addKeyRecord,
  addTrust,
  addFingerprint,
  addPublish,
  addAgent,
  addJobs,
  addStreams,
  addFlash,
  addDevices,
  addSimulateMcu,
];

const END_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

const EXIT_CODES_HELP = `
Exit codes: 0 ok, 1 other, 2 usage, 3 source mismatch, 4 target mismatch, 5 signature, 6 I/O, 7 invalid patch.
With --json one document goes to stdout; of a failure it is {"error": {"name", "code", "message"}}.`;

export async function runCli(platform: Platform): Promise<void> {
  endQuietlyWithoutReader();
  const abort = new AbortController();
  const end = (name: NodeJS.Signals): void => {
    // Once: who asks again, in whatever way, does not want to wait for a clean end.
    for (const other of END_SIGNALS) process.off(other, end);
    abort.abort(new Interrupted(name));
  };
  for (const name of END_SIGNALS) process.on(name, end);
  const onHangup = (listener: () => void): void => {
    process.off('SIGHUP', end);
    process.on('SIGHUP', listener);
  };
  const program = createProgram(platform, abort.signal, onHangup);
  try {
    await program.parseAsync();
  } catch (error) {
    process.exitCode = report(error);
    if (error instanceof Interrupted) process.kill(process.pid, error.signal);
  }
}

function createProgram(platform: Platform, signal: AbortSignal, onHangup: Session['onHangup']): Command {
  const program = new Command('mallorn')
    .description('delta updates for machine-learning models on devices')
    .version(platform.version)
    // `publish` has a --version of its own.
    .enablePositionalOptions()
    .addHelpText('after', EXIT_CODES_HELP)
    .configureOutput({ writeErr: (text) => wantsJson() || process.stderr.write(text) })
    .exitOverride();
  addJsonOption(program);
  const open = (command: Command): Session => ({
    platform,
    output: new Output(command.optsWithGlobals()['json'] === true),
    signal,
    onHangup,
    setExitCode: (code) => {
      process.exitCode = code;
    },
  });
  for (const add of COMMANDS) add(program, open);
  for (const command of program.commands) [command, ...command.commands].forEach(addJsonOption);
  return program;
}

function addJsonOption(command: Command): void {
  command.option('--json', 'print one JSON document');
}

/** Asked of the bare arguments, because a command line may be too wrong to be parsed. */
function wantsJson(): boolean {
  return process.argv.slice(2).includes('--json');
}

/** Prints what went wrong; the exit code. */
function report(error: unknown): number {
  if (!(error instanceof CommanderError)) {
    new Output(wantsJson()).failure(error);
    return exitCodeOf(error);
  }
  // --help and --version end this way too. Commander has told people already what is wrong, scripts not yet.
  if (error.exitCode === EXIT_OK) return EXIT_OK;
  if (wantsJson()) new Output(true).failure(new UsageError(error.message.replace(/^error: /, '')));
  return EXIT_USAGE;
}

/** `mallorn info | head -1`: the reader is gone, which is its right. */
function endQuietlyWithoutReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit();
  });
}
