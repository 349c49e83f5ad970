/**
 * The trust file (docs/trust.md): which root keys say who may sign, and which keys may. Text, so that people can read it and
 * tools compare it; one encoding for each content, so that nothing can be said in two ways. Reading is in two steps, like a
 * patch's header: `splitTrust` finds body and signatures and believes nothing, `parseTrust` reads a body that was authenticated.
 */

import { equalBytes } from '../bytes.js';
import { TrustError } from '../errors.js';
import { fromHex, toHex } from '../hex.js';
import {
  MAX_REVOKED_KEYS,
  MAX_TRUST_BYTES,
  MAX_TRUST_KEYS,
  MAX_TRUST_ROOTS,
  MAX_TRUST_SIGNATURES,
  MAX_TRUST_VERSION,
} from '../limits.js';

/** `patch`: patches from a base. `image`: stand-alone patches, which replace a model whatever it is. */
export const ROLES = ['image', 'patch'] as const;
export type Role = (typeof ROLES)[number];

export interface TrustKey {
  readonly publicKey: Uint8Array;
  /** At least one, in the order of ROLES. */
  readonly roles: readonly Role[];
  readonly expires: Moment | null;
}

export interface Trust {
  /** 1, 2, ...: what a device compares; it never goes back. */
  readonly version: number;
  readonly expires: Moment | null;
  /** How many of the roots must sign. */
  readonly threshold: number;
  /** Public keys of 32 bytes, ascending, as are those of `keys` and `revoked`. */
  readonly roots: readonly Uint8Array[];
  readonly keys: readonly TrustKey[];
  /** Never root or key again, in no later version. */
  readonly revoked: readonly Uint8Array[];
}

/** Seconds, UTC, as `YYYY-MM-DDThh:mm:ssZ`: later moments are greater strings. */
export type Moment = string;

export interface TrustSignature {
  readonly publicKey: Uint8Array;
  readonly signature: Uint8Array;
}

export interface SplitTrust {
  /** What is signed, its domain included. */
  readonly message: Uint8Array;
  readonly body: string;
  readonly signatures: readonly TrustSignature[];
}

/** Put before the body, so that a signature made for anything else never passes as one for a trust file. */
const DOMAIN = 'mallorn trust file v1\0';
const FIRST_LINE = 'mallorn-trust 1';
const SIGNATURE = 'signature ';
const KEY_DIGITS = 64;

/** @throws TrustError BAD_TRUST */
export function splitTrust(file: Uint8Array): SplitTrust {
  const text = asciiOf(file);
  const found = text.indexOf(`\n${SIGNATURE}`);
  const end = found < 0 ? text.length : found + 1;
  const body = text.slice(0, end);
  const lines = found < 0 ? [] : text.slice(end, -1).split('\n');
  if (lines.length > MAX_TRUST_SIGNATURES) {
    throw bad(`expected at most ${MAX_TRUST_SIGNATURES} signatures, got ${lines.length}`);
  }
  return { body, message: trustMessage(body), signatures: lines.map(signatureOf) };
}

export function trustMessage(body: string): Uint8Array {
  return bytesOf(DOMAIN + body);
}

/** The file: body, then a line for each signature. */
export function joinTrust(body: string, signatures: readonly TrustSignature[]): Uint8Array {
  const lines = signatures.map(({ publicKey, signature }) => `${SIGNATURE}${toHex(publicKey)} ${toHex(signature)}\n`);
  return bytesOf(body + lines.join(''));
}

/** @throws TrustError BAD_TRUST unless `body` is the one encoding of what it says */
export function parseTrust(body: string): Trust {
  const lines = new Lines(body);
  lines.exactly(FIRST_LINE);
  const version = integer('version', lines.value('version'), MAX_TRUST_VERSION);
  const expires = momentOf(lines.value('expires'));
  const threshold = integer('threshold', lines.value('threshold'), MAX_TRUST_ROOTS);
  const roots = lines.all('root', MAX_TRUST_ROOTS).map(keyOf);
  const keys = lines.all('key', MAX_TRUST_KEYS).map(trustKeyOf);
  const revoked = lines.all('revoked', MAX_REVOKED_KEYS).map(keyOf);
  lines.end();
  const trust = { version, expires, threshold, roots, keys, revoked };
  checkTrust(trust);
  // One encoding for each content: what was signed is what is meant, to the byte.
  if (encodeTrust(trust) !== body) throw bad('it is not written the one way it can be');
  return trust;
}

/** The body of a trust file. */
export function encodeTrust({ version, expires, threshold, roots, keys, revoked }: Trust): string {
  return [
    FIRST_LINE,
    `version ${version}`,
    `expires ${expires ?? 'never'}`,
    `threshold ${threshold}`,
    ...roots.map((key) => `root ${toHex(key)}`),
    ...keys.map((key) => `key ${toHex(key.publicKey)} ${key.roles.join(',')} ${key.expires ?? 'never'}`),
    ...revoked.map((key) => `revoked ${toHex(key)}`),
    '',
  ].join('\n');
}

