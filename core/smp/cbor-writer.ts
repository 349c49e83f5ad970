/** Writes one CBOR map (RFC 8949) into a fixed buffer. Keys are short ASCII texts. */

import { invariant } from '../errors.js';

export class CborWriter {
  private readonly buffer: Uint8Array;
  private at = 0;

  constructor(buffer: Uint8Array) {
    this.buffer = buffer;
  }

  get length(): number {
    return this.at;
  }

  /** Of indefinite length: what goes in depends on what there is to say. */
  begin(): void {
    this.at = 0;
    this.put(0xbf);
  }

  end(): void {
    this.put(0xff);
  }

  beginMap(key: string): void {
    this.text(key);
    this.put(0xbf);
  }

  /** A non-negative safe integer. */
  putUint(key: string, value: number): void {
    this.text(key);
    this.head(0, value);
  }

  putBoolean(key: string, value: boolean): void {
    this.text(key);
    this.put(value ? 0xf5 : 0xf4);
  }

  /** ASCII. */
  putText(key: string, value: string): void {
    this.text(key);
    this.text(value);
  }

  putBytes(key: string, value: Uint8Array): void {
    this.text(key);
    this.bytes(0x40, value);
  }

  putUtf8(key: string, value: Uint8Array): void {
    this.text(key);
    this.bytes(0x60, value);
  }

  private bytes(major: number, value: Uint8Array): void {
    this.head(major, value.length);
    this.need(value.length);
    this.buffer.set(value, this.at);
    this.at += value.length;
  }

  private text(value: string): void {
    this.head(0x60, value.length);
    for (let i = 0; i < value.length; i++) this.put(value.charCodeAt(i));
  }

  private head(major: number, value: number): void {
    if (value < 24) {
      this.put(major | value);
      return;
    }
    const size = value < 0x100 ? 0 : value < 0x10000 ? 1 : value < 0x100000000 ? 2 : 3;
    this.put(major | (24 + size));
    for (let i = (1 << size) - 1; i >= 0; i--) this.put(Math.floor(value / 256 ** i) % 256);
  }

  private put(byte: number): void {
    this.need(1);
    this.buffer[this.at++] = byte;
  }

  private need(count: number): void {
    invariant(this.at + count <= this.buffer.length, 'an answer fits its buffer');
  }
}
