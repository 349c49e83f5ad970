/** Little-endian fields, LEB128 varints and comparisons over byte arrays; nothing here allocates. */

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a[i]! ^ b[i]!;
  return difference === 0;
}

export function isZero(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte !== 0) return false;
  return true;
}

export function readU16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

export function readU32(bytes: Uint8Array, at: number): number {
  return readI32(bytes, at) >>> 0;
}

/** The same bits as a signed number, which is how JavaScript's own 32-bit arithmetic has them. */
export function readI32(bytes: Uint8Array, at: number): number {
  return readU16(bytes, at) | (readU16(bytes, at + 2) << 16);
}

/** A u64 as a double: exact below 2^53, and above it still larger than every limit it is then compared with. */
export function readU64(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at) + readU32(bytes, at + 4) * 4294967296;
}

export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  writeU16(bytes, at, value);
  writeU16(bytes, at + 2, value >>> 16);
}

export function writeU64(bytes: Uint8Array, at: number, value: number): void {
  writeU32(bytes, at, value >>> 0);
  writeU32(bytes, at + 4, Math.floor(value / 4294967296));
}

/** Longest varint: 2^53 - 1 takes 8 groups of 7 bits. */
export const MAX_VARINT_BYTES = 8;

/** Reads varints one after another; `failed` stays set once one was cut short, too long or not in its shortest form. */
export class VarintReader {
  private bytes: Uint8Array;
  private end: number;
  position: number;
  /** Ran out of bytes: more input may help. */
  short = false;
  /** Malformed: more input cannot help. */
  failed = false;

  constructor() {
    this.bytes = new Uint8Array(0);
    this.end = 0;
    this.position = 0;
  }

  reset(bytes: Uint8Array, start: number, end: number): void {
    this.bytes = bytes;
    this.position = start;
    this.end = end;
    this.short = false;
    this.failed = false;
  }

  get remaining(): number {
    return this.end - this.position;
  }

  byte(): number {
    if (this.position >= this.end) {
      this.short = true;
      return 0;
    }
    return this.bytes[this.position++]!;
  }

  unsigned(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < MAX_VARINT_BYTES; i++) {
      const byte = this.byte();
      if (this.short) return 0;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if ((byte === 0 && i > 0) || value > Number.MAX_SAFE_INTEGER) this.failed = true;
        return value;
      }
      scale *= 128;
    }
    this.failed = true;
    return 0;
  }

  /** Zigzag: 0, -1, 1, -2, ... */
  signed(): number {
    const value = this.unsigned();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
}
