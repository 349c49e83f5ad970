/**
 * When a trust file takes another's place (docs/trust.md, "Rotation"; The Update Framework 1.0.33, 5.3): signed by enough of the
 * roots that are trusted now and by enough of its own, newer, and forgetting no revocation. Nothing here knows a clock: an
 * expired file still says which versions are old.
 */

import { TrustError } from '../errors.js';
import { toHex } from '../hex.js';
import { ed25519Precheck } from '../patch/ed25519-precheck.js';
import type { SignatureVerifier } from '../ports.js';
import {
  includesKey,
  type Moment,
  parseTrust,
  type Role,
  type SplitTrust,
  splitTrust,
  type Trust,
} from './trust-file.js';

/**
 * A file that starts everything: pinned by whoever made the device, and held to its own roots alone.
 * @throws TrustError BAD_TRUST, THRESHOLD_NOT_MET
 */
export function readPinnedTrust(file: Uint8Array, verifier: SignatureVerifier): Trust {
  const split = splitTrust(file);
  const trust = parseTrust(split.body);
  requireThreshold('its own roots', trust, split, verifier);
  return trust;
}

/**
 * What `file` says, once it may follow `current`. Not a field of it is read before the present roots have signed it.
 * @throws TrustError BAD_TRUST, THRESHOLD_NOT_MET, TRUST_ROLLED_BACK
 */
export function acceptTrust(current: Trust, file: Uint8Array, verifier: SignatureVerifier): Trust {
  const split = splitTrust(file);
  requireThreshold('the present roots', current, split, verifier);
  const next = parseTrust(split.body);
  requireThreshold('its own roots', next, split, verifier);
  if (next.version <= current.version) {
    throw new TrustError(
      'TRUST_ROLLED_BACK',
      `trust file: expected a version above ${current.version}, got ${next.version}`,
    );
  }
  for (const key of current.revoked) {
    if (includesKey(next.revoked, key)) continue;
    throw new TrustError('TRUST_ROLLED_BACK', `trust file: it forgets that ${toHex(key)} is revoked`);
  }
  return next;
}

/** Distinct roots with a valid signature. */
export function signedRoots(trust: Trust, split: SplitTrust, verifier: SignatureVerifier): Uint8Array[] {
  return trust.roots.filter((root) =>
    split.signatures.some(
      ({ publicKey, signature }) =>
        includesKey([publicKey], root) &&
        ed25519Precheck(root, signature) === null &&
        verifier.verify(root, split.message, signature) === 'valid',
    ),
  );
}

/** @param now null on a device whose clock nobody can vouch for: versions and counters are then all there is */
export function usableKeys(trust: Trust, role: Role, now: Moment | null): Uint8Array[] {
  const isOver = (expires: Moment | null): boolean => now !== null && expires !== null && now >= expires;
  if (isOver(trust.expires)) return [];
  return trust.keys.filter((key) => key.roles.includes(role) && !isOver(key.expires)).map(({ publicKey }) => publicKey);
}

function requireThreshold(whose: string, trust: Trust, split: SplitTrust, verifier: SignatureVerifier): void {
  const { length } = signedRoots(trust, split, verifier);
  if (length >= trust.threshold) return;
  throw new TrustError(
    'THRESHOLD_NOT_MET',
    `trust file: expected signatures by ${trust.threshold} of ${whose}, got ${length}`,
  );
}
