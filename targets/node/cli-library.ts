/** The library as a main file takes it: the public calls, where its workers run, and what trust files need. */

import type { TrustSignature } from '../../core/trust/trust-file.js';
import type { ExternalSigner } from './api-types.js';
import { writeFileAtomic } from './atomic-file.js';
import { checkSigningKey } from './check-options.js';
import { NodeSignatureVerifier } from './hashing.js';
import { signerFor } from './signer-for.js';

export * from './index.js';
export { signKeyRecord } from './key-record.js';
export { runWorkersFrom } from './worker-file.js';

export const signing = {
  verifier: new NodeSignatureVerifier(),
  signMessage: (message: Uint8Array, key: Uint8Array | ExternalSigner): TrustSignature => {
    const signer = signerFor(checkSigningKey(key));
    return { publicKey: signer.publicKey, signature: signer.sign(message) };
  },
  writeFileAtomic: (path: string, bytes: Uint8Array): void => writeFileAtomic(path, bytes),
};
