/**
 * Judges what a caller passes, before any file is opened: a mistake in a call is a RangeError (a TypeError where it is not
 * even of the right type), never a Mallorn error. Fills in the defaults.
 */

import { equalBytes } from '../../core/bytes.js';
import { MAX_NAME_BYTES, MAX_UNIT_BYTES, PROFILES, type Profile } from '../../core/limits.js';
import { encodeUtf8 } from '../../core/utf8.js';
import type { ExternalSigner, Input, PatchOptions } from './api-types.js';
import { DEFAULT_SIGNER_TIMEOUT_MS, type SignerCommand } from './command-signer.js';
import { publicKeyOfSeed } from './hashing.js';

const DEFAULT_LEVEL = 3;
const MAX_LEVEL = 19;
export const MAX_CONCURRENCY = 256;
/** An hour: somebody may have to fetch the card. */
const MAX_SIGNER_TIMEOUT_MS = 3_600_000;
const MAX_COUNTER = 2 ** 32 - 1;
/** The header's limit for createdAt, in seconds: far beyond what Date can hold. */
const MAX_SECONDS = 2 ** 40;

/** A private key of 64 bytes, or the program that has it. */
export type SigningKey = Uint8Array | SignerCommand;

export interface CheckedCreateOptions {
  readonly level: number;
  readonly neural: boolean;
  readonly profile: Profile;
  /** 0: not in place. */
  readonly unitBytes: number;
  readonly signWith: SigningKey | null;
  readonly family: string;
  readonly deviceClass: string;
  readonly versionCounter: number;
  readonly minimumCounter: number;
  /** Seconds since 1970. */
  readonly createdAt: number | null;
}

/** @throws RangeError, TypeError */
export function checkCreateOptions(options: PatchOptions, standalone: boolean): CheckedCreateOptions {
  const { compressionLevel = DEFAULT_LEVEL, profile = 'gateway', neural = false } = options;
  integerWithin('compressionLevel', compressionLevel, 1, MAX_LEVEL);
  if (!Object.hasOwn(PROFILES, profile)) {
    throw new RangeError(`profile: expected ${Object.keys(PROFILES).join(' or ')}, got ${String(profile)}`);
  }
  if (typeof neural !== 'boolean') throw new TypeError(`neural: expected a boolean, got ${typeof neural}`);
  const checked = {
    level: compressionLevel,
    neural,
    profile,
    unitBytes: unitBytesOf(options, PROFILES[profile].segmentBytes),
    signWith: signingKeyOf(options),
    family: checkName('family', options.family ?? ''),
    deviceClass: checkName('deviceClass', options.deviceClass ?? ''),
    ...checkCounters(options),
    createdAt: secondsOf(options.createdAt),
  };
  if (standalone && checked.signWith !== null && checked.versionCounter === 0) {
    throw new RangeError('versionCounter: a signed stand-alone patch must carry one, or it could be replayed for ever');
  }
  return checked;
}

/** Returns a copy. @throws RangeError unless it is 64 bytes, seed and its public key */
export function checkPrivateKey(key: Uint8Array): Uint8Array {
  requireKey('privateKey', key, 64);
  if (!equalBytes(publicKeyOfSeed(key.subarray(0, 32)), key.subarray(32))) {
    throw new RangeError('privateKey: its second half is not the public key of its first half, the seed');
  }
  return key.slice();
}

/** Returns a copy. @throws RangeError, TypeError */
export function checkSigningKey(key: Uint8Array | ExternalSigner): SigningKey {
  if (key instanceof Uint8Array) return checkPrivateKey(key);
  const { command, publicKey, timeoutMs = DEFAULT_SIGNER_TIMEOUT_MS } = key;
  if (!Array.isArray(command) || command.some((word) => typeof word !== 'string')) {
    throw new TypeError('signer.command: expected a program and its arguments, as strings');
  }
  if (command[0] === undefined || command[0] === '')
    throw new RangeError('signer.command: expected a program, got none');
  requireKey('signer.publicKey', publicKey, 32);
  integerWithin('signer.timeoutMs', timeoutMs, 1, MAX_SIGNER_TIMEOUT_MS);
  return { command: [...command], publicKey: publicKey.slice(), timeoutMs };
}

