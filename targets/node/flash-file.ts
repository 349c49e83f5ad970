/** An open file or device with the geometry of flash: what the adapters that keep flash in one have in common. */
import { closeSync } from 'node:fs';
import { invariant } from '../../core/errors.js';
import type { FlashStatus } from '../../core/ports.js';
import { readFully, writeFully } from './file-io.js';
import { attempt } from './io-error.js';

export class FlashFile {
  readonly path: string;
  readonly geometry: FlashStatus;
  private fd: number;

  /** Over an open read-write descriptor, which `close` closes; `path` only appears in messages. */
  constructor(fd: number, path: string, geometry: FlashStatus) {
    this.fd = fd;
    this.path = path;
    this.geometry = geometry;
  }

  /** The count of bytes read: less than `into` holds where the file ends. Throws IoError. */
  read(offset: number, into: Uint8Array): number {
    this.requireRange(offset, into.length);
    return readFully(this.descriptor(), this.path, offset, into);
  }

  /** Throws IoError. */
  write(offset: number, bytes: Uint8Array): void {
    this.requireRange(offset, bytes.length);
    writeFully(this.descriptor(), this.path, offset, bytes);
  }

  descriptor(): number {
    invariant(this.fd !== -1, `${this.path} is used while open`);
    return this.fd;
  }

  /** Does not sync. May be called again. Throws IoError. */
  close(): void {
    const { fd } = this;
    if (fd === -1) return;
    // Forgotten first: a descriptor number is reused, and a late write would land in somebody else's file.
    this.fd = -1;
    attempt(`cannot close ${this.path}`, () => closeSync(fd));
  }

  private requireRange(offset: number, length: number): void {
    const fits = Number.isSafeInteger(offset) && offset >= 0 && offset + length <= this.geometry.size;
    invariant(fits, `${length} bytes at ${offset} lie within the ${this.geometry.size} of ${this.path}`);
  }
}

export function requireBlock({ blocks }: FlashStatus, index: number): void {
  invariant(Number.isSafeInteger(index) && index >= 0 && index < blocks, `block ${index} is below ${blocks}`);
}

export function requireAligned({ writeAlign }: FlashStatus, offset: number, length: number): void {
  const isAligned = offset % writeAlign === 0 && length % writeAlign === 0;
  invariant(isAligned, `writes of ${writeAlign} bytes, got ${length} at ${offset}`);
}
