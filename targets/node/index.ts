/** The library: `import { createPatch, applyPatch } from 'mallorn'`. */

export {
  type ErrorCode,
  InvalidPatch,
  IoError,
  MallornError,
  SignatureError,
  SourceHashMismatch,
  TargetHashMismatch,
} from '../../core/errors.js';
export { Fingerprint, type FingerprintParts } from '../../core/fingerprint.js';
export { fromHex, toHex } from '../../core/hex.js';
export {
  applyPatch,
  compareFingerprints,
  createPatch,
  explainPatch,
  fingerprint,
  generateKeypair,
  patchInfo,
  signPatch,
  verifyPatch,
} from './api.js';
export type {
  AbortSignalLike,
  ApplyOptions,
  BatchOptions,
  BatchProgress,
  CallOptions,
  CreateOptions,
  ExternalSigner,
  Input,
  Keypair,
  ModelFormat,
  PatchExplanation,
  PatchInfo,
  PatchOptions,
  PatchPair,
  PatchResult,
  PatchStats,
  Profile,
  Progress,
  SegmentOps,
  TensorOps,
  VerifyOptions,
} from './api-types.js';
export { createPatches } from './create-patches.js';
export {
  isEncryptedKey,
  type PrivateKeyForm,
  type PublicKeyForm,
  readPrivateKey,
  readPublicKey,
  writePrivateKey,
  writePublicKey,
} from './key-files.js';
export { PatchVerification, type VerificationParts } from './patch-verification.js';
