/** Ed25519 by a library that no product uses: what two others are compared with. */
import { hashes, verify } from '@noble/ed25519';
import { sha512 } from '@noble/hashes/sha2.js';
import type { SignatureVerifier } from '../../core/ports.js';

hashes.sha512 = sha512;

export const nobleVerifier: SignatureVerifier = {
  verify: (publicKey, message, signature) =>
    verify(signature, message, publicKey, { zip215: false }) ? 'valid' : 'invalid',
};
