/**
 * Everything core asks of a platform, on one page. All ports are synchronous: a power cut is then an exception at a
 * flash operation, and the applier, the journal and the slots are written once for every target. Each port has a
 * contract suite in hil-tests/contracts that every adapter runs.
 *
 * Offsets and lengths are bytes, non-negative safe integers.
 */

/** Random reads of an immutable byte string: the source model. */
export interface ByteSource {
  readonly size: number;
  /** Fills all of `into` from `offset`. Throws IoError when the range is outside [0, size] or the medium fails. */
  read(offset: number, into: Uint8Array): void;
}

export interface FlashStatus {
  /** Total bytes = blockLength x blocks. */
  readonly size: number;
  /** Erase unit in bytes, up to 128 KiB on common NOR parts. */
  readonly blockLength: number;
  readonly blocks: number;
  /** Programs start at a multiple of this and are a multiple of it long. */
  readonly writeAlign: number;
  /** What an erased byte reads as: 0xFF, or 0x00 on some parts. */
  readonly eraseValue: number;
}

/**
 * A region of flash, or a file that behaves like one. Programming needs an erased range; a block is erased whole.
 * What `program` wrote is durable only after `sync` returned (a NOR part is durable at once and makes it a no-op).
 */
export interface FlashDevice {
  status(): FlashStatus;
  read(offset: number, into: Uint8Array): void;
  eraseBlock(index: number): void;
  program(offset: number, bytes: Uint8Array): void;
  sync(): void;
}

/** SHA-256 (FIPS 180-4), incremental. */
export interface Hasher {
  reset(): void;
  update(bytes: Uint8Array): void;
  /** Writes the 32-byte digest into `into` and ends the hash; `reset` starts the next one. */
  digest(into: Uint8Array): void;
}

/** Decodes zstd blocks (RFC 8878, 3.1.1.2) behind a raw-content dictionary. */
export interface Decompressor {
  /**
   * Fills all of `plain`. `dictionary` may be empty. Throws InvalidPatch when `packed` is malformed or does not decode
   * to exactly `plain.length` bytes. May allocate, bounded by a small multiple of the three lengths.
   */
  decompress(dictionary: Uint8Array, packed: Uint8Array, plain: Uint8Array): void;
}

/** Encoder side only, never on a device. */
export interface Compressor {
  /** zstd blocks without a frame header, for Decompressor. `level` 1-19. Deterministic for given inputs. A view, valid until the next call. */
  compress(dictionary: Uint8Array, plain: Uint8Array, level: number): Uint8Array;
}

/** Ed25519 (RFC 8032) over whole messages. Core applies its strict precheck first (core/patch/ed25519-precheck.ts). */
export interface SignatureVerifier {
  /** Throws when it cannot tell, for instance out of memory: that is never the same as 'invalid'. */
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): 'valid' | 'invalid';
}

/** Encoder side only. */
export interface Signer {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** 64-byte Ed25519 signature. */
  sign(message: Uint8Array): Uint8Array;
}

/** A serial line with a receive buffer of its own. */
export interface SerialLine {
  /** Takes up to `into.length` bytes that have arrived; returns how many, 0 when there are none. */
  read(into: Uint8Array): number;
  /** Sends all of it, waiting as long as that takes. */
  write(bytes: Uint8Array): void;
}

/** Monotonic. */
export interface Clock {
  /** Milliseconds since some moment. */
  now(): number;
}

/** Where a slot lies and what it holds. */
export interface SlotContents {
  /** Bytes of the model, without padding. */
  readonly size: number;
  /** 32 bytes. */
  readonly sha256: Uint8Array;
  /** Version counter of the patch that wrote it, 0 where it had none. */
  readonly counter: number;
}

/** Two slots, one active. Nothing but `commit` and `rollback` changes which one boots, and each is atomic. */
export interface SlotStore {
  /** The running model; null before the first install. */
  active(): SlotContents | null;
  /** The kept previous model, if it is whole. */
  previous(): SlotContents | null;
  /** Lowest version counter this device accepts. */
  counterFloor(): number;
  /** Reads the active slot. Throws IoError when there is none. */
  openActive(): ByteSource;
  /** The inactive slot, to be written; whatever it held is no longer `previous`. Keeps its bytes if already opened for the same update. */
  openInactive(size: number): FlashDevice;
  /** Journal region that belongs to the inactive slot. */
  journal(): FlashDevice;
  /** Makes the inactive slot active. Raises the floor to `minimumCounter`, never lowers it. */
  commit(contents: SlotContents, minimumCounter: number): void;
  /** Goes back to `previous`. Throws IoError when there is none. */
  rollback(): void;
}
