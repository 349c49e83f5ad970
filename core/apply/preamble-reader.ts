/** Gathers header and signatures from chunks of any size, and nothing behind them. */

import { MAX_PREAMBLE_BYTES } from '../limits.js';
import { measurePreamble, type PreambleSize } from '../patch/header.js';

export class PreambleReader {
  private readonly bytes = new Uint8Array(MAX_PREAMBLE_BYTES);
  filled = 0;
  /** Null until all of it is gathered. */
  size: PreambleSize | null = null;

  /** Without the signature count. */
  get header(): Uint8Array {
    return this.bytes.subarray(0, this.size?.headerBytes);
  }

  get signatures(): Uint8Array {
    return this.bytes.subarray((this.size?.headerBytes ?? 0) + 1, this.size?.preambleBytes);
  }

  /**
   * Takes bytes from `chunk` at `start`; returns how many. In the steps in which the length becomes known, so that no body
   * byte is swallowed.
   * @throws InvalidPatch BAD_MAGIC, BAD_VERSION, BAD_HEADER
   */
  gather(chunk: Uint8Array, start: number): number {
    let taken = 0;
    for (;;) {
      const size = measurePreamble(this.bytes, this.filled);
      const wanted = size === null ? this.nextStep() : size.preambleBytes;
      if (size !== null && this.filled === wanted) {
        this.size = size;
        return taken;
      }
      const take = Math.min(wanted - this.filled, chunk.length - start - taken);
      if (take === 0) return taken;
      this.bytes.set(chunk.subarray(start + taken, start + taken + take), this.filled);
      this.filled += take;
      taken += take;
    }
  }

  /** 14 bytes tell the header's length; header and count byte tell that of the signatures. */
  private nextStep(): number {
    return this.filled < 14 ? 14 : (this.bytes[12]! | (this.bytes[13]! << 8)) + 1;
  }
}
