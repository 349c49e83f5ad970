/**
 * Reads one CBOR map (RFC 8949) in place, as far as SMP needs it: text keys; unsigned integers, byte strings, text and booleans as
 * values. Everything else is skipped, within bounds. Nothing is allocated.
 */

import { MAX_CBOR_DEPTH } from '../limits.js';

const BREAK = 0xff;
const INDEFINITE = 31;

export const CBOR_UINT = 0;
export const CBOR_BYTES = 2;
export const CBOR_TEXT = 3;
const ARRAY = 4;
const MAP = 5;
const TAG = 6;

export class CborReader {
  private bytes: Uint8Array = new Uint8Array(0);
  private at = 0;
  /** Major type of the head read last, its argument, and whether it is of indefinite length. */
  private major = 0;
  private argument = 0;
  private indefinite = false;

  /** Takes the map to look into; false unless it is exactly one well-formed map. */
  reset(bytes: Uint8Array): boolean {
    this.bytes = bytes;
    this.at = 0;
    return bytes.length > 0 && bytes[0]! >> 5 === MAP && this.skip(0) && this.at === bytes.length;
  }

  /** The unsigned integer at `key`; null when there is none there. */
  uint(key: string): number | null {
    return this.find(key, CBOR_UINT) ? this.argument : null;
  }

  /** The byte string at `key`, a view; null when there is none there. */
  byteString(key: string): Uint8Array | null {
    return this.string(key, CBOR_BYTES);
  }

  /** The text at `key` in UTF-8, a view; null when there is none there. */
  text(key: string): Uint8Array | null {
    return this.string(key, CBOR_TEXT);
  }

  private string(key: string, major: number): Uint8Array | null {
    return this.find(key, major) ? this.bytes.subarray(this.at, this.at + this.argument) : null;
  }

  /** Stops behind the head of the value at `key`; false when there is none of that type. The map was found well-formed. */
  private find(key: string, major: number): boolean {
    this.at = 0;
    this.head();
    let left = this.indefinite ? Number.MAX_SAFE_INTEGER : this.argument;
    for (; left > 0 && this.bytes[this.at] !== BREAK; left--) {
      const matches = this.keyIs(key);
      if (!matches) {
        this.skip(1);
        continue;
      }
      return this.head() && this.major === major && !this.indefinite;
    }
    return false;
  }

  private keyIs(key: string): boolean {
    const start = this.at;
    this.head();
    let same = this.major === CBOR_TEXT && !this.indefinite && this.argument === key.length;
    for (let i = 0; same && i < key.length; i++) same = this.bytes[this.at + i] === key.charCodeAt(i);
    this.at = start;
    this.skip(1);
    return same;
  }

  /** Reads an item's first bytes; false at the end, and for arguments that no bounded item has. */
  private head(): boolean {
    if (this.at >= this.bytes.length) return false;
    const initial = this.bytes[this.at++]!;
    const info = initial & 31;
    this.major = initial >> 5;
    this.indefinite = info === INDEFINITE;
    this.argument = info < 24 ? info : 0;
    if (info < 24 || this.indefinite) return true;
    if (info > 27) return false;
    let count = 1 << (info - 24);
    if (this.at + count > this.bytes.length) return false;
    for (; count > 0; count--) this.argument = this.argument * 256 + this.bytes[this.at++]!;
    return this.argument <= Number.MAX_SAFE_INTEGER || this.major === 7;
  }

  private skip(depth: number): boolean {
    if (depth > MAX_CBOR_DEPTH || !this.head()) return false;
    const { major, argument, indefinite } = this;
    if (indefinite) return major >= CBOR_BYTES && major <= MAP && this.skipUntilBreak(depth, major);
    if (major === CBOR_BYTES || major === CBOR_TEXT) {
      if (argument > this.bytes.length - this.at) return false;
      this.at += argument;
      return true;
    }
    if (major === TAG) return this.skip(depth + 1);
    if (major !== ARRAY && major !== MAP) return true;
    // Each item is a byte at least: a count beyond that is refused before anything loops over it.
    const items = major === MAP ? 2 * argument : argument;
    if (items > this.bytes.length - this.at) return false;
    for (let i = 0; i < items; i++) if (!this.skip(depth + 1)) return false;
    return true;
  }

  private skipUntilBreak(depth: number, major: number): boolean {
    for (let items = 0; ; items++) {
      if (this.at >= this.bytes.length) return false;
      if (this.bytes[this.at] === BREAK) {
        this.at++;
        return major !== MAP || items % 2 === 0;
      }
      if (!this.skip(depth + 1)) return false;
    }
  }
}
