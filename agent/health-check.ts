/**
 * Is the application well with the new model? Asked in one of three ways until the answer is yes or the time is over; a
 * single no decides nothing, because a service that restarts says no for a while.
 */
import { lstat, stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { httpGet, networkMessage } from './http-get.js';
import { messageOf } from './message-of.js';
import { runCommand } from './run-command.js';

/** What is asked; exactly one of the three. */
export interface HealthRules {
  /** Healthy: ends with code 0. */
  readonly command?: readonly string[] | undefined;
  /** Healthy: answers a GET with 2xx. */
  readonly url?: string | undefined;
  /** Healthy: was written or touched after the switch. */
  readonly file?: string | undefined;
  readonly timeoutMs: number;
  readonly intervalMs: number;
}

export interface HealthQuestion {
  readonly rules: HealthRules;
  /** The link that was switched: its own time is the moment of the switch, on the clock of the file system. */
  readonly currentPath: string;
  readonly env: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** Null where the application is well; else the last thing that was wrong. @throws the signal's reason. */
export async function checkHealth(question: HealthQuestion): Promise<string | null> {
  const { rules, signal } = question;
  const deadlineMs = performance.now() + rules.timeoutMs;
  for (;;) {
    signal.throwIfAborted();
    const leftMs = Math.max(1, Math.ceil(deadlineMs - performance.now()));
    const problem = await ask(question, leftMs);
    signal.throwIfAborted();
    if (problem === null) return null;
    if (performance.now() + rules.intervalMs >= deadlineMs) return `not healthy in ${rules.timeoutMs} ms: ${problem}`;
    await delay(rules.intervalMs, undefined, { signal });
  }
}

function ask({ rules, currentPath, env, signal }: HealthQuestion, leftMs: number): Promise<string | null> {
  if (rules.command !== undefined) return runCommand({ argv: rules.command, env, timeoutMs: leftMs, signal });
  if (rules.url !== undefined) return askUrl(rules.url, AbortSignal.any([signal, AbortSignal.timeout(leftMs)]));
  return askFile(rules.file ?? '', currentPath);
}

async function askUrl(url: string, signal: AbortSignal): Promise<string | null> {
  try {
    const response = await httpGet(new URL(url), {}, signal);
    response.destroy();
    const { statusCode = 0 } = response;
    return statusCode >= 200 && statusCode < 300 ? null : `${url} answered ${statusCode}`;
  } catch (error) {
    return `${url}: ${networkMessage(error)}`;
  }
}

async function askFile(path: string, currentPath: string): Promise<string | null> {
  try {
    const [{ mtimeMs: touchedMs }, { mtimeMs: switchedMs }] = await Promise.all([stat(path), lstat(currentPath)]);
    return touchedMs > switchedMs ? null : `${path} was not touched since the switch`;
  } catch (error) {
    return messageOf(error);
  }
}
