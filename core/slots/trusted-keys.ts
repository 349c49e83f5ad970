/**
 * The public keys a device believes, as one record in two areas of its flash: written in the factory, and later only for a key
 * record that the root key signed (key-record.ts). Payload, little-endian: 0 u8 count, 1 3 B zero, 4 u32 version of the key record,
 * 0 in the factory, 8 4 x 32 B keys.
 */
import { equalBytes, readU32, writeU32 } from '../bytes.js';
import { InvalidPatch, invariant } from '../errors.js';
import type { FlashDevice, SignatureVerifier } from '../ports.js';
import { checkKeyRecord, KEY_BYTES, KEYS_OFFSET, MAX_TRUSTED_KEYS } from './key-record.js';
import { RecordLog } from './record-log.js';

const MAGIC = 0x324b4c4d; // "MLK2"
const VERSION_OFFSET = 4;
const PAYLOAD_KEYS_OFFSET = 8;
const PAYLOAD_BYTES = PAYLOAD_KEYS_OFFSET + MAX_TRUSTED_KEYS * KEY_BYTES;

export interface KeyRotation {
  /** The key that was built into the device; null on devices whose keys stay as they are. */
  readonly rootKey: Uint8Array | null;
  readonly verifier: SignatureVerifier;
  /** null takes records for any class. */
  readonly deviceClass: string | null;
}

export class TrustedKeys {
  /** None when no record is whole: such a device accepts nothing. Replaced as a whole by a rotation. */
  keys: readonly Uint8Array[] = [];
  /** Of the key record that these came with; 0 for those of the factory. */
  version = 0;
  private readonly log: RecordLog;
  private readonly rotation: KeyRotation;

  /** Finishes a rotation that a power cut interrupted. Throws IoError. */
  constructor(areas: readonly [FlashDevice, FlashDevice], rotation: KeyRotation) {
    this.log = openLog(areas);
    this.rotation = rotation;
    this.log.repair();
    this.load();
  }

  /**
   * Takes the keys of a record, wholly or not at all; durable when it returns. The record that is in force already changes nothing.
   * @throws InvalidPatch BAD_KEY_RECORD, WRONG_DEVICE_CLASS, COUNTER_TOO_LOW; SignatureError UNKNOWN_SIGNER where there is no root
   * key, BAD_SIGNATURE; MallornError VERIFY_UNAVAILABLE; IoError
   */
  rotate(record: Uint8Array): void {
    const { rootKey, verifier, deviceClass } = this.rotation;
    if (rootKey === null || !this.log.found)
      throw new InvalidPatch('UNKNOWN_SIGNER', 'this device was built without a root key, or its keys are lost');
    const version = checkKeyRecord(record, rootKey, verifier, deviceClass);
    const payload = new Uint8Array(PAYLOAD_BYTES);
    payload[0] = record[5]!;
    writeU32(payload, VERSION_OFFSET, version);
    payload.set(record.subarray(KEYS_OFFSET, KEYS_OFFSET + MAX_TRUSTED_KEYS * KEY_BYTES), PAYLOAD_KEYS_OFFSET);
    if (equalBytes(payload, this.log.payload)) return;
    if (version <= this.version)
      throw new InvalidPatch('COUNTER_TOO_LOW', `key record: expected a version above ${this.version}, got ${version}`);
    this.log.append(payload);
    this.load();
  }

  private load(): void {
    if (!this.log.found) return;
    const { payload } = this.log;
    const keys: Uint8Array[] = [];
    const count = Math.min(payload[0]!, MAX_TRUSTED_KEYS);
    for (let at = PAYLOAD_KEYS_OFFSET; keys.length < count; at += KEY_BYTES)
      keys.push(payload.slice(at, at + KEY_BYTES));
    this.keys = keys;
    this.version = readU32(payload, VERSION_OFFSET);
  }
}

/** Sets the keys of a new device. */
export function formatTrustedKeys(areas: readonly [FlashDevice, FlashDevice], keys: readonly Uint8Array[]): void {
  invariant(keys.length <= MAX_TRUSTED_KEYS, `at most ${MAX_TRUSTED_KEYS} trusted keys`);
  const payload = new Uint8Array(PAYLOAD_BYTES);
  payload[0] = keys.length;
  keys.forEach((key, i) => {
    invariant(key.length === KEY_BYTES, 'an Ed25519 key has 32 bytes');
    payload.set(key, PAYLOAD_KEYS_OFFSET + i * KEY_BYTES);
  });
  openLog(areas).format(payload);
}

function openLog(areas: readonly [FlashDevice, FlashDevice]): RecordLog {
  return new RecordLog(areas, { magic: MAGIC, payloadBytes: PAYLOAD_BYTES });
}
