/** What every command works with: the library, where to print, and the signal that ends it early. */

import { type Command, InvalidArgumentError } from 'commander';
import { UsageError } from './failure.js';
import type { Output } from './output.js';
import type { CallOptions, Platform } from './platform.js';
import { showProgress } from './progress.js';

export interface Session {
  readonly platform: Platform;
  readonly output: Output;
  /** Aborted by SIGINT, SIGTERM and SIGHUP. */
  readonly signal: AbortSignal;
  /** From now on SIGHUP does not end the command but calls this. */
  readonly onHangup: (listener: () => void) => void;
  /** For outcomes that are no errors: a fingerprint that differs, a patch that does not verify. */
  readonly setExitCode: (code: number) => void;
}

/** Adds a command; `open` makes the session once its options are known. */
export type AddCommand = (program: Command, open: (command: Command) => Session) => void;

/** `work` with the options of a call: progress on a terminal, and the abort signal. */
export async function withProgress<T>(
  { output, signal }: Session,
  work: (options: CallOptions) => Promise<T>,
): Promise<T> {
  const view = showProgress(!output.json);
  try {
    return await work({ onProgress: view.update, signal });
  } finally {
    view.stop();
  }
}

/** Commands that take SOURCE first, unless --no-source stands in its place. */
export function splitSource(files: readonly string[], hasSource: boolean, name: string): [string | null, string] {
  const expected = hasSource ? `SOURCE and ${name}` : `${name} alone, because of --no-source`;
  if (files.length !== (hasSource ? 2 : 1)) throw new UsageError(`expected ${expected}, got ${files.length} files`);
  return hasSource ? [files[0]!, files[1]!] : [null, files[0]!];
}

/** An option's value; its range is the library's to judge. */
export function integer(text: string): number {
  if (!/^-?[0-9]{1,15}$/.test(text)) throw new InvalidArgumentError('Expected an integer.');
  return Number(text);
}
