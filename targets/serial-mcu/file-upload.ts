/**
 * Writes a whole file through the file system group (8), for devices that know no deltas. One packet at a time: a wrong offset is
 * an error there, and after a lost answer only the file's length tells whether the packet arrived.
 */

import { createHash } from 'node:crypto';
import { IoError } from '../../core/errors.js';
import { Refused } from './refused.js';
import { chunkBytes, type Params, type SmpClient } from './smp-client.js';

export const GROUP_FILE = 8;
const FILE_TRANSFER = 0;
const FILE_STATUS = 1;
const FILE_HASH = 2;
const FILE_CLOSE = 4;
/** Faults in a row, after which the upload is given up. */
const MOST_FAULTS = 12;

export interface UploadOptions {
  readonly client: SmpClient;
  readonly params: Params;
  readonly bytes: Uint8Array;
  readonly onProgress?: (received: number) => void;
}

/** @throws Refused; IoError when the link fails or the file is another in the end. */
export async function uploadFile(options: UploadOptions & { readonly path: string }): Promise<void> {
  const { client, params, bytes, path, onProgress = () => {} } = options;
  let faults = 0;
  for (let offset = 0; offset < bytes.length; ) {
    const others = { name: path, off: offset, ...(offset === 0 ? { len: bytes.length } : {}) };
    const data = bytes.subarray(offset, offset + chunkBytes(params, 'data', others));
    const sent = client.start({ group: GROUP_FILE, command: FILE_TRANSFER, write: true, fields: { ...others, data } });
    const answer = await client
      .listen(client.answerMs + client.lineMs(2 * data.length + 300), [sent.answer])
      .catch((error): null => {
        if (error instanceof Refused && !error.isUnknownCommand && faults < MOST_FAULTS) return null;
        throw error;
      });
    sent.forget();
    if (answer !== null && Number(answer['off']) === offset + data.length) {
      offset += data.length;
      faults = 0;
    } else {
      if (++faults > MOST_FAULTS) throw new IoError(`${path}: the device does not take byte ${offset}`);
      const kept = await lengthOf(client, path);
      // The device goes on at the file's end alone; anything else begins anew.
      offset = kept === offset || kept === offset + data.length ? kept : 0;
    }
    onProgress(offset);
  }
  await client.request({ group: GROUP_FILE, command: FILE_CLOSE, write: true }).catch(ignoreUnknown);
  await verify(client, path, bytes);
}

async function lengthOf(client: SmpClient, path: string): Promise<number> {
  const answer = await client
    .request({ group: GROUP_FILE, command: FILE_STATUS, fields: { name: path } })
    .catch(ignoreUnknown);
  return Number(answer?.['len'] ?? 0);
}

async function verify(client: SmpClient, path: string, bytes: Uint8Array): Promise<void> {
  const fields = { name: path, type: 'sha256' };
  const answer = await client.request({ group: GROUP_FILE, command: FILE_HASH, fields }).catch(ignoreUnknown);
  const found = answer?.['output'];
  if (found instanceof Uint8Array) {
    if (createHash('sha256').update(bytes).digest().equals(found)) return;
    throw new IoError(`${path}: the file on the device has another hash`);
  }
  const length = await lengthOf(client, path);
  if (length !== bytes.length)
    throw new IoError(`${path}: expected ${bytes.length} bytes on the device, got ${length}`);
}

/** Devices need not have every command of the group. */
function ignoreUnknown(error: unknown): null {
  if (error instanceof Refused) return null;
  throw error;
}
