/** Structured log lines. Callers never put keys, passwords or document bodies into `fields`; what slips in is hidden here. */
import { type Redact, redactor } from './redact.js';

export const LOG_LEVELS = ['info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export type Log = (level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>) => void;

export interface LogOptions {
  /** The least that is written. Default `info`. */
  readonly level?: LogLevel;
  /** False where whoever takes the lines puts a time to each, as journald does. Default true. */
  readonly timestamps?: boolean;
  readonly redact?: Redact;
  readonly now?: () => Date;
}

/** One JSON object per line: what journald and its like take without a parser of their own. */
export function jsonLog(write: (line: string) => void, options: LogOptions = {}): Log {
  const { level: least = 'info', timestamps = true, redact = redactor([]), now = () => new Date() } = options;
  return (level, message, fields = {}) => {
    if (LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(least)) return;
    const time = timestamps ? { time: now().toISOString() } : {};
    write(`${JSON.stringify({ ...time, level, message: redact(message), ...redact(fields) })}\n`);
  };
}
