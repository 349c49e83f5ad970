/**
 * The retained `desired` document: what a fleet's owner wants installed. It is untrusted input. It can make the device
 * look for a patch; only the patch's signed header can make it write. Keys this version does not know are ignored, so
 * that a newer publisher can say more to newer agents.
 */

import { createHash } from 'node:crypto';
import * as z from 'zod';
import { MAX_TRUST_BYTES } from '../core/limits.js';
import {
  MAX_DESIRED_BYTES,
  MAX_DESIRED_PATCHES,
  MAX_SPREAD_SECONDS,
  MAX_TRUST_CHAIN,
  MAX_URL_LENGTH,
} from './limits.js';
import { messageOf } from './message-of.js';
import { streamIdOf } from './streams/stream-messages.js';

const sha256Hex = z
  .string()
  .regex(/^[0-9a-fA-F]{64}$/, 'expected 64 hex digits of SHA-256')
  .transform((text) => text.toLowerCase());

const name = (maxLength: number) => z.string().min(1).max(maxLength);

const url = z
  .string()
  .max(MAX_URL_LENGTH)
  .refine(
    (text) => (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) || streamIdOf(text) !== null,
    'expected an http or https URL, or mqtt:STREAM-ID',
  );

const fileSize = z.number().int().min(1).max(Number.MAX_SAFE_INTEGER);

/** A trust file; what is in it core judges. */
export const trustTextSchema = z.string().min(1).max(MAX_TRUST_BYTES);

export const desiredSchema = z.object({
  model: name(128),
  version: name(128),
  targetSha256: sha256Hex,
  patches: z
    .array(z.object({ baseSha256: sha256Hex, profile: name(32), url, size: fileSize }))
    .max(MAX_DESIRED_PATCHES),
  /** A stand-alone signed patch: the whole model through the same path. */
  fullImage: z.object({ url, size: fileSize }).nullable().optional(),
  /** Trust files, oldest first, for devices that know older ones. Nothing but their signatures makes them count. */
  trust: z.array(trustTextSchema).max(MAX_TRUST_CHAIN).optional(),
  /** Bytes of the new model: lets a device without room for it say so before it downloads anything. */
  targetSize: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
  /** Holds devices back, never more: who takes part, and over how long their turns are spread (rollout.ts). */
  rollout: z
    .object({
      fraction: z.number().min(0).max(1),
      windowSeconds: z.number().int().min(1).max(MAX_SPREAD_SECONDS).optional(),
    })
    .optional(),
});

export type DesiredDocument = z.infer<typeof desiredSchema>;

/**
 * `id` is the SHA-256 of the document as understood: key order, white space and unknown keys do not change it. `orderId` leaves out
 * `rollout`: the same order to more or fewer devices.
 */
export type Desired = DesiredDocument & { readonly id: string; readonly orderId: string };

export type ParsedDesired =
  | { kind: 'none' }
  | { kind: 'want'; desired: Desired }
  | { kind: 'unreadable'; id: string; message: string };

/** `origin` becomes part of the id: the same document in another job is another wish. */
export function parseDesired(payload: Uint8Array, origin = ''): ParsedDesired {
  if (payload.length === 0) return { kind: 'none' };
  const unreadable = (message: string): ParsedDesired => ({ kind: 'unreadable', id: digest(payload), message });
  if (payload.length > MAX_DESIRED_BYTES) {
    return unreadable(`desired: expected at most ${MAX_DESIRED_BYTES} bytes, got ${payload.length}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
  } catch (error) {
    return unreadable(`desired: not JSON: ${messageOf(error)}`);
  }
  const parsed = desiredSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    return unreadable(`desired: ${issue?.path.join('.') || '(document)'}: ${issue?.message ?? 'not valid'}`);
  }
  const { rollout, ...order } = parsed.data;
  const orderId = digest(origin + JSON.stringify(order));
  // As it was before there were rollouts, so that an agent that is replaced by this version knows its document again.
  const id = rollout === undefined ? orderId : digest(origin + JSON.stringify(parsed.data));
  return { kind: 'want', desired: { ...parsed.data, id, orderId } };
}

function digest(data: Uint8Array | string): string {
  return createHash('sha256').update(data).digest('hex');
}
