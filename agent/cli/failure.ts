/** How a command fails: what is printed and with which code the process ends. */

import {
  InvalidPatch,
  IoError,
  MallornError,
  SignatureError,
  SourceHashMismatch,
  TargetHashMismatch,
  TrustError,
} from '../../core/errors.js';

export const EXIT_OK = 0;
export const EXIT_OTHER = 1;
export const EXIT_USAGE = 2;
export const EXIT_SIGNATURE = 5;

/** Most special first is not needed: the classes exclude one another. */
const EXIT_CODES: readonly (readonly [new (...args: never[]) => Error, number])[] = [
  [SourceHashMismatch, 3],
  [TargetHashMismatch, 4],
  [SignatureError, EXIT_SIGNATURE],
  [TrustError, EXIT_SIGNATURE],
  [IoError, 6],
  [InvalidPatch, 7],
  [RangeError, EXIT_USAGE],
];

/** The command line itself is wrong. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The user or the system asked the command to end. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super(`interrupted by ${signal}; nothing unfinished was left behind`);
    this.signal = signal;
  }
}

export interface Failure {
  readonly name: string;
  readonly code: string;
  readonly message: string;
}

export function exitCodeOf(error: unknown): number {
  if (isUsage(error)) return EXIT_USAGE;
  return EXIT_CODES.find(([kind]) => error instanceof kind)?.[1] ?? EXIT_OTHER;
}

/** For `--json`: what a script branches on. */
export function failureOf(error: unknown): Failure {
  if (!(error instanceof Error)) return { name: 'Error', code: 'OTHER', message: String(error) };
  return { name: error.name, code: codeOf(error), message: error.message };
}

function codeOf(error: Error): string {
  if (error instanceof MallornError) return error.code;
  if (error instanceof Interrupted) return 'INTERRUPTED';
  if (error.name === 'ControlRefusal' && 'code' in error) return String(error.code);
  return isUsage(error) || error instanceof RangeError ? 'USAGE' : 'OTHER';
}

/** ConfigError by its name: importing it would bring the agent's schema library into every command. */
function isUsage(error: unknown): boolean {
  return error instanceof UsageError || (error instanceof Error && error.name === 'ConfigError');
}
