/**
 * Reads back a persisted machine state. Another version of the agent may have written it, so its shape is checked; what
 * does not fit is forgotten, which costs nothing but the memory of refusals: the slots and the broker know the rest.
 */
import * as z from 'zod';
import { CONSENT_SCOPES } from './consent.js';
import { desiredSchema } from './desired.js';
import type { State } from './machine-types.js';

const FORMAT = 2;
/** Twice what a patch's header takes in base64. */
const MAX_HEADER_CHARS = 5500;

const failure = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('retryable'),
    reason: z.string(),
    message: z.string(),
    retryAfterMs: z.number().optional(),
  }),
  z.object({ kind: z.literal('permanent'), reason: z.string(), message: z.string() }),
]);

// What this version added has a default, so that an update does not forget refusals and budgets.
const desired = desiredSchema.extend({ id: z.string(), orderId: z.string().default('') });

const installed = z.object({ sha256: z.string(), version: z.string().nullable() });

const common = {
  wish: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('none') }),
    z.object({ kind: z.literal('want'), desired }),
    z.object({ kind: z.literal('unreadable'), id: z.string(), message: z.string() }),
  ]),
  installed: installed.nullable(),
  previous: installed.nullable(),
  consents: z.array(z.object({ targetSha256: z.string(), for: z.array(z.enum(CONSENT_SCOPES)) })).default([]),
  ticket: z.number().int(),
};

const choice = z.object({
  kind: z.enum(['patch', 'full']),
  url: z.string(),
  size: z.number().int(),
  baseSha256: z.string().nullable(),
});
const retry = z.object({
  attempt: z.number().int(),
  farthestBytes: z.number().int(),
  again: z.boolean(),
  hadTurn: z.boolean().default(false),
  staged: z
    .object({ targetSha256: z.string(), choice, header: z.base64().max(MAX_HEADER_CHARS) })
    .nullable()
    .default(null),
});
const refusal = z.object({ failure, baseSha256: z.string().nullable(), policyId: z.string() });
const job = z.object({ desired, choice });
const hold = z.object({
  for: z.enum(['rollout', 'confirmation', 'unmetered', 'window', 'turn']),
  asks: z.array(z.enum(CONSENT_SCOPES)),
});
const progress = z.object({ targetBytes: z.number(), targetSize: z.number() });

/** Typed as State's own reader: a state that is added there and not here does not compile. */
const stateSchema: z.ZodType<State> = z.discriminatedUnion('kind', [
  z.object({ ...common, kind: z.literal('starting') }),
  z.object({ ...common, kind: z.literal('idle'), failure: failure.optional() }),
  z.object({ ...common, kind: z.literal('choosing'), retry, remembered: refusal.nullable() }),
  z.object({ ...common, kind: z.literal('held'), retry, job, hold }),
  z.object({ ...common, kind: z.literal('applying'), retry, job, progress: progress.nullable() }),
  z.object({ ...common, kind: z.literal('staged'), retry, job, hold }),
  z.object({ ...common, kind: z.literal('committing'), retry, job }),
  z.object({ ...common, kind: z.literal('testing'), retry }),
  z.object({ ...common, kind: z.literal('rollingBack'), retry, failure, always: z.boolean() }),
  z.object({ ...common, kind: z.literal('waiting'), retry, failure }),
  z.object({ ...common, kind: z.literal('refused'), refusal }),
  z.object({ ...common, kind: z.literal('failed'), failure }),
]);

const envelope = z.object({ format: z.literal(FORMAT), state: stateSchema });

export function encodeState(state: State): unknown {
  return { format: FORMAT, state };
}

/** Null where `value` is not a state of this version. */
export function decodeState(value: unknown): State | null {
  const parsed = envelope.safeParse(value);
  return parsed.success ? parsed.data.state : null;
}
