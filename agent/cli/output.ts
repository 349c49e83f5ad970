/** What commands print: one JSON document or a few aligned lines on stdout, warnings and errors on stderr. */

import { toHex } from '../../core/hex.js';
import { failureOf } from './failure.js';

export class Output {
  readonly json: boolean;

  constructor(json: boolean) {
    this.json = json;
  }

  /** `value` as JSON, or `lines` for people. */
  result(value: unknown, lines: () => readonly string[]): void {
    if (this.json) process.stdout.write(`${JSON.stringify(value, jsonValue, 2)}\n`);
    else for (const line of lines()) process.stdout.write(`${printable(line)}\n`);
  }

  warning(message: string): void {
    process.stderr.write(`warning: ${printable(message)}\n`);
  }

  /** With --json on stdout, so that a script finds one document there whatever happens. */
  failure(error: unknown): void {
    if (this.json) {
      process.stdout.write(`${JSON.stringify({ error: failureOf(error) }, null, 2)}\n`);
      return;
    }
    const { name, message } = failureOf(error);
    const label = name === 'Error' || name === 'UsageError' || name === 'Interrupted' ? 'error' : name;
    process.stderr.write(`${label}: ${printable(message)}\n`);
  }
}

/** Bytes as hex, errors as what failureOf says; a Date has become text before this is asked. */
function jsonValue(_key: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return toHex(value);
  return value instanceof Error ? failureOf(value) : value;
}

/** Names inside a patch or model may be anybody's: what could steer a terminal does not reach it. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this is about
  return text.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, '?');
}

/** `label  value` lines, values below one another. */
export function table(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, value]) => `${label.padEnd(width)}  ${value}`);
}

/** 59840 -> "59,840 bytes". */
export function bytesText(count: number): string {
  return `${countText(count)} ${count === 1 ? 'byte' : 'bytes'}`;
}

export function countText(count: number): string {
  return count.toLocaleString('en-US');
}
