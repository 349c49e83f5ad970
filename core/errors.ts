/**
 * The errors Mallorn throws. Few classes with codes: what a caller branches on is the class (it decides an exit code),
 * what a log shows is the code and the message ("expected X, got Y" and where).
 */

export type ErrorCode =
  | 'SOURCE_HASH_MISMATCH'
  | 'TARGET_HASH_MISMATCH'
  // The patch bytes are not what their format says.
  | 'BAD_MAGIC'
  | 'BAD_VERSION'
  | 'BAD_HEADER'
  | 'HEADER_DIGEST'
  | 'BAD_FRAME'
  | 'BAD_SEGMENT'
  | 'BAD_OP'
  | 'TRUNCATED'
  | 'TRAILING_BYTES'
  // The patch is sound but not for this device or these buffers.
  | 'BUFFERS_EXCEEDED'
  | 'FLASH_EXCEEDED'
  | 'WRONG_FAMILY'
  | 'WRONG_DEVICE_CLASS'
  | 'COUNTER_TOO_LOW'
  | 'COUNTER_MISSING'
  | 'WRONG_BASE'
  | 'UNSUPPORTED_CODEC'
  | 'NOT_IN_PLACE'
  // A single slot that only a stand-alone patch brings back.
  | 'NEEDS_FULL_IMAGE'
  // Signatures.
  | 'UNSIGNED'
  | 'UNKNOWN_SIGNER'
  | 'BAD_SIGNATURE'
  | 'VERIFY_UNAVAILABLE'
  | 'TOO_MANY_SIGNATURES'
  // Trust files.
  | 'BAD_TRUST'
  | 'THRESHOLD_NOT_MET'
  | 'TRUST_ROLLED_BACK'
  | 'BAD_KEY_RECORD'
  // Devices, files and links.
  | 'IO'
  | 'OUTPUT_IS_INPUT'
  // A model file that its reader refuses.
  | 'BAD_MODEL';

export class MallornError extends Error {
  override readonly name: string = 'MallornError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** The base model is not the one the patch was made from. */
export class SourceHashMismatch extends MallornError {
  override readonly name = 'SourceHashMismatch';
  constructor(message: string) {
    super('SOURCE_HASH_MISMATCH', message);
  }
}

/** The patch decoded, but to other bytes than its header promises. */
export class TargetHashMismatch extends MallornError {
  override readonly name = 'TargetHashMismatch';
  constructor(message: string) {
    super('TARGET_HASH_MISMATCH', message);
  }
}

/** The only slot holds neither model whole, and going on cannot mend it: a stand-alone in-place patch can. */
export class NeedsFullImage extends MallornError {
  override readonly name = 'NeedsFullImage';
  constructor(message: string, options?: { cause?: unknown }) {
    super('NEEDS_FULL_IMAGE', message, options);
  }
}

/** Malformed, corrupt or hostile patch bytes, or a patch this device must refuse. */
export class InvalidPatch extends MallornError {
  override readonly name = 'InvalidPatch';
}

/** A key was given and the patch does not carry a valid signature of it. */
export class SignatureError extends MallornError {
  override readonly name = 'SignatureError';
}

/** A trust file that is malformed, not signed by enough roots, or older than what is trusted already. */
export class TrustError extends MallornError {
  override readonly name = 'TrustError';
}

/** A file, flash part or link failed; the input itself may be fine. */
export class IoError extends MallornError {
  override readonly name = 'IoError';
  constructor(message: string, options?: { cause?: unknown; code?: ErrorCode }) {
    super(options?.code ?? 'IO', message, options);
  }
}

/** A model file that its format's reader cannot accept; `offset` is the byte at which it gave up. */
export class ModelFormatError extends MallornError {
  override readonly name = 'ModelFormatError';
  readonly offset: number;
  constructor(message: string, offset: number) {
    super('BAD_MODEL', `${message} (at byte ${offset})`);
    this.offset = offset;
  }
}

/** States a fact that only a bug of ours can break. Never for judging input. */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`invariant broken: ${message}`);
}
