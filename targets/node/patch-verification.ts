/** What is known about a patch after it was checked, or applied. */

import type { MallornError } from '../../core/errors.js';

export interface VerificationParts {
  readonly sourceValid: boolean;
  readonly patchValid: boolean;
  readonly signatureValid: boolean;
  readonly expectedTarget: Uint8Array;
  readonly actualTarget: Uint8Array | null;
  readonly error: MallornError | null;
}

/** A flag is true only if its check ran and passed: without a key, signatureValid is false and the patch may still be valid. */
export class PatchVerification implements VerificationParts {
  /** The source is the one the patch was made from; true for a stand-alone patch, which has none. */
  readonly sourceValid: boolean;
  /** The patch is whole and decodes to expectedTarget; with a wrong source, that it is whole. */
  readonly patchValid: boolean;
  readonly signatureValid: boolean;
  /** SHA-256 that the header promises, 32 bytes. */
  readonly expectedTarget: Uint8Array;
  /** SHA-256 of what the patch decoded to; null when it did not get that far. */
  readonly actualTarget: Uint8Array | null;
  /** The first check that failed in the order header, signature, source, frames, decode. */
  readonly error: MallornError | null;

  constructor(parts: VerificationParts) {
    this.sourceValid = parts.sourceValid;
    this.patchValid = parts.patchValid;
    this.signatureValid = parts.signatureValid;
    this.expectedTarget = parts.expectedTarget;
    this.actualTarget = parts.actualTarget;
    this.error = parts.error;
  }

  isValid(): boolean {
    return this.error === null;
  }
}
