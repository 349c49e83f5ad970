/**
 * The checks of a patch in the order header, signature, source, frames, decode (DESIGN.md, "Public API"): what applyPatch and
 * verifyPatch share. The first that fails becomes `error`; a flag is true only if its check ran and passed.
 */

import type { Applier } from '../../core/apply/applier.js';
import { checkPolicy } from '../../core/apply/policy.js';
import type { TargetSink } from '../../core/apply/target-sink.js';
import { equalBytes } from '../../core/bytes.js';
import {
  InvalidPatch,
  MallornError,
  SignatureError,
  SourceHashMismatch,
  TargetHashMismatch,
} from '../../core/errors.js';
import { toHex } from '../../core/hex.js';
import { MemorySource } from '../../core/memory-source.js';
import type { PatchHeader } from '../../core/patch/header.js';
import { requireSignature } from '../../core/patch/signatures.js';
import type { ByteSource } from '../../core/ports.js';
import { frameChainFault } from './frame-chain.js';
import { NodeHasher, NodeSignatureVerifier } from './hashing.js';
import { hashSteps, type Preamble, readPreamble } from './inputs.js';
import type { VerificationParts } from './patch-verification.js';
import { ALL_DECODERS, createApplier, feedSteps, OPEN_POLICY } from './run-applier.js';
import { finish, type Steps } from './steps.js';
import type { Task } from './task.js';

export interface PatchCheck {
  readonly source: ByteSource | null;
  readonly patch: ByteSource;
  /** 32 bytes, or null: signatures are then not looked at. */
  readonly publicKey: Uint8Array | null;
  /** Opens what the target is decoded into, once everything before `frames` has passed. */
  readonly target: (header: PatchHeader, buffer: Uint8Array) => TargetSink;
  readonly phase: 'applying' | 'verifying';
}

/** Where blocking harms nobody. */
export function checkPatch(check: PatchCheck, task: Task): VerificationParts {
  return finish(checkSteps(check, task));
}

/**
 * With a wrong source there is nothing to decode; the frame chain is then checked alone.
 * @throws InvalidPatch for an unreadable header, IoError, Aborted; MallornError VERIFY_UNAVAILABLE
 */
export function* checkSteps(check: PatchCheck, task: Task): Steps<VerificationParts> {
  const preamble = readPreamble(check.patch);
  const verdict = {
    sourceValid: false,
    patchValid: false,
    signatureValid: false,
    expectedTarget: preamble.header.targetHash,
    actualTarget: null as Uint8Array | null,
    error: null as MallornError | null,
  };
  let applier: Applier | null = null;
  try {
    verdict.signatureValid = checkSignature(preamble, check.publicKey);
    // The base has a check of its own, in its own place in the order.
    checkPolicy(preamble.header, OPEN_POLICY, check.source ?? NO_SOURCE, ALL_DECODERS, check.publicKey !== null);
    yield* checkSource(preamble.header, check.source, task);
    verdict.sourceValid = true;
    const trustedKeys = check.publicKey === null ? [] : [check.publicKey];
    applier = createApplier({ source: check.source, target: check.target, trustedKeys, sourceVerified: true });
    yield* feedSteps(applier, check.patch, check.phase, task);
    verdict.patchValid = true;
    verdict.actualTarget = applier.actualTarget.slice();
  } catch (error) {
    verdict.error = verdictOrThrow(error);
    if (error instanceof TargetHashMismatch && applier !== null) verdict.actualTarget = applier.actualTarget.slice();
  }
  if (verdict.error instanceof SourceHashMismatch && check.phase === 'verifying') {
    verdict.patchValid = frameChainFault(check.patch, preamble, task) === null;
  }
  return verdict;
}

const NO_SOURCE = new MemorySource(new Uint8Array(0));

function checkSignature({ headerBytes, signatures }: Preamble, publicKey: Uint8Array | null): boolean {
  if (publicKey === null) return false;
  const ports = { verifier: new NodeSignatureVerifier(), hasher: new NodeHasher() };
  requireSignature({ header: headerBytes, blocks: signatures, trustedKeys: [publicKey], ...ports });
  return true;
}

function* checkSource(header: PatchHeader, source: ByteSource | null, task: Task): Steps<void> {
  if (source === null) {
    if (header.standalone) return;
    throw new SourceHashMismatch('base model: the patch was made from one, expected it, got none');
  }
  if (header.standalone) throw new SourceHashMismatch('base model: the patch is stand-alone, expected none, got one');
  if (source.size !== header.sourceSize) {
    throw new SourceHashMismatch(`base model: expected ${header.sourceSize} bytes, got ${source.size}`);
  }
  const actual = yield* hashSteps(source, task);
  if (!equalBytes(actual, header.sourceHash)) {
    throw new SourceHashMismatch(`base model: expected SHA-256 ${toHex(header.sourceHash)}, got ${toHex(actual)}`);
  }
}

/** What says something about patch and source; anything else kept the check from being made. */
function verdictOrThrow(error: unknown): MallornError {
  const verdicts = [SignatureError, InvalidPatch, SourceHashMismatch, TargetHashMismatch];
  if (error instanceof MallornError && verdicts.some((kind) => error instanceof kind)) return error;
  throw error;
}
