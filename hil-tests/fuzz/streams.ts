/** Patch bytes over MQTT: what anybody who may publish on the topics of a stream sends to a device, or to its server. */

import assert from 'node:assert/strict';
import { MAX_STREAM_BLOCK_BYTES } from '../../agent/limits.js';
import {
  decodeBlock,
  encodeBlock,
  parseRejection,
  parseRequest,
  TAG_BYTES,
} from '../../agent/streams/stream-messages.js';
import type { FuzzTarget, Outcome } from './target.js';

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

export class StreamTarget implements FuzzTarget {
  readonly name = 'streams';
  readonly share = 3;

  seeds(): Uint8Array[] {
    const tag = new Uint8Array(TAG_BYTES).fill(7);
    return [
      encodeBlock(tag, 0, new Uint8Array(5)),
      encodeBlock(tag, 2 ** 40, new Uint8Array(300).fill(9)),
      encode({ offset: 4096, length: 1024 }),
      encode({ code: 'NotFound', offset: 0 }),
      encode({ code: 'InvalidRequest' }),
    ];
  }

  run(bytes: Uint8Array): Outcome {
    const block = decodeBlock(bytes);
    if (block !== undefined) {
      assert.ok(block.bytes.length >= 1 && block.bytes.length <= MAX_STREAM_BLOCK_BYTES);
      assert.deepEqual(encodeBlock(Buffer.from(block.tag, 'hex'), block.offset, block.bytes), new Uint8Array(bytes));
    }
    const request = parseRequest(bytes);
    if (request !== undefined)
      assert.ok(Number.isSafeInteger(request.offset) && request.length <= MAX_STREAM_BLOCK_BYTES);
    const rejection = parseRejection(bytes);
    return block !== undefined || request !== undefined || rejection !== undefined ? 'taken' : 'refused';
  }
}
