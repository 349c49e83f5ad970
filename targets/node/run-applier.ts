/** Feeds a whole patch file to an applier: what `apply`, `verify` and the encoder's self-check share. */

import { Applier, type ApplierOptions } from '../../core/apply/applier.js';
import type { ApplyPolicy, Decoders } from '../../core/apply/policy.js';
import { createMixedModels } from '../../core/codec/mixed-models.js';
import { invariant } from '../../core/errors.js';
import { DEFAULT_MAX_BUFFER_BYTES, MAX_FILE_BYTES } from '../../core/limits.js';
import type { ByteSource } from '../../core/ports.js';
import { NodeHasher, NodeSignatureVerifier } from './hashing.js';
import { chunksOf } from './inputs.js';
import { finish, type Steps } from './steps.js';
import type { Task } from './task.js';
import { createDecompressor } from './zstd-decompressor.js';

/** A workstation accepts what it can hold; families, classes and counters are for devices to judge. */
export const OPEN_POLICY: ApplyPolicy = {
  maxBufferBytes: DEFAULT_MAX_BUFFER_BYTES,
  maxTargetBytes: MAX_FILE_BYTES,
  family: null,
  deviceClass: null,
  counterFloor: 0,
};

export const ALL_DECODERS: Decoders = { zstd: true, neuralClass: 1 };

export type WholePatchOptions = Pick<ApplierOptions, 'source' | 'target' | 'trustedKeys' | 'sourceVerified'>;

export function createApplier(options: WholePatchOptions): Applier {
  return new Applier({
    hasher: new NodeHasher(),
    verifier: new NodeSignatureVerifier(),
    decompressor: createDecompressor(),
    unitHasher: new NodeHasher(),
    mixedModels: createMixedModels,
    policy: OPEN_POLICY,
    ...options,
  });
}

/** @throws what Applier throws; TRUNCATED and TRAILING_BYTES included */
export function feedWholePatch(applier: Applier, patch: ByteSource, phase: Phase, task: Task): void {
  finish(feedSteps(applier, patch, phase, task));
}

type Phase = 'applying' | 'verifying';

/** The same a bounded amount of work at a time. */
export function* feedSteps(applier: Applier, patch: ByteSource, phase: Phase, task: Task): Steps<void> {
  for (const chunk of chunksOf(patch)) yield* pushAll(applier, chunk, phase, task);
  yield* pushAll(applier, new Uint8Array(0), phase, task);
  applier.end();
}

function* pushAll(applier: Applier, chunk: Uint8Array, phase: Phase, task: Task): Steps<void> {
  let rest = chunk;
  for (;;) {
    const result = applier.push(rest);
    invariant(result.kind !== 'seek', 'without a journal and without retries nothing is asked for twice');
    rest = rest.subarray(result.consumed);
    if (applier.header !== null) task.checkpoint(phase, applier.targetOffset, applier.header.targetSize);
    if (result.kind !== 'busy' && rest.length === 0) return;
    yield;
  }
}
