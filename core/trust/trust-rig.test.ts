/** Makes trust files for tests: keys from a number, bodies from changes, signatures by whom it is told. No tests of its own. */

import { NodeSignatureVerifier } from '../../targets/node/hashing.js';
import { testSigner } from '../patch/build-patch.test.js';
import type { Signer } from '../ports.js';
import { compareKeys, encodeTrust, joinTrust, type Trust, trustMessage } from './trust-file.js';

export const VERIFIER = new NodeSignatureVerifier();
export const ROOTS = sorted([11, 12, 13].map(testSigner));
export const RELEASE = testSigner(21);
export const BUILD = testSigner(22);

/** Two of three roots; RELEASE signs anything, BUILD only patches. */
export const FIRST: Trust = {
  version: 1,
  expires: null,
  threshold: 2,
  roots: ROOTS.map(({ publicKey }) => publicKey),
  keys: sorted([RELEASE, BUILD]).map(({ publicKey }) => ({
    publicKey,
    roles: publicKey === RELEASE.publicKey ? ['image', 'patch'] : ['patch'],
    expires: null,
  })),
  revoked: [],
};

export function signedTrust(trust: Trust, signers: readonly Signer[]): Uint8Array {
  return signedBody(encodeTrust(trust), signers);
}

export function signedBody(body: string, signers: readonly Signer[]): Uint8Array {
  const message = trustMessage(body);
  const signatures = signers.map((signer) => ({ publicKey: signer.publicKey, signature: signer.sign(message) }));
  return joinTrust(body, signatures);
}

export function sorted(signers: readonly Signer[]): Signer[] {
  return [...signers].sort((a, b) => compareKeys(a.publicKey, b.publicKey));
}
