/** What the command line is given by its main file. Only types come from targets/: the main file passes the values. */

import type { SignatureVerifier } from '../../core/ports.js';
import type { TrustSignature } from '../../core/trust/trust-file.js';
import type * as cliLibrary from '../../targets/node/cli-library.js';
import type * as node from '../../targets/node/index.js';
import type { ExternalSigner } from '../../targets/node/index.js';
import type * as serialMcu from '../../targets/serial-mcu/index.js';
import type * as agentMain from '../agent.main.js';
import type * as simulatorMain from '../simulator.main.js';

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
> &
  Pick<typeof cliLibrary, 'signKeyRecord'>;

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

export type Serial = Pick<
  typeof serialMcu,
  'describe' | 'flash' | 'listPorts' | 'openPort' | 'persistently' | 'sendKeyRecord' | 'SmpClient'
>;
export type { FlashResult, KeysResult } from '../../targets/serial-mcu/index.js';

export interface Platform {
  readonly library: Library;
  /** What trust files need beyond patches. */
  readonly signing: {
    readonly verifier: SignatureVerifier;
    /** Waits for an external signer on this thread. @throws what the library's signing throws */
    readonly signMessage: (message: Uint8Array, key: Uint8Array | ExternalSigner) => TrustSignature;
    readonly writeFileAtomic: (path: string, bytes: Uint8Array) => void;
  };
  /** Loaded on demand: it brings the MQTT client. */
  readonly loadAgent: () => Promise<Pick<typeof agentMain, 'checkFiles' | 'loadConfig' | 'startAgent'>>;
  /** Loaded on demand: few commands talk to microcontrollers. */
  readonly loadSerial: () => Promise<Serial>;
  /** Another bundle: it has an engine in it. */
  readonly loadSimulator: () => Promise<Pick<typeof simulatorMain, 'startSimulator'>>;
  /** The file that serves worker threads. */
  readonly workerEntry: URL;
  readonly version: string;
}
