/** Where a body waits for its hashes: memory while small, a temporary file once it is not. */

import { closeSync, openSync, unlinkSync } from 'node:fs';
import { ByteBuilder } from '../../core/diff/byte-builder.js';
import type { Spool } from '../../core/diff/encode-body.js';
import { tempNameFor } from './atomic-file.js';
import { readFully, writeFully } from './file-io.js';
import { attempt } from './io-error.js';

/** A body that grew to 22 MB in memory took 50 (measured): growing leaves copies behind. */
const IN_MEMORY_BYTES = 4 << 20;

export class OverflowSpool implements Spool {
  private readonly memory = new ByteBuilder(4096);
  private readonly path: string;
  private fd: number | null = null;
  size = 0;

  /** @param beside the output; the temporary file, if one is needed, lies in its folder */
  constructor(beside: string) {
    this.path = tempNameFor(beside);
  }

  append(bytes: Uint8Array): void {
    if (this.fd === null && this.size + bytes.length <= IN_MEMORY_BYTES) this.memory.append(bytes);
    else writeFully(this.file(), this.path, this.size, bytes);
    this.size += bytes.length;
  }

  read(offset: number, into: Uint8Array): void {
    if (this.fd === null) into.set(this.memory.view().subarray(offset, offset + into.length));
    else readFully(this.fd, this.path, offset, into);
  }

  /** Opens the file and moves there what was in memory. Its name is gone at once, so that nothing can leave it behind. */
  private file(): number {
    if (this.fd === null) {
      this.fd = attempt('cannot create a temporary file', () => openSync(this.path, 'wx+'));
      attempt('cannot unlink a temporary file', () => unlinkSync(this.path));
      writeFully(this.fd, this.path, 0, this.memory.view());
      this.memory.clear();
    }
    return this.fd;
  }

  close(): void {
    if (this.fd !== null) closeSync(this.fd);
    this.fd = null;
  }
}
