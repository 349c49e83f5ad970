/**
 * Which file, if any, takes this device to what is wanted. Pure, and asked before any download: a document without a
 * patch for our base costs no request at all.
 */
import type { Desired } from './desired.js';
import { type Failure, permanent } from './failure.js';
import { checkUrl, type UrlPolicy } from './url-policy.js';

export interface ChoicePolicy extends UrlPolicy {
  /** The model this agent keeps. */
  readonly model: string;
  /** `never`: a device without a matching patch waits for one. What `ask` and `unmetered` wait for: holds.ts. */
  readonly fullImage: 'never' | 'ask' | 'unmetered' | 'always';
  readonly maxPatchBytes: number;
  /** Of patches, best first. Default: all, the one with the larger frames first, which has less overhead and decodes faster on a gateway. */
  readonly profiles?: readonly string[];
}

export interface Choice {
  readonly kind: 'patch' | 'full';
  readonly url: string;
  readonly size: number;
  /** Hex; null for a full image, which needs no base. */
  readonly baseSha256: string | null;
}

export type Verdict = { kind: 'get'; choice: Choice } | { kind: 'refuse'; failure: Failure };

const PROFILES = ['gateway', 'mcu'];

/** `activeSha256` is null on a device that has no model yet. */
export function choose(policy: ChoicePolicy, desired: Desired, activeSha256: string | null): Verdict {
  if (desired.model !== policy.model) {
    return refuse('wrong-model', `this device keeps model ${policy.model}, the document is about ${desired.model}`);
  }
  const candidate = candidateFor(policy, desired, activeSha256);
  if (candidate === null) {
    const bases = desired.patches.map((patch) => patch.baseSha256.slice(0, 16));
    const base = activeSha256 === null ? 'none' : activeSha256.slice(0, 16);
    const known = bases.length === 0 ? 'no base' : `bases ${bases.slice(0, 8).join(', ')}`;
    return refuse('wrong-base', `wrong base: the installed model is ${base}, the document has patches for ${known}`);
  }
  if (candidate.size > policy.maxPatchBytes) {
    return refuse('too-large', `expected at most ${policy.maxPatchBytes} bytes (maxPatchBytes), got ${candidate.size}`);
  }
  const verdict = checkUrl(candidate.url, policy);
  return verdict.kind === 'refused' ? { kind: 'refuse', failure: verdict.failure } : { kind: 'get', choice: candidate };
}

function candidateFor(policy: ChoicePolicy, desired: Desired, activeSha256: string | null): Choice | null {
  const { profiles = PROFILES } = policy;
  const ours = desired.patches
    .filter((patch) => patch.baseSha256 === activeSha256 && profiles.includes(patch.profile))
    .sort((a, b) => profiles.indexOf(a.profile) - profiles.indexOf(b.profile) || a.size - b.size);
  const patch = ours[0];
  if (patch) return { kind: 'patch', url: patch.url, size: patch.size, baseSha256: patch.baseSha256 };
  if (policy.fullImage !== 'never' && desired.fullImage) {
    return { kind: 'full', url: desired.fullImage.url, size: desired.fullImage.size, baseSha256: null };
  }
  return null;
}

function refuse(reason: string, message: string): Verdict {
  return { kind: 'refuse', failure: permanent(reason, message) };
}
