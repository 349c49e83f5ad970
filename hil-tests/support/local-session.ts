/** The apply side of an update without its thread: the production server, called straight. */

import type {
  ApplyMessage,
  ApplyRequest,
  ApplySession,
  Failed,
  PushReply,
  SlotsReply,
} from '../../agent/apply-messages.js';
import { ApplyServer } from '../../agent/apply-worker.js';
import { NodeHasher, NodeSignatureVerifier } from '../../targets/node/hashing.js';
import type { SlotDirectory } from '../../targets/node/slot-directory.js';
import { createDecompressor } from '../../targets/node/zstd-decompressor.js';

export function localSession(slots: SlotDirectory, trustedKeys: readonly Uint8Array[]): ApplySession {
  const ports = {
    slots,
    hasher: new NodeHasher(),
    verifier: new NodeSignatureVerifier(),
    decompressor: createDecompressor(),
  };
  const rules = { family: null, deviceClass: null, maxTargetBytes: 1 << 24, maxBufferBytes: 1 << 26, trial: false };
  let last: ApplyMessage | null = null;
  const server = new ApplyServer(
    () => ports,
    rules,
    (message) => {
      last = message;
    },
  );
  const call = async <R>(request: ApplyRequest): Promise<R> => {
    server.handle(request);
    return last as R;
  };
  return {
    readSlots: () => call({ kind: 'slots' }),
    begin: (order) => call({ kind: 'begin', order, keys: { trustedKeys, imageKeys: trustedKeys } }),
    push: (bytes) => call<PushReply | Failed>({ kind: 'push', bytes }),
    end: () => call({ kind: 'end' }),
    commit: () => call<SlotsReply | Failed>({ kind: 'commit' }),
    confirm: () => call({ kind: 'confirm' }),
    rollback: (always) => call({ kind: 'rollback', always }),
    close: async () => {},
  };
}
