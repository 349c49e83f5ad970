/**
 * The record that gives a device other trusted keys, signed by the root key it was built with (core/patch/SPEC.md, "Key
 * records"). Fixed layout, little-endian:
 *
 *   0   4 B   "MLKR"                               12   32 B  device class, UTF-8, zero-padded; all zeros for any
 *   4   u8    layout, 0                            44   4 x 32 B  keys, those beyond the count zero
 *   5   u8    count of keys, 1 to 4                172  64 B  Ed25519 by the root key over KEY_RECORD_DOMAIN and bytes 0 to 171
 *   6   2 B   zero                                 236
 *   8   u32   version
 */
import { isZero, readU16, readU32, writeU32 } from '../bytes.js';
import { InvalidPatch, invariant } from '../errors.js';
import { MAX_NAME_BYTES } from '../limits.js';
import { badSignature, signatureFault } from '../patch/signatures.js';
import type { SignatureVerifier, Signer } from '../ports.js';
import { decodeUtf8, encodeUtf8 } from '../utf8.js';

export const KEY_BYTES = 32;
export const MAX_TRUSTED_KEYS = 4;
export const KEY_RECORD_BYTES = 236;
/** Put before the record, so that a signature made for anything else never passes as one for keys. */
export const KEY_RECORD_DOMAIN = Uint8Array.from('mallorn key record v0\0', (c) => c.charCodeAt(0));

const MAGIC = 0x524b4c4d; // "MLKR"
const VERSION_OFFSET = 8;
const CLASS_OFFSET = 12;
export const KEYS_OFFSET = CLASS_OFFSET + MAX_NAME_BYTES;
const SIGNED_BYTES = KEYS_OFFSET + MAX_TRUSTED_KEYS * KEY_BYTES;

export interface KeyRecord {
  /** Above that of the record before it. */
  readonly version: number;
  /** '' for devices of any class. */
  readonly deviceClass: string;
  readonly keys: readonly Uint8Array[];
}

/** Made where the root key is kept. */
export function makeKeyRecord({ version, deviceClass, keys }: KeyRecord, root: Signer): Uint8Array {
  const name = encodeUtf8(deviceClass);
  invariant(version > 0 && version <= 0xffffffff && Number.isInteger(version), `a version is a u32, got ${version}`);
  invariant(name.length <= MAX_NAME_BYTES, `a device class has at most ${MAX_NAME_BYTES} bytes`);
  invariant(keys.length > 0 && keys.length <= MAX_TRUSTED_KEYS, `1 to ${MAX_TRUSTED_KEYS} keys, got ${keys.length}`);
  const record = new Uint8Array(KEY_RECORD_BYTES);
  writeU32(record, 0, MAGIC);
  record[5] = keys.length;
  writeU32(record, VERSION_OFFSET, version);
  record.set(name, CLASS_OFFSET);
  keys.forEach((key, i) => {
    invariant(key.length === KEY_BYTES, 'an Ed25519 key has 32 bytes');
    record.set(key, KEYS_OFFSET + i * KEY_BYTES);
  });
  record.set(root.sign(signedMessage(record)), SIGNED_BYTES);
  return record;
}

/**
 * The record's version; its keys are the bytes from KEYS_OFFSET on.
 * @throws InvalidPatch BAD_KEY_RECORD, WRONG_DEVICE_CLASS; SignatureError BAD_SIGNATURE; MallornError VERIFY_UNAVAILABLE
 */
export function checkKeyRecord(
  record: Uint8Array,
  rootKey: Uint8Array,
  verifier: SignatureVerifier,
  deviceClass: string | null,
): number {
  const version = claimedVersion(record);
  const signature = record.subarray(SIGNED_BYTES);
  const fault = signatureFault(rootKey, signedMessage(record), signature, verifier);
  if (fault !== null) throw badSignature(fault, verifier);
  const count = record[5]!;
  let nameEnd = CLASS_OFFSET;
  while (nameEnd < KEYS_OFFSET && record[nameEnd] !== 0) nameEnd++;
  const isSound =
    count > 0 &&
    count <= MAX_TRUSTED_KEYS &&
    readU16(record, 6) === 0 &&
    isZero(record.subarray(nameEnd, KEYS_OFFSET)) &&
    isZero(record.subarray(KEYS_OFFSET + count * KEY_BYTES, SIGNED_BYTES));
  if (!isSound) throw new InvalidPatch('BAD_KEY_RECORD', `expected 1 to ${MAX_TRUSTED_KEYS} keys, got ${count}`);
  const name = decodeUtf8(record.subarray(CLASS_OFFSET, nameEnd));
  if (name !== '' && deviceClass !== null && name !== deviceClass)
    throw new InvalidPatch('WRONG_DEVICE_CLASS', `key record: expected device class ${deviceClass}, got ${name}`);
  return version;
}

/** The version of a record that nobody has verified yet. @throws InvalidPatch BAD_KEY_RECORD */
export function claimedVersion(record: Uint8Array): number {
  const isRecord = record.length === KEY_RECORD_BYTES && readU32(record, 0) === MAGIC && record[4] === 0;
  if (!isRecord) throw new InvalidPatch('BAD_KEY_RECORD', 'expected a key record of layout 0');
  return readU32(record, VERSION_OFFSET);
}

function signedMessage(record: Uint8Array): Uint8Array {
  const message = new Uint8Array(KEY_RECORD_DOMAIN.length + SIGNED_BYTES);
  message.set(KEY_RECORD_DOMAIN);
  message.set(record.subarray(0, SIGNED_BYTES), KEY_RECORD_DOMAIN.length);
  return message;
}
