/** What the command line is given by its main file. Only types come from targets/: the main file passes the values. */

import type * as cliLibrary from '../../targets/node/cli-library.js';
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
  | 'patchInfo'
  | 'signPatch'
  | 'verifyPatch'
> &
  Pick<typeof cliLibrary, 'signKeyRecord'>;

export type {
  CallOptions,
  PatchExplanation,
  PatchInfo,
  PatchOptions,
  PatchPair,
  PatchResult,
  PatchStats,
} from '../../targets/node/index.js';

export interface Platform {
  readonly library: Library;
  /** Loaded on demand: it brings the MQTT client. */
  readonly loadAgent: () => Promise<Pick<typeof agentMain, 'loadConfig' | 'startAgent'>>;
  /** The file that serves worker threads. */
  readonly workerEntry: URL;
  readonly version: string;
}
