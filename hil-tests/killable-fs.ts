/**
 * Kills the code under test at any change it makes to the file system, in the same process: from the chosen call on, every
 * changing call of node:fs throws, so that no `finally` can tidy up what a dead process would not have tidied up. What was
 * written before stays, as after SIGKILL. (What a power cut does to unsynced writes is another matter and another test.)
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const CHANGING_CALLS = [
  'openSync',
  'writeSync',
  'writeFileSync',
  'ftruncateSync',
  'fsyncSync',
  'closeSync',
  'renameSync',
  'linkSync',
  'symlinkSync',
  'unlinkSync',
  'mkdirSync',
] as const;

export type KillKind = 'before' | 'after' | 'torn';

/** The process is dead. Not a system error: production code must neither catch nor translate it. */
export class Killed extends Error {
  override readonly name = 'Killed';
}

export interface KillRun {
  /** Names of the changing calls, in order, the killed one included. */
  readonly calls: readonly string[];
  readonly fired: boolean;
}

/** Runs `work` and kills it at changing call `call` (0 is the first); a torn write is half done. Infinity kills nothing. */
export function runKilled(work: () => void, call: number, kind: KillKind = 'before'): KillRun {
  const calls: string[] = [];
  const openFiles = new Set<number>();
  const real: Record<string, (...args: unknown[]) => unknown> = {};
  const patched = fs as unknown as typeof real;
  let dead = false;
  const die = (name: string): never => {
    dead = true;
    throw new Killed(`killed ${kind} call ${call}, ${name}`);
  };
  const wrapped =
    (name: string) =>
    (...args: unknown[]): unknown => {
      if (dead) throw new Killed('already dead');
      const now = calls.push(name) - 1 === call;
      if (now && kind === 'before') die(name);
      if (now && kind === 'torn' && name === 'writeSync') args[3] = Math.floor(Number(args[3]) / 2);
      try {
        const result = real[name]?.(...args);
        if (name === 'openSync') openFiles.add(Number(result));
        if (name === 'closeSync') openFiles.delete(Number(args[0]));
        return result;
      } finally {
        // Also when the call itself failed: a process that dies never sees the error.
        if (now) die(name);
      }
    };
  for (const name of CHANGING_CALLS) {
    real[name] = patched[name]!;
    patched[name] = wrapped(name);
  }
  syncBuiltinESMExports();
  try {
    work();
  } catch (error) {
    if (!(error instanceof Killed)) throw error;
  } finally {
    Object.assign(fs, real);
    syncBuiltinESMExports();
    if (dead) for (const fd of openFiles) fs.closeSync(fd);
  }
  return { calls, fired: dead };
}
