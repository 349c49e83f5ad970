/**
 * The words of patch bytes over MQTT (docs/agent.md): a device asks for a block by its place in a file, a server sends it. Both the
 * name of a file and its bytes are untrusted, as with HTTP: the frames of a patch authenticate themselves.
 */
import * as z from 'zod';
import { MAX_STREAM_BLOCK_BYTES } from '../limits.js';

/** Name of a file that a server has: never a path, and one level of a topic. */
export const STREAM_ID = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;

/** Identity of the file's bytes, then the block's place in it, big-endian. */
export const BLOCK_HEADER_BYTES = 16;
export const TAG_BYTES = 8;
const MAX_REQUEST_BYTES = 256;
const MAX_REJECTION_BYTES = 1024;

const offset = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const requestSchema = z.object({ offset, length: z.number().int().min(1).max(MAX_STREAM_BLOCK_BYTES) });
export type BlockRequest = z.infer<typeof requestSchema>;

export const REJECTION_CODES = ['NotFound', 'OutOfRange', 'InvalidRequest', 'Busy', 'ReadFailed'] as const;
export type RejectionCode = (typeof REJECTION_CODES)[number];
const rejectionSchema = z.object({ code: z.enum(REJECTION_CODES), offset: offset.optional() });
export type Rejection = z.infer<typeof rejectionSchema>;

export interface Block {
  /** Changes when the file does, as an ETag. Hex. */
  readonly tag: string;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Topics of one device's streams lie under it. */
export function streamRoot(prefix: string, device: string): string {
  return `${prefix}/${device}/streams`;
}

/** Of the addresses of patches: `mqtt:STREAM-ID`. */
export const STREAM_SCHEME = 'mqtt:';

/** The id that a patch's address names; null for any other address. */
export function streamIdOf(url: string): string | null {
  const id = url.startsWith(STREAM_SCHEME) ? url.slice(STREAM_SCHEME.length) : '';
  return STREAM_ID.test(id) ? id : null;
}

/** `tag` has TAG_BYTES. */
export function encodeBlock(tag: Uint8Array, offset: number, bytes: Uint8Array): Uint8Array {
  const payload = new Uint8Array(BLOCK_HEADER_BYTES + bytes.length);
  payload.set(tag);
  new DataView(payload.buffer).setBigUint64(TAG_BYTES, BigInt(offset));
  payload.set(bytes, BLOCK_HEADER_BYTES);
  return payload;
}

/** Undefined for what is no block, or longer than any. The bytes are a copy: the client's buffer is not ours to move. */
export function decodeBlock(payload: Uint8Array): Block | undefined {
  const { byteLength, byteOffset, buffer } = payload;
  if (byteLength <= BLOCK_HEADER_BYTES || byteLength > BLOCK_HEADER_BYTES + MAX_STREAM_BLOCK_BYTES) return undefined;
  const place = new DataView(buffer, byteOffset, byteLength).getBigUint64(TAG_BYTES);
  if (place > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  const tag = Buffer.from(buffer, byteOffset, TAG_BYTES).toString('hex');
  return { tag, offset: Number(place), bytes: new Uint8Array(payload.subarray(BLOCK_HEADER_BYTES)) };
}

export function parseRequest(payload: Uint8Array): BlockRequest | undefined {
  return parse(requestSchema, payload, MAX_REQUEST_BYTES);
}

export function parseRejection(payload: Uint8Array): Rejection | undefined {
  return parse(rejectionSchema, payload, MAX_REJECTION_BYTES);
}

function parse<T>(schema: z.ZodType<T>, payload: Uint8Array, maxBytes: number): T | undefined {
  if (payload.length > maxBytes) return undefined;
  try {
    return schema.parse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload)));
  } catch {
    return undefined;
  }
}
