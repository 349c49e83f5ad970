/** A growing byte string for the encoder side; the device side has fixed buffers instead. */

import { invariant } from '../errors.js';

export class ByteBuilder {
  private bytes: Uint8Array;
  length = 0;

  constructor(capacity = 256) {
    this.bytes = new Uint8Array(capacity);
  }

  clear(): void {
    this.length = 0;
  }

  byte(value: number): void {
    this.reserve(1)[this.length - 1] = value;
  }

  append(bytes: Uint8Array): void {
    this.reserve(bytes.length).set(bytes, this.length - bytes.length);
  }

  /** LEB128, shortest form. */
  unsigned(value: number): void {
    invariant(Number.isSafeInteger(value) && value >= 0, 'varints are non-negative safe integers');
    let left = value;
    while (left >= 128) {
      this.byte((left % 128) | 0x80);
      left = Math.floor(left / 128);
    }
    this.byte(left);
  }

  /** Zigzag: 0, -1, 1, -2, ... */
  signed(value: number): void {
    this.unsigned(value >= 0 ? 2 * value : -2 * value - 1);
  }

  /** The bytes so far; a view, valid until the next append. */
  view(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  /** Room for `count` bytes at the end, which the caller fills. */
  extend(count: number): Uint8Array {
    return this.reserve(count).subarray(this.length - count, this.length);
  }

  private reserve(count: number): Uint8Array {
    this.length += count;
    if (this.length > this.bytes.length) {
      const grown = new Uint8Array(Math.max(this.length, 2 * this.bytes.length));
      grown.set(this.bytes);
      this.bytes = grown;
    }
    return this.bytes;
  }
}
