/**
 * Runs a configured command: no shell, so that nothing in a document or a file name is ever a command line; an environment of
 * its own, so that secrets of the agent's stay with it; and an end, also for the children of the command.
 */
import { spawn } from 'node:child_process';

export interface CommandOptions {
  /** Program and arguments. */
  readonly argv: readonly string[];
  /** Beside PATH, HOME and LANG. */
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const INHERITED = ['PATH', 'HOME', 'LANG'];
const MAX_OUTPUT_CHARS = 300;

/** Null where it ended with code 0; else what was wrong, for people. */
export function runCommand({ argv, env, timeoutMs, signal }: CommandOptions): Promise<string | null> {
  const [program = '', ...args] = argv;
  return new Promise((resolve) => {
    // A group of its own: a script's children end with it.
    const child = spawn(program, args, {
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...inheritedEnv(), ...env },
    });
    let said = '';
    let ended: string | null = null;
    const kill = (why: string): void => {
      ended ??= why;
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // The group is gone already; `close` follows.
      }
      // A child that left the group may hold the pipe open.
      child.stderr.destroy();
    };
    const onAbort = (): void => kill('the agent was told to end');
    const timer = setTimeout(() => kill(`did not end in ${timeoutMs} ms`), timeoutMs);
    const finish = (problem: string | null): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      resolve(problem === null ? null : `${program}: ${problem}`);
    };
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-MAX_OUTPUT_CHARS);
    });
    child.on('error', (error) => finish(error.message));
    child.on('close', (code, name) => {
      if (ended !== null) return finish(ended);
      if (code === 0) return finish(null);
      const how = code === null ? `was ended by ${name}` : `ended with code ${code}`;
      finish(said.trim() === '' ? how : `${how}: ${said.trim()}`);
    });
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort);
  });
}

function inheritedEnv(): Record<string, string> {
  return Object.fromEntries(
    INHERITED.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}
