/** `mallorn keygen`, `mallorn sign` and `mallorn key-record`. */

import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { IoError } from '../../core/errors.js';
import { makeFolder } from '../make-folder.js';
import { table } from './output.js';
import { type AddCommand, integer, readKey, withProgress } from './session.js';

export const addKeygen: AddCommand = (program, open) => {
  program
    .command('keygen')
    .description('make a key pair: DIR/mallorn.pub and DIR/mallorn.key')
    .requiredOption('-o, --output <dir>', 'folder to write to; made if it is not there')
    .action(async ({ output }: { output: string }, self: Command) => {
      const session = open(self);
      const paths = { publicKey: join(output, 'mallorn.pub'), privateKey: join(output, 'mallorn.key') };
      const pair = await session.platform.library.generateKeypair({ signal: session.signal });
      await writeNew(output, [
        [paths.privateKey, pair.privateKey, 0o600],
        [paths.publicKey, pair.publicKey, 0o644],
      ]);
      session.output.result({ ...paths, publicKeyHex: pair.publicKey }, () =>
        table([
          ['public', `${paths.publicKey}: give it to devices`],
          ['private', `${paths.privateKey}: keep it secret and keep it`],
        ]),
      );
    });
};

export const addSign: AddCommand = (program, open) => {
  program
    .command('sign')
    .description('sign a patch; the same key again replaces its signature, another key adds one')
    .argument('<patch>')
    .requiredOption('--key <file>', 'private key')
    .requiredOption('-o, --output <patch>', 'signed patch to write')
    .action(async (patch: string, flags: { key: string; output: string }, self: Command) => {
      const session = open(self);
      const { library } = session.platform;
      const key = await readKey(flags.key);
      await withProgress(session, (call) => library.signPatch(patch, key, flags.output, call));
      session.output.result({ output: flags.output }, () => [`signed  ${flags.output}`]);
    });
};

export const addKeyRecord: AddCommand = (program, open) => {
  program
    .command('key-record')
    .description('sign a record that gives microcontrollers other trusted keys')
    .argument('<pub...>', 'public keys to trust from then on, up to 4')
    .requiredOption('--root <file>', 'private key whose public half the devices were built with')
    .requiredOption('--record-version <n>', 'above that of the record before', integer)
    .option('--device-class <name>', 'class of the devices it is for (default: any)', '')
    .requiredOption('-o, --output <file>', 'record to write')
    .action(async (paths: string[], flags: KeyRecordFlags, self: Command) => {
      const session = open(self);
      const keys = await Promise.all(paths.map(readKey));
      const { recordVersion: version, deviceClass, output } = flags;
      const record = session.platform.library.signKeyRecord({ version, deviceClass, keys }, await readKey(flags.root));
      await writeFile(output, record, { flush: true });
      session.output.result({ output, version, keys: keys.length }, () => [
        `version ${version}, ${keys.length} keys  ${output}`,
      ]);
    });
};

interface KeyRecordFlags {
  readonly root: string;
  readonly recordVersion: number;
  readonly deviceClass: string;
  readonly output: string;
}

type NewFile = readonly [path: string, bytes: Uint8Array, mode: number];

/** An overwritten private key is lost for good, so no file is touched that is there, not even one of two. */
async function writeNew(folder: string, files: readonly NewFile[]): Promise<void> {
  for (const [path] of files)
    if (existsSync(path)) throw new IoError(`${path} is there already; keys are never overwritten`);
  try {
    await makeFolder(folder);
    for (const [path, bytes, mode] of files) await writeFile(path, bytes, { flag: 'wx', mode, flush: true });
  } catch (cause) {
    throw new IoError(`cannot write keys to ${folder}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
}
