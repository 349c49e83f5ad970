/**
 * What a host gives the microcontroller bundle, as plain functions over byte offsets. Buffers are Uint8Arrays the host fills
 * or reads before it returns; a failed operation throws.
 */

export interface Host {
  /** The active slot: the base model. `sourceSize` is 0 where there is none. */
  readonly sourceSize: number;
  readSource(offset: number, into: Uint8Array): void;

  /** The inactive slot, and the journal: NOR rules, see FlashDevice in core/ports.ts. */
  readonly slot: HostFlash;
  readonly journal: HostFlash;

  /**
   * On a device without a second slot: what in-place updates pass through (core/patch/SPEC.md, "In place"). `slot` is then the
   * only one, with the model from byte 0 on; sourceSize and readSource are not looked at.
   */
  readonly scratch?: HostFlash;
}

export interface HostFlash {
  readonly blockLength: number;
  readonly blocks: number;
  readonly writeAlign: number;
  readonly eraseValue: number;
  read(offset: number, into: Uint8Array): void;
  eraseBlock(index: number): void;
  program(offset: number, bytes: Uint8Array): void;
}

export interface UpdateOptions {
  /** 32-byte Ed25519 keys; at least one. */
  readonly trustedKeys: readonly Uint8Array[];
  readonly maxBufferBytes: number;
  readonly family?: string;
  readonly deviceClass?: string;
  readonly counterFloor?: number;
  /** How often a damaged frame is asked for again. Default 3. */
  readonly frameRetries?: number;
}
