/** The public calls (DESIGN.md, "Public API"): judge what the caller passes, copy it, and let a worker thread do the work. */

import { generateKeyPair as generateKeyPairWithCallback } from 'node:crypto';
import { promisify } from 'node:util';
import { Fingerprint } from '../../core/fingerprint.js';
import type {
  ApplyOptions,
  CallOptions,
  CreateOptions,
  ExternalSigner,
  Input,
  Keypair,
  PatchExplanation,
  PatchInfo,
  PatchStats,
  VerifyOptions,
} from './api-types.js';
import type { callHere } from './call-here.js';
import { callWorker, throwIfAborted } from './call-worker.js';
import {
  checkCreateOptions,
  checkPrivateKey,
  checkPublicKey,
  checkSigningKey,
  requireInput,
  requirePath,
} from './check-options.js';
import { buffersOf, copyInputs } from './copy-input.js';
import { createInWorker } from './create-in-worker.js';
import { reviveMallornError, type WireVerdict } from './error-wire.js';
import { fingerprintInput } from './fingerprint.js';
import { PatchVerification } from './patch-verification.js';

/**
 * Makes a patch that turns `source` into `target`; `source: null` makes a stand-alone one, a full compressed image. Applies
 * it and compares before it returns. The same inputs and options give the same bytes on every machine.
 * @throws RangeError for a bad option, before any file is opened; IoError
 */
export async function createPatch(
  source: Input | null,
  target: Input,
  output: string,
  options: CreateOptions = {},
): Promise<PatchStats> {
  if (source !== null) requireInput('source', source);
  requireInput('target', target);
  requirePath('output', output);
  const checked = checkCreateOptions(options, source === null);
  return createInWorker({ source, target, output, checked }, options);
}

/**
 * Writes what `patch` makes of `source` (null for a stand-alone patch) to `output`, which appears whole or not at all.
 * @throws RangeError for a bad key, before any file is opened; SourceHashMismatch, TargetHashMismatch, InvalidPatch,
 * SignatureError, IoError
 */
export async function applyPatch(
  source: Input | null,
  patch: Input,
  output: string,
  options: ApplyOptions = {},
): Promise<PatchVerification> {
  return applyPatchBy(callWorker, source, patch, output, options);
}

/** The same, and where the work is done. */
export async function applyPatchBy(
  call: typeof callHere,
  source: Input | null,
  patch: Input,
  output: string,
  options: ApplyOptions,
): Promise<PatchVerification> {
  if (source !== null) requireInput('source', source);
  requireInput('patch', patch);
  requirePath('output', output);
  const publicKey = checkPublicKey(options.publicKey);
  const [sourceCopy, patchCopy] = await copyInputs(options, source, patch);
  const verdict = await call(
    {
      operation: 'apply',
      args: { source: sourceCopy, patch: patchCopy, output, publicKey },
      transfer: buffersOf([sourceCopy, patchCopy]),
    },
    options,
  );
  return reviveVerdict(verdict);
}

/**
 * Does all that applyPatch does, except keeping the result; says what it found instead of throwing.
 * @throws RangeError for a bad key, before any file is opened; InvalidPatch for an unreadable header, IoError
 */
export async function verifyPatch(
  source: Input | null,
  patch: Input,
  options: VerifyOptions = {},
): Promise<PatchVerification> {
  return verifyPatchBy(callWorker, source, patch, options);
}

/** The same, and where the work is done. */
export async function verifyPatchBy(
  call: typeof callHere,
  source: Input | null,
  patch: Input,
  options: VerifyOptions,
): Promise<PatchVerification> {
  if (source !== null) requireInput('source', source);
  requireInput('patch', patch);
  const publicKey = checkPublicKey(options.publicKey);
  const [sourceCopy, patchCopy] = await copyInputs(options, source, patch);
  const verdict = await call(
    {
      operation: 'verify',
      args: { source: sourceCopy, patch: patchCopy, publicKey },
      transfer: buffersOf([sourceCopy, patchCopy]),
    },
    options,
  );
  return reviveVerdict(verdict);
}

