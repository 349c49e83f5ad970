/**
 * What a board's firmware gives the bundle as the global `host`: one flash part, one serial line, a clock, a hash. Buffers are
 * Uint8Arrays that the host fills or reads before it returns; a failed operation throws.
 */
export interface BoardHost {
  /** The class of device that patches are made for. */
  readonly deviceClass: string;

  /** Size of the flash part and of its erase block, in bytes. */
  readonly flashBytes: number;
  readonly eraseBytes: number;
  flashRead(offset: number, into: Uint8Array): void;
  /** `offset` is that of an erase block. */
  flashErase(offset: number): void;
  /** Into erased bytes. */
  flashProgram(offset: number, bytes: Uint8Array): void;

  /** Takes what has arrived, up to the length of `into`; returns how much. */
  serialRead(into: Uint8Array): number;
  serialWrite(bytes: Uint8Array): void;

  /** Of the buffer for a packet, where the line's own buffer holds more or fewer than two of 640 bytes. */
  readonly packetBytes?: number;

  /** Starts the device anew. */
  reset(): void;

  /** Milliseconds since some moment. */
  clock(): number;

  /** SHA-256, one at a time. `into` has 32 bytes. */
  sha256Reset(): void;
  sha256Update(bytes: Uint8Array): void;
  sha256Digest(into: Uint8Array): void;

  /** Frees what nothing refers to but itself. */
  collectGarbage(): void;
  /** Bytes: 0 heap in use, 1 its peak, 2 the stack's peak, 3 serial bytes lost. */
  usage(which: 0 | 1 | 2 | 3): number;

  /**
   * Left by the bundle, which is evaluated when the firmware is built and lies in flash. Called once at each start, it gives what
   * the firmware calls for ever; that is false when there was nothing to do.
   */
  start?: () => () => boolean;
}
