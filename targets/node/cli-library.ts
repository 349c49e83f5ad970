/** The library as a main file takes it: the public calls, where its workers run, and what trust files need. */

import type { TrustSignature } from '../../core/trust/trust-file.js';
import { applyPatchBy, verifyPatchBy } from './api.js';
import type { ApplyOptions, ExternalSigner, Input, VerifyOptions } from './api-types.js';
import { writeFileAtomic } from './atomic-file.js';
import type { callHere as CallHere } from './call-here.js';
import { checkSigningKey } from './check-options.js';
import { NodeSignatureVerifier } from './hashing.js';
import { signerFor } from './signer-for.js';

export * from './index.js';
export { signKeyRecord } from './key-record.js';

/** Loaded with the first call: most commands apply nothing. */
const callHere: typeof CallHere = async (call, options) => (await import('./call-here.js')).callHere(call, options);

/** As a command needs them, which has nothing else to do. */
export const applyPatch = (source: Input | null, patch: Input, output: string, options: ApplyOptions = {}) =>
  applyPatchBy(callHere, source, patch, output, options);
export const verifyPatch = (source: Input | null, patch: Input, options: VerifyOptions = {}) =>
  verifyPatchBy(callHere, source, patch, options);
export { runWorkersFrom } from './worker-file.js';

export const signing = {
  verifier: new NodeSignatureVerifier(),
  signMessage: (message: Uint8Array, key: Uint8Array | ExternalSigner): TrustSignature => {
    const signer = signerFor(checkSigningKey(key));
    return { publicKey: signer.publicKey, signature: signer.sign(message) };
  },
  writeFileAtomic: (path: string, bytes: Uint8Array): void => writeFileAtomic(path, bytes),
};
