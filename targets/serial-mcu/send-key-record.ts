/**
 * Gives a device other trusted keys: sends it a key record (core/slots/key-record.ts), and waits until it has looked at the signature
 * and the keys are in force. Whether it takes them is the device's verdict alone.
 */

import { InvalidPatch, IoError, type MallornError, SignatureError } from '../../core/errors.js';
import { claimedVersion, KEY_RECORD_BYTES } from '../../core/slots/key-record.js';
import { DELTA_ABORT, DELTA_INFO, DELTA_KEYS, GROUP_DELTA } from '../../core/smp/packet.js';
import { asMallornError, Refused } from './refused.js';
import type { Answer, SmpClient } from './smp-client.js';

export interface KeysResult {
  /** Of the key record in force now. */
  readonly version: number;
  /** Of the one before; 0 for the keys of the factory. */
  readonly before: number;
  /** That record was in force already, and nothing was changed. */
  readonly alreadyThere: boolean;
}

/** Console length and checksum, header, map, key `record` and the head of its bytes. */
const AROUND_RECORD_BYTES = 22;
/** A reset of the device, or noise, between a record and the answer to it costs one. */
const MOST_TRIES = 4;
const FIRST_POLL_MS = 10;
const MOST_POLL_MS = 500;

/**
 * @throws InvalidPatch BAD_KEY_RECORD, WRONG_DEVICE_CLASS, COUNTER_TOO_LOW; SignatureError UNKNOWN_SIGNER, BAD_SIGNATURE; IoError from a
 * device that knows no key records, and when the link fails
 */
export async function sendKeyRecord(client: SmpClient, record: Uint8Array): Promise<KeysResult> {
  const version = claimedVersion(record);
  const before = await versionInForce(client);
  const { bufferBytes } = await client.params();
  const neededBytes = KEY_RECORD_BYTES + AROUND_RECORD_BYTES;
  if (bufferBytes < neededBytes) {
    throw new IoError(
      `the device's buffer has no room for a key record: expected ${neededBytes} bytes, got ${bufferBytes}`,
    );
  }
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    const inForce = await offer(client, record).catch((error) => {
      throw error instanceof Refused ? explained(error, version, before) : error;
    });
    if (inForce === version) return { version, before, alreadyThere: before === version };
  }
  throw new IoError(`expected the keys of version ${version} in force, got something else ${MOST_TRIES} times`);
}

async function versionInForce(client: SmpClient): Promise<number> {
  const info = await client.request({ group: GROUP_DELTA, command: DELTA_INFO }).catch((error): Answer => {
    if (error instanceof Refused) throw new IoError('the device takes no key records: it has no delta group');
    throw error;
  });
  const { keys } = info;
  if (Number.isSafeInteger(keys)) return keys as number;
  const why = info['signed'] === false ? 'it checks no signatures' : 'its program does not know them';
  throw new IoError(`the device takes no key records: ${why}`);
}

/** The version in force after it has looked at the record; null when it has not. @throws Refused */
async function offer(client: SmpClient, record: Uint8Array): Promise<unknown> {
  const request = { group: GROUP_DELTA, command: DELTA_KEYS };
  try {
    let answer = await client.request({ ...request, write: true, fields: { record } });
    let waitedMs = 0;
    for (let pollMs = FIRST_POLL_MS; answer['pending'] === true; pollMs = Math.min(2 * pollMs, MOST_POLL_MS)) {
      if (waitedMs >= client.patienceMs) throw new IoError('the device does not come to an end with the key record');
      await client.pause(pollMs);
      waitedMs += pollMs;
      answer = await client.request(request);
    }
    return answer['keys'];
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    // Of an update that broke off, which goes on from its journal when the same patch comes.
    if (error.reason === 'receiving') await client.request({ group: GROUP_DELTA, command: DELTA_ABORT, write: true });
    else if (!error.isMalformed) throw error;
    return null;
  }
}

function explained(refused: Refused, version: number, before: number): MallornError {
  switch (refused.reason) {
    case 'COUNTER_TOO_LOW':
      return new InvalidPatch(
        'COUNTER_TOO_LOW',
        version === before
          ? `the device has other keys of version ${version}: expected a record of a higher version`
          : `key record: expected a version above the device's ${before}, got ${version}`,
      );
    case 'BAD_SIGNATURE':
      return new SignatureError(
        'BAD_SIGNATURE',
        'key record: not signed by the root key that the device was built with',
      );
    case 'UNKNOWN_SIGNER':
      return new SignatureError(
        'UNKNOWN_SIGNER',
        'the device takes no key records: it was built without a root key, or its keys are lost',
      );
    case 'WRONG_DEVICE_CLASS':
      return new InvalidPatch('WRONG_DEVICE_CLASS', 'key record: it is for devices of another class');
    default:
      return asMallornError(refused);
  }
}
