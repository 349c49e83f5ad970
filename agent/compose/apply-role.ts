/** What the apply thread is told to work with, and the thread itself: it runs the same bundle as the main program. */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { NodeHasher, NodeSignatureVerifier } from '../../targets/node/hashing.js';
import { SlotDirectory } from '../../targets/node/slot-directory.js';
import { createDecompressor } from '../../targets/node/zstd-decompressor.js';
import { APPLY_ROLE, type ApplyRequest, type ApplyWorkerData } from '../apply-messages.js';
import { ApplyServer } from '../apply-worker.js';
import type { ModelConfig } from '../config.js';

export function workerDataFor(config: ModelConfig): ApplyWorkerData {
  return {
    role: APPLY_ROLE,
    slotsFolder: config.model.slots,
    minFreeBytes: config.limits.minFreeBytes,
    rules: {
      family: config.family ?? null,
      deviceClass: config.deviceClass ?? null,
      maxTargetBytes: config.limits.maxTargetBytes,
      maxBufferBytes: config.limits.maxBufferBytes,
      trial: config.health !== undefined,
      keepPrevious: config.keepPrevious,
    },
  };
}

/** In the apply worker's thread: serves it and returns true. Anywhere else: false at once. */
export function serveApplyWorker(): boolean {
  const data = workerData as Partial<ApplyWorkerData> | null;
  if (isMainThread || data?.role !== APPLY_ROLE || parentPort === null) return false;
  const { slotsFolder, minFreeBytes, rules } = data as ApplyWorkerData;
  const port = parentPort;
  const openPorts = () => ({
    // The main thread holds the folder's lock for the whole process.
    slots: SlotDirectory.open(slotsFolder, { lock: 'held', minFreeBytes }),
    hasher: new NodeHasher(),
    verifier: new NodeSignatureVerifier(),
    decompressor: createDecompressor(),
  });
  const server = new ApplyServer(openPorts, rules, (message) => port.postMessage(message));
  port.on('message', (request: ApplyRequest) => server.handle(request));
  return true;
}