/** @throws TrustError BAD_TRUST for what no trust file may say */
export function checkTrust({ threshold, roots, keys, revoked }: Trust): void {
  if (roots.length === 0 || threshold > roots.length) {
    throw bad(`threshold: expected at most the number of roots, ${roots.length}, got ${threshold}`);
  }
  const signing = keys.map(({ publicKey }) => publicKey);
  requireAscending('root', roots);
  requireAscending('key', signing);
  requireAscending('revoked', revoked);
  for (const key of revoked) {
    if (includesKey(roots, key) || includesKey(signing, key)) throw bad(`${toHex(key)} is revoked and listed`);
  }
  // Who holds a key that signs every day must not thereby hold a part of what decides who signs.
  for (const key of signing) if (includesKey(roots, key)) throw bad(`${toHex(key)} is a root and a signing key`);
}

export function includesKey(keys: readonly Uint8Array[], key: Uint8Array): boolean {
  return keys.some((one) => equalBytes(one, key));
}

/** For sorting: by the first byte that differs. */
export function compareKeys(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return 0;
}

/** @throws TrustError BAD_TRUST; `never` is null */
export function momentOf(text: string): Moment | null {
  if (text === 'never') return null;
  const isShaped = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$/.test(text);
  const date = new Date(isShaped ? text : Number.NaN);
  // Date takes the 31st of February for the 3rd of March.
  if (Number.isNaN(date.getTime()) || date.toISOString().slice(0, 19) !== text.slice(0, 19)) {
    throw bad(`expected "never" or a moment like 2027-12-31T00:00:00Z, got ${JSON.stringify(text.slice(0, 40))}`);
  }
  return text;
}

/** Takes the body's lines one after another. */
class Lines {
  private readonly lines: readonly string[];
  private at = 0;

  constructor(body: string) {
    this.lines = body.split('\n');
  }

  exactly(line: string): void {
    if (this.lines[this.at] !== line) throw bad(`line ${this.at + 1}: expected ${JSON.stringify(line)}`);
    this.at++;
  }

  value(name: string): string {
    const line = this.lines[this.at] ?? '';
    if (!line.startsWith(`${name} `)) throw bad(`line ${this.at + 1}: expected ${JSON.stringify(name)} and a value`);
    this.at++;
    return line.slice(name.length + 1);
  }

  /** The lines that start with `name`, as many as there are. */
  all(name: string, most: number): string[] {
    const values: string[] = [];
    while (this.lines[this.at]?.startsWith(`${name} `) === true) {
      if (values.length === most) throw bad(`line ${this.at + 1}: expected at most ${most} lines of ${name}`);
      values.push(this.value(name));
    }
    return values;
  }

  end(): void {
    if (this.at !== this.lines.length - 1 || this.lines[this.at] !== '') {
      throw bad(`line ${this.at + 1}: expected the end of the body`);
    }
  }
}

function signatureOf(line: string): TrustSignature {
  const [key = '', signature = '', ...more] = line.slice(SIGNATURE.length).split(' ');
  if (!line.startsWith(SIGNATURE) || more.length > 0) throw bad('expected nothing but signatures behind the first one');
  return { publicKey: keyOf(key), signature: hexOf('signature', signature, 2 * KEY_DIGITS) };
}

function trustKeyOf(value: string): TrustKey {
  const [key = '', roles = '', expires = ''] = value.split(' ');
  return { publicKey: keyOf(key), roles: rolesOf(roles), expires: momentOf(expires) };
}

function rolesOf(text: string): Role[] {
  const roles = ROLES.filter((role) => text.split(',').includes(role));
  if (roles.length === 0 || roles.join(',') !== text) {
    throw bad(`roles: expected some of ${ROLES.join(',')}, got ${JSON.stringify(text.slice(0, 40))}`);
  }
  return roles;
}

function keyOf(text: string): Uint8Array {
  return hexOf('key', text, KEY_DIGITS);
}

function hexOf(what: string, text: string, digits: number): Uint8Array {
  if (text.length !== digits || !/^[0-9a-f]+$/.test(text))
    throw bad(`${what}: expected ${digits} lower-case hex digits`);
  return fromHex(text);
}

function integer(what: string, text: string, most: number): number {
  const value = /^[1-9][0-9]{0,9}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > most) throw bad(`${what}: expected 1 to ${most}, got ${JSON.stringify(text.slice(0, 40))}`);
  return value;
}

function requireAscending(what: string, keys: readonly Uint8Array[]): void {
  for (let i = 1; i < keys.length; i++) {
    if (compareKeys(keys[i - 1]!, keys[i]!) >= 0) throw bad(`${what}: expected each key once, in ascending order`);
  }
}

function asciiOf(file: Uint8Array): string {
  if (file.length > MAX_TRUST_BYTES) throw bad(`expected at most ${MAX_TRUST_BYTES} bytes, got ${file.length}`);
  let text = '';
  for (const byte of file) {
    if (byte !== 0x0a && (byte < 0x20 || byte > 0x7e)) throw bad(`expected ASCII text, got byte ${byte}`);
    text += String.fromCharCode(byte);
  }
  if (!text.endsWith('\n')) throw bad('expected a line feed at its end');
  return text;
}

function bytesOf(ascii: string): Uint8Array {
  return Uint8Array.from({ length: ascii.length }, (_, i) => ascii.charCodeAt(i));
}

function bad(message: string): TrustError {
  return new TrustError('BAD_TRUST', `trust file: ${message}`);
}
