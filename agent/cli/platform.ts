/** What the command line is given by its main file. Only types come from targets/: the main file passes the values. */

import type * as node from '../../targets/node/index.js';
import type * as agentMain from '../agent.main.js';

export type Library = Pick<
  typeof node,
  | 'applyPatch'
  | 'createPatch'
  | 'createPatches'
  | 'explainPatch'
  | 'fingerprint'
  | 'generateKeypair'
  | 'isEncryptedKey'
  | 'patchInfo'
  | 'readPrivateKey'
  | 'readPublicKey'
  | 'signPatch'
  | 'verifyPatch'
  | 'writePrivateKey'
  | 'writePublicKey'
>;

export type {
  CallOptions,
  ExternalSigner,
  PatchExplanation,
  PatchInfo,
  PatchOptions,
  PatchPair,
  PatchResult,
  PatchStats,
  PrivateKeyForm,
  PublicKeyForm,
} from '../../targets/node/index.js';

export interface Platform {
  readonly library: Library;
  /** Loaded on demand: it brings the MQTT client. */
  readonly loadAgent: () => Promise<Pick<typeof agentMain, 'loadConfig' | 'startAgent'>>;
  /** The file that serves worker threads. */
  readonly workerEntry: URL;
  readonly version: string;
}
