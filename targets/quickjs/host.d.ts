/**
 * What a host gives the device program (board.main.ts) as the global `host`: one flash part, one serial line, a clock, and a hash
 * where it has one. Set before the program is evaluated. Buffers are Uint8Arrays that the host fills or reads before it returns; a
 * failed operation throws. A program built into firmware finds no `host` before `start` is called.
 *
 * Hosts: the firmware (targets/firmware, in C), the `qjs` of a Linux device (linux-host.ts), a test.
 */
export interface Host {
  /** The class of device that patches and key records are made for. */
  readonly deviceClass: string;

  /** Size of the flash part and of its erase block, in bytes. */
  readonly flashBytes: number;
  readonly eraseBytes: number;
  /** Write unit and value of an erased byte, where they are not 1 and 0xFF. */
  readonly writeAlign?: number;
  readonly eraseValue?: number;
  flashRead(offset: number, into: Uint8Array): void;
  /** `offset` is that of an erase block. */
  flashErase(offset: number): void;
  /** Into erased bytes. Durable when it returns. */
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

  /** SHA-256, one at a time. `into` has 32 bytes. Absent together: then the program hashes by itself, a hundred times slower. */
  sha256Reset?(): void;
  sha256Update?(bytes: Uint8Array): void;
  sha256Digest?(into: Uint8Array): void;

  /** Frees what nothing refers to but itself. */
  collectGarbage(): void;
  /** Bytes: 0 heap in use, 1 its peak, 2 the stack's peak, 3 serial bytes lost; 0 where it is not known. */
  usage(which: 0 | 1 | 2 | 3): number;

  // Read by builds that leave them to the host (scripts/device-flags.ts).
  /** Most bytes the decoder of an update may hold. Default 64 KiB. */
  readonly maxBufferBytes?: number;
  /** Ed25519 public key, 64 hex digits, whose key records this device takes (core/patch/SPEC.md, "Key records"). */
  readonly rootKey?: string;
  /** Above 0 on a device with room for one model: erase blocks of the scratch area that in-place updates pass through. */
  readonly scratchBlocks?: number;

  /**
   * Left by the program, which firmware evaluates when it is built. Called once at each start, it gives what the host calls for ever;
   * that is false when there was nothing to do.
   */
  start?: () => () => boolean;
}
