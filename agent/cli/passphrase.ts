/** Where a passphrase comes from: a file, a variable, or a person at a terminal. Never the command line, which anybody can list. */

import type { Command } from 'commander';
import { UsageError } from './failure.js';
import { readSmallFile } from './read-file.js';

const MAX_PASSPHRASE_BYTES = 1024;
const ENTER = ['\r', '\n'];
const BACKSPACE = ['\b', '\x7f'];
const END = ['\x03', '\x04'];

export interface PassphraseFlags {
  readonly passphraseFile?: string;
  readonly passphraseEnv?: string;
}

export function addPassphraseFlags(command: Command): Command {
  return command
    .option('--passphrase-file <file>', "first line is the private key's passphrase")
    .option('--passphrase-env <name>', "environment variable with the private key's passphrase");
}

/** @throws UsageError where there is neither an option nor a terminal */
export async function passphraseOf(flags: PassphraseFlags, prompt: string): Promise<string> {
  const { passphraseFile, passphraseEnv } = flags;
  if (passphraseFile !== undefined && passphraseEnv !== undefined) {
    throw new UsageError('--passphrase-file and --passphrase-env exclude each other');
  }
  const passphrase = await fromSource(passphraseFile, passphraseEnv, prompt);
  if (passphrase === '') throw new UsageError('expected a passphrase, got an empty one');
  return passphrase;
}

async function fromSource(file: string | undefined, variable: string | undefined, prompt: string): Promise<string> {
  if (file !== undefined) {
    const text = new TextDecoder().decode(await readSmallFile(file, MAX_PASSPHRASE_BYTES));
    return text.split(/\r?\n/, 1)[0] ?? '';
  }
  if (variable === undefined) return ask(prompt);
  const value = process.env[variable];
  if (value === undefined) throw new UsageError(`--passphrase-env: there is no variable ${variable}`);
  return value;
}

/** Reads a line without showing it. */
async function ask(prompt: string): Promise<string> {
  const { stdin, stderr } = process;
  if (!stdin.isTTY) {
    throw new UsageError('the private key needs a passphrase: --passphrase-file, --passphrase-env or a terminal');
  }
  // Before the prompt: what is typed at its sight must not be echoed.
  stdin.setRawMode(true);
  stderr.write(`${prompt}: `);
  stdin.setEncoding('utf8');
  try {
    return await readLine(stdin);
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    stderr.write('\n');
  }
}

async function readLine(stdin: NodeJS.ReadStream): Promise<string> {
  let typed: string[] = [];
  for await (const chunk of stdin.iterator({ destroyOnReturn: false })) {
    for (const character of String(chunk)) {
      if (ENTER.includes(character)) return typed.join('');
      if (END.includes(character)) throw new UsageError('no passphrase was given');
      typed = BACKSPACE.includes(character) ? typed.slice(0, -1) : [...typed, character];
      if (typed.length > MAX_PASSPHRASE_BYTES) throw new UsageError('the passphrase is too long');
    }
  }
  return typed.join('');
}
