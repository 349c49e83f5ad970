/**
 * What an update has to wait for although nothing is wrong: its share of a rollout, an operator, a connection, a time of day.
 * Pure; what the clock and the network say comes in as `conditions`.
 */
import type { Choice } from './choose.js';
import { type Consent, type ConsentScope, hasConsent } from './consent.js';
import type { Desired } from './desired.js';
import { takesPart, turnDelayMs } from './rollout.js';

/** What is so outside of the machine right now. Without a rule about it, it is true. */
export interface Conditions {
  readonly downloadWindow: boolean;
  readonly applyWindow: boolean;
  readonly unmetered: boolean;
}

export const NO_CONDITIONS: Conditions = { downloadWindow: true, applyWindow: true, unmetered: true };

export interface HoldPolicy {
  readonly device: string;
  readonly consent: readonly ConsentScope[];
  readonly fullImage: 'never' | 'ask' | 'unmetered' | 'always';
  readonly conditions: Conditions;
  /** The new model is written over the old one: what the switch has to wait for, the first byte has to. Default false. */
  readonly inPlace?: boolean;
}

export type HoldReason = 'rollout' | 'confirmation' | 'unmetered' | 'window' | 'turn';

export interface Hold {
  readonly for: HoldReason;
  /** Where it waits for a confirmation: of what. */
  readonly asks: readonly ConsentScope[];
}

/** The order is that of patience: who is not let in is not asked for anything, and a turn is not spent outside a window. */
export function holdBeforeDownload(
  policy: HoldPolicy,
  consents: readonly Consent[],
  { desired, choice }: { readonly desired: Desired; readonly choice: Choice },
  hadTurn: boolean,
): Hold | null {
  const { device, fullImage, conditions, inPlace = false } = policy;
  if (!takesPart(device, desired)) return waitFor('rollout');
  const isFull = choice.kind === 'full';
  const wanted: ConsentScope[] = policy.consent.includes('download') ? ['download'] : [];
  if (isFull && fullImage === 'ask') wanted.push('full-image');
  if (inPlace && policy.consent.includes('activate')) wanted.push('activate');
  const asks = wanted.filter((scope) => !hasConsent(consents, desired.targetSha256, scope));
  if (asks.length > 0) return { for: 'confirmation', asks };
  if (isFull && fullImage === 'unmetered' && !conditions.unmetered) return waitFor('unmetered');
  if (!conditions.downloadWindow || (inPlace && !conditions.applyWindow)) return waitFor('window');
  return !hadTurn && turnDelayMs(device, desired) > 0 ? waitFor('turn') : null;
}

export function holdBeforeSwitch(policy: HoldPolicy, consents: readonly Consent[], desired: Desired): Hold | null {
  // Too late: it is made.
  if (policy.inPlace) return null;
  if (!takesPart(policy.device, desired)) return waitFor('rollout');
  if (policy.consent.includes('activate') && !hasConsent(consents, desired.targetSha256, 'activate')) {
    return { for: 'confirmation', asks: ['activate'] };
  }
  return policy.conditions.applyWindow ? null : waitFor('window');
}

function waitFor(reason: Exclude<HoldReason, 'confirmation'>): Hold {
  return { for: reason, asks: [] };
}