/**
 * What the patch's header says. No signature and nothing of the body is checked, only the file's length.
 * @throws InvalidPatch, IoError
 */
export async function patchInfo(patch: Input, options: CallOptions = {}): Promise<PatchInfo> {
  requireInput('patch', patch);
  const [copy] = await copyInputs(options, patch);
  return callWorker({ operation: 'info', args: { patch: copy }, transfer: buffersOf([copy]) }, options);
}

/** The patch's segments and, given its source, what it does to each tensor. @throws InvalidPatch, SourceHashMismatch, IoError */
export async function explainPatch(
  patch: Input,
  options: CallOptions & { readonly source?: Input } = {},
): Promise<PatchExplanation> {
  requireInput('patch', patch);
  if (options.source !== undefined) requireInput('source', options.source);
  const [copy, source] = await copyInputs(options, patch, options.source ?? null);
  return callWorker(
    { operation: 'explain', args: { patch: copy, source }, transfer: buffersOf([copy, source]) },
    options,
  );
}

/**
 * Signs a patch without making it anew, with a private key or a program that has it. The same key again replaces its signature, another key adds one.
 * @throws RangeError for a bad key, before any file is opened; InvalidPatch for a damaged patch or a stand-alone one without
 * counter; SignatureError TOO_MANY_SIGNATURES; IoError
 */
export async function signPatch(
  patch: Input,
  privateKey: Uint8Array | ExternalSigner,
  output: string,
  options: CallOptions = {},
): Promise<void> {
  requireInput('patch', patch);
  requirePath('output', output);
  const signWith = checkSigningKey(privateKey);
  const [copy] = await copyInputs(options, patch);
  await callWorker(
    { operation: 'sign', args: { patch: copy, signWith, output }, transfer: buffersOf([copy]) },
    options,
  );
}

const generateKeyPair = promisify(generateKeyPairWithCallback);

/** A new Ed25519 key pair. The private key is 64 bytes: the seed, then the public key. */
export async function generateKeypair(options: CallOptions = {}): Promise<Keypair> {
  throwIfAborted(options);
  const pair = await generateKeyPair('ed25519');
  throwIfAborted(options);
  const { x, d } = pair.privateKey.export({ format: 'jwk' });
  const publicKey = new Uint8Array(Buffer.from(x ?? '', 'base64url'));
  const privateKey = new Uint8Array(64);
  privateKey.set(Buffer.from(d ?? '', 'base64url'));
  privateKey.set(publicKey, 32);
  // The library's own check of what it hands out: wrong lengths and halves that disagree throw.
  return { publicKey, privateKey: checkPrivateKey(privateKey) };
}

/**
 * A quick look at a model file: reads at most 68 KiB whatever its size. A hint, never a proof: a fine-tune can change only
 * the middle of a file.
 * @throws IoError
 */
export async function fingerprint(model: Input, options: CallOptions = {}): Promise<Fingerprint> {
  requireInput('model', model);
  throwIfAborted(options);
  const result = await fingerprintInput(model);
  throwIfAborted(options);
  return result;
}

/** Whether both may be the same file; takes fingerprints, or models to take them of. */
export async function compareFingerprints(
  a: Fingerprint | Input,
  b: Fingerprint | Input,
  options: CallOptions = {},
): Promise<boolean> {
  const [first, second] = await Promise.all([a, b].map((one) => toFingerprint(one, options)));
  return first!.matches(second!);
}

async function toFingerprint(value: Fingerprint | Input, options: CallOptions): Promise<Fingerprint> {
  return value instanceof Fingerprint ? value : fingerprint(value, options);
}

function reviveVerdict({ error, ...parts }: WireVerdict): PatchVerification {
  return new PatchVerification({ ...parts, error: error === null ? null : reviveMallornError(error) });
}
