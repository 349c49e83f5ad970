/** `mallorn keygen`, `mallorn sign` and `mallorn key-record`. */
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { IoError } from '../../core/errors.js';
import { makeFolder } from '../make-folder.js';
import { messageOf } from '../message-of.js';
import { UsageError } from './failure.js';
import { addSigningFlags, readPublicKeyFile, requireSigningKey, type SigningFlags } from './key-options.js';
import { table } from './output.js';
import { addPassphraseFlags, type PassphraseFlags, passphraseOf } from './passphrase.js';
import type { PrivateKeyForm, PublicKeyForm } from './platform.js';
import { type AddCommand, integer, withProgress } from './session.js';

interface KeygenFlags extends PassphraseFlags {
  readonly output: string;
  readonly format: PublicKeyForm;
  readonly encrypt?: true;
  readonly comment: string;
}

export const addKeygen: AddCommand = (program, open) => {
  const command = program
    .command('keygen')
    .description('make a key pair: DIR/mallorn.pub and DIR/mallorn.key')
    .requiredOption('-o, --output <dir>', 'folder to write to; made if it is not there')
    .addOption(
      new Option('--format <form>', 'of both files; with ssh the public key is one line, the private key PEM')
        .choices(['raw', 'pem', 'ssh'])
        .default('raw'),
    )
    .option('--encrypt', 'protect the private key with a passphrase; it is then PEM')
    .option('--comment <text>', 'with --format ssh: last word of the line', 'mallorn');
  addPassphraseFlags(command).action(async (flags: KeygenFlags, self: Command) => {
    const session = open(self);
    const { output, format, comment } = flags;
    const { generateKeypair, writePrivateKey, writePublicKey } = session.platform.library;
    if (!/^[\x20-\x7e]{1,128}$/.test(comment)) throw new UsageError('--comment: expected one line of ASCII');
    const paths = { publicKey: join(output, 'mallorn.pub'), privateKey: join(output, 'mallorn.key') };
    refuseExisting(Object.values(paths));
    const passphrase = await newPassphrase(flags);
    const privateForm: PrivateKeyForm = format === 'raw' ? 'raw' : 'pem';
    const pair = await generateKeypair({ signal: session.signal });
    await writeNew(output, [
      [paths.privateKey, writePrivateKey(pair.privateKey, privateForm, passphrase), 0o600],
      [paths.publicKey, writePublicKey(pair.publicKey, format, comment), 0o644],
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
  const command = program
    .command('sign')
    .description('sign a patch; the same key again replaces its signature, another key adds one')
    .argument('<patch>')
    .requiredOption('-o, --output <patch>', 'signed patch to write');
  addSigningFlags(command).action(async (patch: string, flags: SigningFlags & { output: string }, self: Command) => {
    const session = open(self);
    const key = await requireSigningKey(session, flags);
    await withProgress(session, (call) => session.platform.library.signPatch(patch, key, flags.output, call));
    session.output.result({ output: flags.output }, () => [`signed  ${flags.output}`]);
  });
};

/** Asked for twice where a person types it: what is mistyped once locks the key up for good. */
async function newPassphrase(flags: KeygenFlags): Promise<string | undefined> {
  const isTyped = flags.passphraseFile === undefined && flags.passphraseEnv === undefined;
  if (flags.encrypt !== true) {
    if (!isTyped) throw new UsageError('--passphrase-file and --passphrase-env need --encrypt');
    return undefined;
  }
  const passphrase = await passphraseOf(flags, 'Passphrase for the new key');
  if (isTyped && passphrase !== (await passphraseOf(flags, 'The same again'))) {
    throw new UsageError('the two passphrases differ');
  }
  return passphrase;
}

export const addKeyRecord: AddCommand = (program, open) => {
  const command = program
    .command('key-record')
    .description('sign a record, with the root key, that gives microcontrollers other trusted keys')
    .argument('<pub...>', 'public keys to trust from then on, up to 4')
    .requiredOption('--record-version <n>', 'above that of the record before', integer)
    .option('--device-class <name>', 'class of the devices it is for (default: any)', '')
    .requiredOption('-o, --output <file>', 'record to write');
  addSigningFlags(command).action(async (paths: string[], flags: KeyRecordFlags, self: Command) => {
    const session = open(self);
    const keys = await Promise.all(paths.map((path) => readPublicKeyFile(session, path)));
    const { recordVersion: version, deviceClass, output } = flags;
    const root = await requireSigningKey(session, flags, ': the root key that the devices were built with');
    const record = session.platform.library.signKeyRecord({ version, deviceClass, keys }, root);
    await writeFile(output, record, { flush: true });
    session.output.result({ output, version, keys: keys.length }, () => [
      `version ${version}, ${keys.length} keys  ${output}`,
    ]);
  });
};

interface KeyRecordFlags extends SigningFlags {
  readonly recordVersion: number;
  readonly deviceClass: string;
  readonly output: string;
}

type NewFile = readonly [path: string, bytes: Uint8Array, mode: number];

/** An overwritten private key is lost for good, so no file is touched that is there, not even one of two. */
function refuseExisting(paths: readonly string[]): void {
  for (const path of paths)
    if (existsSync(path)) throw new IoError(`${path} is there already; keys are never overwritten`);
}

async function writeNew(folder: string, files: readonly NewFile[]): Promise<void> {
  try {
    await makeFolder(folder);
    for (const [path, bytes, mode] of files) await writeFile(path, bytes, { flag: 'wx', mode, flush: true });
  } catch (cause) {
    throw new IoError(`cannot write keys to ${folder}: ${messageOf(cause)}`, {
      cause,
    });
  }
}
