/**
 * Uploads bytes through the image group (1), which every SMP server has. The answer names the next byte wanted: sending goes on
 * there, whatever was sent before.
 */

import { createHash } from 'node:crypto';
import { IoError } from '../../core/errors.js';
import { GROUP_IMAGE, IMAGE_UPLOAD } from '../../core/smp/packet.js';
import type { UploadOptions } from './file-upload.js';
import { Refused } from './refused.js';
import { chunkBytes } from './smp-client.js';

/** The first packet may erase a whole slot before it is answered. */
const ERASE_MS = 30_000;
const MOST_FAULTS = 12;

/** @throws Refused; IoError when the link fails. */
export async function uploadImage({ client, params, bytes, onProgress = () => {} }: UploadOptions): Promise<void> {
  const sha = new Uint8Array(createHash('sha256').update(bytes).digest());
  let furthest = 0;
  let faults = 0;
  for (let offset = 0; offset < bytes.length; ) {
    const others = { off: offset, ...(offset === 0 ? { len: bytes.length, sha } : {}) };
    const data = bytes.subarray(offset, offset + chunkBytes(params, 'data', others));
    const sent = client.start({ group: GROUP_IMAGE, command: IMAGE_UPLOAD, write: true, fields: { ...others, data } });
    const answerMs = offset === 0 && faults === 0 ? ERASE_MS : client.answerMs;
    const answer = await client.listen(answerMs + client.lineMs(2 * data.length + 300), [sent.answer]).catch(noise);
    sent.forget();
    const wanted = Number(answer?.['off'] ?? offset);
    if (!Number.isSafeInteger(wanted) || wanted < 0 || wanted > bytes.length) {
      throw new IoError(`the device wants byte ${wanted} of an image of ${bytes.length}`);
    }
    faults = wanted > furthest ? 0 : faults + 1;
    if (faults > MOST_FAULTS) throw new IoError(`the device does not take byte ${offset} of the image`);
    furthest = Math.max(furthest, wanted);
    offset = wanted;
    onProgress(offset);
  }
}

/** A request that arrived damaged is as good as lost. */
function noise(error: unknown): null {
  if (error instanceof Refused && error.isMalformed) return null;
  throw error;
}