function signingKeyOf({ privateKey, signer }: PatchOptions): SigningKey | null {
  if (privateKey !== undefined && signer !== undefined)
    throw new RangeError('privateKey and signer exclude each other');
  const key = privateKey ?? signer;
  return key === undefined ? null : checkSigningKey(key);
}

/** Returns a copy, null where there is none. @throws RangeError unless it is 32 bytes */
export function checkPublicKey(key: Uint8Array | undefined): Uint8Array | null {
  if (key === undefined) return null;
  requireKey('publicKey', key, 32);
  return key.slice();
}

/** @throws RangeError */
export function checkConcurrency(concurrency: number): number {
  integerWithin('concurrency', concurrency, 1, MAX_CONCURRENCY);
  return concurrency;
}

/** @throws TypeError */
export function requireInput(name: string, input: Input | null): void {
  if (typeof input === 'string' || input instanceof Uint8Array) return;
  throw new TypeError(`${name}: expected a path or bytes, got ${input === null ? 'null' : typeof input}`);
}

/** @throws TypeError */
export function requirePath(name: string, path: string): void {
  if (typeof path !== 'string' || path === '')
    throw new TypeError(`${name}: expected a path, got ${JSON.stringify(path)}`);
}

function requireKey(name: string, key: Uint8Array, length: number): void {
  if (!(key instanceof Uint8Array)) throw new TypeError(`${name}: expected bytes, got ${typeof key}`);
  if (key.length !== length) throw new RangeError(`${name}: expected ${length} bytes, got ${key.length}`);
}

/** The larger of segment and erase block: a unit is whole segments, and whole blocks of every device it is for. */
function unitBytesOf({ inPlace = false, eraseBlockBytes }: PatchOptions, segmentBytes: number): number {
  if (typeof inPlace !== 'boolean') throw new TypeError(`inPlace: expected a boolean, got ${typeof inPlace}`);
  if (eraseBlockBytes === undefined) return inPlace ? segmentBytes : 0;
  if (!inPlace) throw new RangeError('eraseBlockBytes: expected with inPlace alone');
  integerWithin('eraseBlockBytes', eraseBlockBytes, 1, MAX_UNIT_BYTES);
  if ((eraseBlockBytes & (eraseBlockBytes - 1)) !== 0)
    throw new RangeError(`eraseBlockBytes: expected a power of two, got ${eraseBlockBytes}`);
  return Math.max(segmentBytes, eraseBlockBytes);
}

function checkName(name: string, text: string): string {
  const { length } = encodeUtf8(text);
  if (length > MAX_NAME_BYTES)
    throw new RangeError(`${name}: expected at most ${MAX_NAME_BYTES} bytes of UTF-8, got ${length}`);
  return text;
}

function checkCounters(options: PatchOptions): Pick<CheckedCreateOptions, 'versionCounter' | 'minimumCounter'> {
  const { versionCounter, minimumCounter = 0 } = options;
  if (versionCounter !== undefined) integerWithin('versionCounter', versionCounter, 1, MAX_COUNTER);
  integerWithin('minimumCounter', minimumCounter, 0, MAX_COUNTER);
  // A device that committed such a patch would refuse that very patch afterwards.
  if (minimumCounter > (versionCounter ?? 0)) {
    throw new RangeError(
      `minimumCounter: expected at most versionCounter, ${versionCounter ?? 'none'}, got ${minimumCounter}`,
    );
  }
  return { versionCounter: versionCounter ?? 0, minimumCounter };
}

function integerWithin(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`${name}: expected an integer from ${least} to ${most}, got ${value}`);
  }
}

/** https://reproducible-builds.org/specs/source-date-epoch/: seconds, where the caller names no time. */
function secondsOf(createdAt: Date | undefined): number | null {
  const variable = process.env['SOURCE_DATE_EPOCH'];
  if (createdAt === undefined && (variable === undefined || variable === '')) return null;
  const name = createdAt === undefined ? 'SOURCE_DATE_EPOCH' : 'createdAt';
  const seconds = createdAt === undefined ? parseSeconds(variable ?? '') : Math.floor(createdAt.getTime() / 1000);
  integerWithin(name, seconds, 0, MAX_SECONDS);
  return seconds;
}

function parseSeconds(text: string): number {
  return /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
}
