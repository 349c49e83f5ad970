/** An operator's word that an update may go on. It can only end a wait: what authorises a write stays the signed header. */
import * as z from 'zod';
import { MAX_CONSENT_BYTES, MAX_CONSENTS } from './limits.js';
import { messageOf } from './message-of.js';

/** What can be asked for: the download, the switch, and a whole model where a patch was expected. */
export const CONSENT_SCOPES = ['download', 'activate', 'full-image'] as const;
export type ConsentScope = (typeof CONSENT_SCOPES)[number];

/** Holds for a target and not for a document: one that names more bases, or lets more devices in, asks nobody again. */
export interface Consent {
  /** Hex, lower case. */
  readonly targetSha256: string;
  readonly for: readonly ConsentScope[];
}

/** A whole model may cost money, so that it is consented to by name alone. */
const consentSchema = z.object({
  targetSha256: z
    .string()
    .regex(/^[0-9a-fA-F]{64}$/, 'expected 64 hex digits of SHA-256')
    .transform((text) => text.toLowerCase()),
  for: z.array(z.enum(CONSENT_SCOPES)).min(1).max(CONSENT_SCOPES.length).default(['download', 'activate']),
});

export type ParsedConsent =
  | { readonly kind: 'consent'; readonly consent: Consent }
  | { readonly kind: 'unreadable'; readonly message: string };

/** A payload of the `cmd/consent` topic. */
export function parseConsent(payload: Uint8Array): ParsedConsent {
  if (payload.length > MAX_CONSENT_BYTES) {
    return {
      kind: 'unreadable',
      message: `consent: expected at most ${MAX_CONSENT_BYTES} bytes, got ${payload.length}`,
    };
  }
  try {
    const parsed = consentSchema.safeParse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload)));
    if (parsed.success) return { kind: 'consent', consent: parsed.data };
    const issue = parsed.error.issues[0];
    return { kind: 'unreadable', message: `consent: ${issue?.path.join('.') || '(document)'}: ${issue?.message}` };
  } catch (error) {
    return {
      kind: 'unreadable',
      message: `consent: not JSON: ${messageOf(error)}`,
    };
  }
}

/** Newest first; the same list where nothing is new, as when a broker repeats a retained message. */
export function withConsent(consents: readonly Consent[], { targetSha256, for: scopes }: Consent): readonly Consent[] {
  const before = consents.find((consent) => consent.targetSha256 === targetSha256)?.for ?? [];
  if (scopes.every((scope) => before.includes(scope))) return consents;
  const merged = CONSENT_SCOPES.filter((scope) => before.includes(scope) || scopes.includes(scope));
  return [{ targetSha256, for: merged }, ...withoutConsent(consents, targetSha256)].slice(0, MAX_CONSENTS);
}

export function withoutConsent(consents: readonly Consent[], targetSha256: string): readonly Consent[] {
  return consents.filter((consent) => consent.targetSha256 !== targetSha256);
}

export function hasConsent(consents: readonly Consent[], targetSha256: string, scope: ConsentScope): boolean {
  return consents.some((consent) => consent.targetSha256 === targetSha256 && consent.for.includes(scope));
}
