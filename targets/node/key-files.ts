/**
 * Ed25519 keys as files hold them: raw bytes, PEM (SubjectPublicKeyInfo and PKCS#8, RFC 8410), and for public keys the one
 * line that OpenSSH writes (RFC 8709), because that is what people have. Reading tells the forms apart by themselves.
 */

import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { decodeBase64 } from './base64.js';
import { checkPrivateKey } from './check-options.js';
import { privateKeyOfSeed, publicKeyObject } from './hashing.js';

export type PublicKeyForm = 'raw' | 'pem' | 'ssh';
export type PrivateKeyForm = 'raw' | 'pem';

/** No form of one key is longer, comments included. */
export const MAX_KEY_FILE_BYTES = 16 * 1024;
const PUBLIC_KEY_BYTES = 32;
const PRIVATE_KEY_BYTES = 64;
const SSH_TYPE = 'ssh-ed25519';
/** Length and name of the key type, then the length of the key (RFC 4253, 5). */
const SSH_PREFIX = Buffer.from(`\0\0\0\x0b${SSH_TYPE}\0\0\0\x20`, 'latin1');

/** 32 raw bytes of whichever form `file` holds. @throws RangeError, which quotes nothing of the file */
export function readPublicKey(file: Uint8Array): Uint8Array {
  if (file.length === PUBLIC_KEY_BYTES) return file.slice();
  const text = textOf('public key', file);
  if (text.startsWith(`${SSH_TYPE} `)) return fromSshLine(text);
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text)) throw new RangeError('public key: this file is a private key');
  if (text.includes('-----BEGIN PUBLIC KEY-----')) return rawPublicKey(parsePem(() => createPublicKey(text)));
  throw new RangeError(
    `public key: expected ${PUBLIC_KEY_BYTES} raw bytes, PEM or a line that starts with ${SSH_TYPE}, got ${file.length} other bytes`,
  );
}

/** Whether a passphrase is needed to read it. */
export function isEncryptedKey(file: Uint8Array): boolean {
  return file.length <= MAX_KEY_FILE_BYTES && Buffer.from(file).includes('-----BEGIN ENCRYPTED PRIVATE KEY-----');
}

/** 64 raw bytes, seed then public key. @throws RangeError, which quotes nothing of the file */
export function readPrivateKey(file: Uint8Array, passphrase?: string): Uint8Array {
  if (file.length === PRIVATE_KEY_BYTES) return checkPrivateKey(file);
  const text = textOf('private key', file);
  if (text.includes('-----BEGIN OPENSSH PRIVATE KEY-----')) {
    throw new RangeError('private key: OpenSSH keeps private keys in a form of its own, expected PKCS#8 PEM');
  }
  if (!/-----BEGIN (ENCRYPTED )?PRIVATE KEY-----/.test(text)) {
    throw new RangeError(
      `private key: expected ${PRIVATE_KEY_BYTES} raw bytes or PKCS#8 PEM, got ${file.length} other bytes`,
    );
  }
  if (isEncryptedKey(file) && passphrase === undefined) throw new RangeError('private key: it needs a passphrase');
  const key = parsePem(() => createPrivateKey({ key: text, ...(passphrase === undefined ? {} : { passphrase }) }));
  const { d } = key.export({ format: 'jwk' });
  const raw = new Uint8Array(PRIVATE_KEY_BYTES);
  raw.set(Buffer.from(d ?? '', 'base64url'));
  raw.set(rawPublicKey(createPublicKey(key)), PRIVATE_KEY_BYTES / 2);
  return checkPrivateKey(raw);
}

/** @param comment one line, for the ssh form alone */
export function writePublicKey(publicKey: Uint8Array, form: PublicKeyForm, comment = 'mallorn'): Uint8Array {
  if (form === 'raw') return publicKey.slice();
  if (form === 'pem') return bytesOf(publicKeyObject(publicKey).export({ format: 'pem', type: 'spki' }));
  return bytesOf(`${SSH_TYPE} ${Buffer.concat([SSH_PREFIX, publicKey]).toString('base64')} ${comment}\n`);
}

/**
 * With a passphrase: PEM whatever the form, AES-256-CBC under PBKDF2 as OpenSSL's defaults have it, 2048 rounds. Who fears
 * guessing converts with `openssl pkcs8 -topk8 -scrypt`, which is read as well.
 */
export function writePrivateKey(privateKey: Uint8Array, form: PrivateKeyForm, passphrase?: string): Uint8Array {
  const raw = checkPrivateKey(privateKey);
  if (form === 'raw' && passphrase === undefined) return raw;
  const encryption = passphrase === undefined ? {} : { cipher: 'aes-256-cbc', passphrase };
  return bytesOf(
    privateKeyOfSeed(raw.subarray(0, 32)).export({ format: 'pem', type: 'pkcs8', ...encryption }) as string,
  );
}

function fromSshLine(text: string): Uint8Array {
  const lines = text.trimEnd().split('\n');
  if (lines.length !== 1) throw new RangeError(`public key: expected one line, got ${lines.length}`);
  const wire = decodeBase64(lines[0]!.split(' ')[1] ?? '');
  if (
    wire?.length !== SSH_PREFIX.length + PUBLIC_KEY_BYTES ||
    !SSH_PREFIX.equals(wire.subarray(0, SSH_PREFIX.length))
  ) {
    throw new RangeError(`public key: expected the base64 of an ${SSH_TYPE} key after the first word`);
  }
  return wire.slice(SSH_PREFIX.length);
}

/** OpenSSL's messages name its source files and may name what it read, so that they are not passed on. */
function parsePem(parse: () => KeyObject): KeyObject {
  let key: KeyObject;
  try {
    key = parse();
  } catch {
    throw new RangeError('key: not readable PEM, or a wrong passphrase');
  }
  if (key.asymmetricKeyType === 'ed25519') return key;
  throw new RangeError(`key: expected Ed25519, got ${key.asymmetricKeyType ?? 'a secret'}`);
}

function rawPublicKey(key: KeyObject): Uint8Array {
  const { x } = key.export({ format: 'jwk' });
  return new Uint8Array(Buffer.from(x ?? '', 'base64url'));
}

function textOf(what: string, file: Uint8Array): string {
  if (file.length <= MAX_KEY_FILE_BYTES) return Buffer.from(file).toString('latin1');
  throw new RangeError(`${what}: expected at most ${MAX_KEY_FILE_BYTES} bytes, got ${file.length}`);
}

function bytesOf(text: string | Buffer): Uint8Array {
  return new Uint8Array(Buffer.from(text as string, 'latin1'));
}
