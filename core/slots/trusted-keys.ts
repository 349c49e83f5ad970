/** The public keys a device believes, as one record in two areas of its flash, written in the factory. */
import { invariant } from '../errors.js';
import type { FlashDevice } from '../ports.js';
import { RecordLog } from './record-log.js';

const MAGIC = 0x314b4c4d; // "MLK1"
const KEY_BYTES = 32;
export const MAX_TRUSTED_KEYS = 4;
const PAYLOAD_BYTES = 4 + MAX_TRUSTED_KEYS * KEY_BYTES;

/** None when no record is whole: such a device accepts nothing. */
export function readTrustedKeys(areas: readonly [FlashDevice, FlashDevice]): Uint8Array[] {
  const log = new RecordLog(areas, { magic: MAGIC, payloadBytes: PAYLOAD_BYTES });
  const keys: Uint8Array[] = [];
  const count = log.found ? Math.min(log.payload[0]!, MAX_TRUSTED_KEYS) : 0;
  for (let i = 0; i < count; i++) keys.push(log.payload.slice(4 + i * KEY_BYTES, 4 + (i + 1) * KEY_BYTES));
  return keys;
}

/** Sets the keys of a new device. */
export function formatTrustedKeys(areas: readonly [FlashDevice, FlashDevice], keys: readonly Uint8Array[]): void {
  invariant(keys.length <= MAX_TRUSTED_KEYS, `at most ${MAX_TRUSTED_KEYS} trusted keys`);
  const payload = new Uint8Array(PAYLOAD_BYTES);
  payload[0] = keys.length;
  keys.forEach((key, i) => {
    invariant(key.length === KEY_BYTES, 'an Ed25519 key has 32 bytes');
    payload.set(key, 4 + i * KEY_BYTES);
  });
  new RecordLog(areas, { magic: MAGIC, payloadBytes: PAYLOAD_BYTES }).format(payload);
}
