/** Turns what the operating system says into an IoError that names the file and keeps the cause. */
import { IoError } from '../../core/errors.js';

/**
 * Runs `work`; a failed system call becomes IoError "<doing>: ENOSPC: no space left on device, write" with the cause.
 * Everything else passes through untouched: a TypeError is a bug, not a failing disk.
 */
export function attempt<T>(doing: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (isSystemError(error)) throw new IoError(`${doing}: ${error.message}`, { cause: error });
    throw error;
  }
}

/** Whether `error` is a system call that failed with one of `codes`, or with any if none are named. */
export function isSystemError(error: unknown, ...codes: readonly string[]): error is NodeJS.ErrnoException {
  if (!(error instanceof Error) || !('syscall' in error)) return false;
  return codes.length === 0 || codes.includes(String((error as NodeJS.ErrnoException).code));
}
