/** The shapes of the public API: what a call takes and gives. Sizes in bytes, hashes and keys as bytes. */

import type { ModelFormat } from '../../core/formats/model.js';
import type { Profile } from '../../core/limits.js';

export type { ModelFormat, Profile };

/**
 * A model or patch: a path, or its bytes. Bytes are copied: at once up to 16 MiB, larger ones in pieces while the event loop
 * runs on, so leave those alone until the call has settled.
 */
export type Input = string | Uint8Array;

/** The part of AbortSignal that is used, so that these types need neither the DOM's nor Node's. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  readonly reason?: unknown;
  addEventListener(type: 'abort', listener: () => void): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

export interface Progress {
  readonly phase: 'hashing' | 'encoding' | 'applying' | 'verifying' | 'signing';
  /** Bytes of `total` that are done in this phase. */
  readonly done: number;
  readonly total: number;
}

export interface CallOptions {
  /** Called at most about 20 times a second. */
  readonly onProgress?: (progress: Progress) => void;
  /** The call rejects with signal.reason and leaves no output. */
  readonly signal?: AbortSignalLike;
}

/** A program that signs, so that the private key can stay where it is. What it answers is verified before it is used. */
export interface ExternalSigner {
  /**
   * Program and arguments, run without a shell. It is given the message on stdin, or, where an argument is `{message}`, in a
   * file whose path stands in that place; it answers on stdout with the Ed25519 signature: 64 bytes, or their hex or base64.
   */
  readonly command: readonly string[];
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** Default 60 s, at most an hour. */
  readonly timeoutMs?: number;
}

/** What a patch is to be like. */
export interface PatchOptions {
  /** zstd level, 1 to 19. Default 3. */
  readonly compressionLevel?: number;
  /** The context-modelled codec: smaller patches, slower to apply. Default false. */
  readonly neural?: boolean;
  /** Signs the patch: 64 bytes, seed then public key. */
  readonly privateKey?: Uint8Array;
  /** Signs the patch, in privateKey's place. */
  readonly signer?: ExternalSigner;
  /** Sizes of frames, segments and buffers. Default 'gateway'. */
  readonly profile?: Profile;
  /**
   * For devices with a single slot, where the new model is written over the old one. Such a patch is also an ordinary
   * one, a few bytes larger. Default false.
   */
  readonly inPlace?: boolean;
  /** With inPlace: the largest erase block of the devices it is for, a power of two up to 2^24. Default: the profile's segment size. */
  readonly eraseBlockBytes?: number;
  /** Model family and device class the patch is for, at most 32 bytes of UTF-8 each. Default: any. */
  readonly family?: string;
  readonly deviceClass?: string;
  /** 1 to 2^32 - 1; a device refuses a patch whose counter is below its floor. Default: none. */
  readonly versionCounter?: number;
  /** What the device's floor becomes once the patch is committed. At most versionCounter. Default 0. */
  readonly minimumCounter?: number;
  /** Default: SOURCE_DATE_EPOCH if set, else none. */
  readonly createdAt?: Date;
  /** Receives what is worth knowing but no error: a model read as plain bytes because it is malformed. */
  readonly onWarning?: (message: string) => void;
}

export interface CreateOptions extends CallOptions, PatchOptions {}

export interface VerifyOptions extends CallOptions {
  /** 32 bytes. When given, the patch must carry a valid signature of this key. */
  readonly publicKey?: Uint8Array;
}

export type ApplyOptions = VerifyOptions;

export interface PatchStats {
  readonly sourceSize: number;
  readonly targetSize: number;
  readonly patchSize: number;
  /** targetSize / patchSize. */
  readonly compressionRatio: number;
  readonly tensorsModified: number;
  readonly tensorsUnchanged: number;
}

/** One patch of a batch. */
export interface PatchPair {
  /** null makes a stand-alone patch. Bytes are copied when it is the pair's turn: leave them alone until then. */
  readonly source: Input | null;
  readonly target: Input;
  readonly output: string;
  /** Over those of the batch. */
  readonly options?: PatchOptions;
}

export interface BatchOptions extends PatchOptions {
  /** Patches under way at a time, 1 to 256; each holds up to 100 MiB, at level 19 150. Default: one a processor; more do not run. */
  readonly concurrency?: number;
  /** Called at most about 20 times a second. */
  readonly onProgress?: (progress: BatchProgress) => void;
  /** The call rejects with signal.reason; patches that were finished before stay. */
  readonly signal?: AbortSignalLike;
}

export interface BatchProgress {
  /** Bytes of all targets that are encoded; those of a failed pair count as done. */
  readonly done: number;
  readonly total: number;
  /** Of the pairs, how many are settled. */
  readonly settled: number;
  readonly pairs: number;
}

export type PatchResult =
  | { readonly kind: 'created'; readonly stats: PatchStats }
  | { readonly kind: 'failed'; readonly error: Error };

export interface PatchInfo {
  readonly format: ModelFormat;
  readonly version: number;
  readonly sourceHash: Uint8Array;
  readonly targetHash: Uint8Array;
  readonly patchSize: number;
  readonly sourceSize: number;
  readonly targetSize: number;
  /** "zstd(level)" or "neural". */
  readonly compression: string;
  readonly neural: boolean;
  readonly tensorsModified: number;
  readonly tensorsUnchanged: number;
  readonly signed: boolean;
  /** Key ids (8 bytes each) of the signatures, none of them checked. */
  readonly signers: readonly Uint8Array[];
  readonly createdAt: Date | null;
  readonly profile: Profile;
  readonly standalone: boolean;
  readonly family: string;
  readonly deviceClass: string;
  /** 0 where the patch carries none. */
  readonly versionCounter: number;
  readonly minimumCounter: number;
  readonly frameBytes: number;
  readonly segmentBytes: number;
  /** Whether a device with a single slot can take it. */
  readonly inPlace: boolean;
  /** In place: the largest erase block of such a device, and the least scratch area. 0 otherwise. */
  readonly unitBytes: number;
  /** What a device's decoder has to hold. */
  readonly bufferBytes: number;
}

export interface Keypair {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** 64 bytes: seed, then public key. */
  readonly privateKey: Uint8Array;
}

/** Target bytes by op kind, of one tensor or of what lies outside all tensors. */
export interface TensorOps {
  /** '' for bytes outside every tensor. */
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly copiedBytes: number;
  readonly deltaBytes: number;
  /** Predicted from a source tensor of another dtype. */
  readonly castBytes: number;
  readonly literalBytes: number;
}

/** One segment of a patch's body. */
export interface SegmentOps {
  readonly kind: 'copy' | 'stored' | 'zstd' | 'neural';
  readonly targetOffset: number;
  readonly targetBytes: number;
  /** In the patch, its header included. */
  readonly patchBytes: number;
  /** Source bytes in front of the zstd window. */
  readonly dictionaryBytes: number;
  /** Number of ops; null where only the source could tell, because the segment has a dictionary. */
  readonly ops: number | null;
}

/** What a patch does, for `mallorn info --verbose`. */
export interface PatchExplanation {
  readonly segments: readonly SegmentOps[];
  /** In file order, what lies outside all tensors last; null without the source, which is needed to know the tensors. */
  readonly tensors: readonly TensorOps[] | null;
}
