/** Key records (core/patch/SPEC.md, "Key records"), made where the root key is kept. */
import { MAX_NAME_BYTES } from '../../core/limits.js';
import { type KeyRecord, MAX_TRUSTED_KEYS, makeKeyRecord } from '../../core/slots/key-record.js';
import { encodeUtf8 } from '../../core/utf8.js';
import type { ExternalSigner } from './api-types.js';
import { checkPublicKey, checkSigningKey } from './check-options.js';
import { signerFor } from './signer-for.js';

/** @throws RangeError; SignatureError or IoError where another program signs */
export function signKeyRecord(record: KeyRecord, root: Uint8Array | ExternalSigner): Uint8Array {
  const { version, deviceClass, keys } = record;
  if (!Number.isInteger(version) || version < 1 || version > 0xffffffff)
    throw new RangeError(`version: expected 1 to ${0xffffffff}, got ${version}`);
  if (encodeUtf8(deviceClass).length > MAX_NAME_BYTES)
    throw new RangeError(`device class: expected at most ${MAX_NAME_BYTES} bytes, got ${deviceClass}`);
  if (keys.length < 1 || keys.length > MAX_TRUSTED_KEYS)
    throw new RangeError(`expected 1 to ${MAX_TRUSTED_KEYS} keys, got ${keys.length}`);
  for (const key of keys) checkPublicKey(key);
  return makeKeyRecord(record, signerFor(checkSigningKey(root)));
}
