/** The options with which commands are told keys, and what the library is given for them. */

import { type Command, InvalidArgumentError } from 'commander';
import { UsageError } from './failure.js';
import { addPassphraseFlags, type PassphraseFlags, passphraseOf } from './passphrase.js';
import type { ExternalSigner } from './platform.js';
import { readSmallFile } from './read-file.js';
import type { Session } from './session.js';
import { splitWords } from './split-words.js';

/** More than any form of a key; what is in it the library judges. */
const MAX_KEY_FILE_BYTES = 64 * 1024;

export interface SigningFlags extends PassphraseFlags {
  readonly key?: string;
  readonly signer?: string;
  readonly signerPubkey?: string;
  readonly signerTimeout?: number;
}

export function addSigningFlags(command: Command): Command {
  command
    .option('--key <file>', 'sign with this private key: raw or PKCS#8 PEM, encrypted or not')
    .option('--signer <command>', 'sign by running this command instead: message on stdin, or for {message} in a file')
    .option('--signer-pubkey <file>', 'with --signer: the public key whose signatures it makes')
    .option('--signer-timeout <seconds>', 'with --signer: how long it may take (default: 60)', seconds);
  return addPassphraseFlags(command);
}

/** What signs, as signPatch takes it; null where the flags name nothing. @throws UsageError, RangeError, IoError */
export async function signingKey(session: Session, flags: SigningFlags): Promise<Uint8Array | ExternalSigner | null> {
  const { key, signer, signerPubkey, signerTimeout } = flags;
  if (key !== undefined && signer !== undefined) throw new UsageError('--key and --signer exclude each other');
  if ((signer === undefined) !== (signerPubkey === undefined)) {
    throw new UsageError('--signer and --signer-pubkey go together');
  }
  if (signerTimeout !== undefined && signer === undefined) throw new UsageError('--signer-timeout needs --signer');
  if (signer === undefined || signerPubkey === undefined) {
    return key === undefined ? null : readPrivateKeyFile(session, key, flags);
  }
  return {
    command: splitWords(signer),
    publicKey: await readPublicKeyFile(session, signerPubkey),
    ...(signerTimeout === undefined ? {} : { timeoutMs: signerTimeout * 1000 }),
  };
}

/** The same, for commands that must sign. @param whose is said where the flags name nothing */
export async function requireSigningKey(
  session: Session,
  flags: SigningFlags,
  whose = '',
): Promise<Uint8Array | ExternalSigner> {
  const key = await signingKey(session, flags);
  if (key === null) throw new UsageError(`expected --key or --signer${whose}`);
  return key;
}

/** The same as options of a patch. */
export async function signingOptions(
  session: Session,
  flags: SigningFlags,
): Promise<{ privateKey?: Uint8Array; signer?: ExternalSigner }> {
  const key = await signingKey(session, flags);
  if (key === null) return {};
  return key instanceof Uint8Array ? { privateKey: key } : { signer: key };
}

export async function readPublicKeyFile(session: Session, path: string): Promise<Uint8Array> {
  return naming(path, session.platform.library.readPublicKey, await readSmallFile(path, MAX_KEY_FILE_BYTES));
}

async function readPrivateKeyFile(session: Session, path: string, flags: PassphraseFlags): Promise<Uint8Array> {
  const { isEncryptedKey, readPrivateKey } = session.platform.library;
  const file = await readSmallFile(path, MAX_KEY_FILE_BYTES);
  const passphrase = isEncryptedKey(file) ? await passphraseOf(flags, `Passphrase of ${path}`) : undefined;
  return naming(path, (bytes) => readPrivateKey(bytes, passphrase), file);
}

/** The library judges bytes and knows no names. */
function naming<T>(path: string, read: (bytes: Uint8Array) => T, bytes: Uint8Array): T {
  try {
    return read(bytes);
  } catch (error) {
    if (error instanceof RangeError) throw new RangeError(`${path}: ${error.message}`, { cause: error });
    throw error;
  }
}

function seconds(text: string): number {
  if (!/^[1-9][0-9]{0,3}$/.test(text)) throw new InvalidArgumentError('Expected 1 to 9999 seconds.');
  return Number(text);
}
