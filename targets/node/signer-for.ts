/** Core's port for whatever a caller signs with. */

import type { Signer } from '../../core/ports.js';
import type { SigningKey } from './check-options.js';
import { CommandSigner } from './command-signer.js';
import { NodeSigner } from './hashing.js';

export function signerFor(key: SigningKey): Signer {
  return key instanceof Uint8Array ? new NodeSigner(key) : new CommandSigner(key);
}
