/** What the client needs of a line and of a clock: a serial port, a socket, or a test that has neither. */

import { IoError } from '../../core/errors.js';

/** The line is gone, and may come back. */
export class LinkLost extends IoError {}

/** The line is there, and nobody answers on it. */
export class DeviceSilent extends IoError {}

export interface ByteLink {
  /** Bits a second, for how long bytes are on their way; null where that takes no time worth waiting for. */
  readonly baud: number | null;
  /** Sends all of it, in order, at some time. */
  write(bytes: Uint8Array): void;
  /** `take` gets what arrives; one at a time. */
  onBytes(take: (bytes: Uint8Array) => void): void;
  /** `take` hears once that the line is gone: unplugged, or closed at either end. */
  onClosed(take: (reason: Error) => void): void;
  close(): Promise<void>;
}

export interface Timers {
  /** Calls `act` once after that many milliseconds; the function it gives calls that off. */
  after(milliseconds: number, act: () => void): () => void;
}

export const realTimers: Timers = {
  after(milliseconds, act) {
    const timer = setTimeout(act, milliseconds);
    return () => clearTimeout(timer);
  },
};

/** A start bit, eight of data, a stop bit. */
const BITS_PER_BYTE = 10;

/** How long so many bytes are on the line. */
export function lineMilliseconds(bytes: number, baud: number | null): number {
  return baud === null ? 0 : (bytes * BITS_PER_BYTE * 1000) / baud;
}
