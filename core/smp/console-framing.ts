/**
 * SMP over a serial line, in two framings. Console: packet length, packet and checksum in base64, cut into lines of at most 127
 * bytes that begin with a marker no log line begins with. Raw: the packet as it is, whose header tells its length; without a
 * checksum, so only what is checked by other means should come that way. Either end drops what is damaged without a word; the
 * peer that waited asks again.
 */

import { SMP_HEADER_BYTES } from './packet.js';

const FIRST_A = 0x06;
const FIRST_B = 0x09;
const NEXT_A = 0x04;
const NEXT_B = 0x14;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
/** Bits that are clear in the first byte of a raw request: its operation is 0 or 2, its version 0 or 1. The second byte is 0. */
const NOT_IN_REQUESTS = 0xf5;

/** A multiple of 3, so that only a packet's last line has padding. */
const LINE_RAW_BYTES = 93;
const MAX_LINE_BYTES = 2 + (LINE_RAW_BYTES / 3) * 4 + 1;
/** Length and checksum around a packet. */
export const CONSOLE_OVERHEAD_BYTES = 4;

/** CRC-16/XMODEM: polynomial 0x1021, initial value 0. Goes on from `crc`. */
export function crc16(bytes: Uint8Array, start: number, end: number, crc = 0): number {
  let value = crc;
  for (let i = start; i < end; i++) {
    // A byte at a time without a table (Jones, "CRC-CCITT made simple").
    value = ((value >> 8) | (value << 8)) & 0xffff;
    value ^= bytes[i]!;
    value ^= (value & 0xff) >> 4;
    value ^= (value << 12) & 0xffff;
    value ^= (value & 0xff) << 5;
  }
  return value;
}

const OUTSIDE = 0;
const MARKER = 1;
const TEXT = 2;
const BETWEEN = 3;
const RAW_FIRST = 4;
const RAW = 5;

/** Takes bytes as they come and puts packets together in a fixed buffer: in either framing, for raw ones requests alone. */
export class ConsoleReader {
  /** Whether the packet given out last came in raw framing. */
  raw = false;
  private readonly buffer: Uint8Array;
  private state = BETWEEN;
  private marker = 0;
  private filled = 0;
  /** Sextets not yet made into bytes, and how many. */
  private bits = 0;
  private sextets = 0;
  private padding = 0;
  /** Whether earlier lines of a packet are in the buffer. */
  private open = false;

  /** `buffer` holds the longest packet and CONSOLE_OVERHEAD_BYTES more. */
  constructor(buffer: Uint8Array) {
    this.buffer = buffer;
  }

  /** The packet this byte completes, a view that is valid until the next call; null for none. */
  take(byte: number): Uint8Array | null {
    const { state } = this;
    if (state === RAW) return this.takeRaw(byte);
    if (state === RAW_FIRST) {
      if (byte === 0) {
        this.drop();
        this.state = RAW;
        this.takeRaw(this.marker);
        return this.takeRaw(0);
      }
      this.state = BETWEEN;
      return this.take(byte);
    }
    if (byte === NEWLINE) return this.endLine();
    if (state === TEXT) {
      if (byte !== RETURN && !this.takeText(byte)) this.drop();
    } else if (state === MARKER) {
      this.takeMarker(byte);
    } else if (state === BETWEEN) {
      this.marker = byte;
      this.state = byte === FIRST_A || byte === NEXT_A ? MARKER : (byte & NOT_IN_REQUESTS) === 0 ? RAW_FIRST : OUTSIDE;
    }
    return null;
  }

  /** To be called after a silence: what comes next is a beginning, whatever was going on. */
  restart(): void {
    if (this.state !== TEXT && this.state !== MARKER) this.state = BETWEEN;
  }

  private takeRaw(byte: number): Uint8Array | null {
    const { buffer } = this;
    buffer[this.filled++] = byte;
    if (this.filled < SMP_HEADER_BYTES) return null;
    const length = SMP_HEADER_BYTES + ((buffer[2]! << 8) | buffer[3]!);
    if (length > buffer.length) this.drop();
    if (this.filled !== length) return null;
    this.drop();
    this.state = BETWEEN;
    this.raw = true;
    return buffer.subarray(0, length);
  }

  private takeMarker(second: number): void {
    const first = this.marker === FIRST_A && second === FIRST_B;
    if (!first && !(this.open && this.marker === NEXT_A && second === NEXT_B)) {
      this.state = OUTSIDE;
      return;
    }
    if (first) {
      this.filled = 0;
      this.open = true;
    }
    this.bits = 0;
    this.sextets = 0;
    this.padding = 0;
    this.state = TEXT;
  }

  private takeText(character: number): boolean {
    const value = character === 0x3d ? 0 : sextetOf(character);
    if (character === 0x3d) this.padding++;
    else if (this.padding > 0) return false;
    if (value < 0 || this.padding > 2) return false;
    this.bits = (this.bits << 6) | value;
    if (++this.sextets < 4) return true;
    const count = 3 - this.padding;
    if (this.filled + count > this.buffer.length) return false;
    for (let i = 0; i < count; i++) this.buffer[this.filled++] = this.bits >> (16 - 8 * i);
    this.bits = 0;
    this.sextets = 0;
    return true;
  }

  private endLine(): Uint8Array | null {
    const whole = this.state === TEXT && this.sextets === 0;
    if (this.state === TEXT && !whole) this.drop();
    // Lines of a log may come between those of a packet. A newline that ends no line of ours may begin a raw packet.
    this.marker = NEWLINE;
    this.state = whole ? BETWEEN : RAW_FIRST;
    if (!whole || this.filled < 2) return null;
    const length = (this.buffer[0]! << 8) | this.buffer[1]!;
    if (this.filled < length + 2) return null;
    const packet = this.buffer.subarray(2, length);
    const sound = length >= 2 && this.filled === length + 2 && crc16(this.buffer, 2, this.filled) === 0;
    this.drop();
    this.state = BETWEEN;
    this.raw = false;
    return sound ? packet : null;
  }

  private drop(): void {
    this.state = OUTSIDE;
    this.open = false;
    this.filled = 0;
  }
}

/** Sends packets as lines, through one line's buffer. */
export class ConsoleWriter {
  private readonly write: (bytes: Uint8Array) => void;
  private readonly line = new Uint8Array(MAX_LINE_BYTES);
  private used = 0;
  private bits = 0;
  private pending = 0;
  private raw = 0;

  constructor(write: (bytes: Uint8Array) => void) {
    this.write = write;
  }

  send(packet: Uint8Array): void {
    const crc = crc16(packet, 0, packet.length);
    this.beginLine(FIRST_A, FIRST_B);
    this.put((packet.length + 2) >> 8);
    this.put((packet.length + 2) & 0xff);
    for (let i = 0; i < packet.length; i++) this.put(packet[i]!);
    this.put(crc >> 8);
    this.put(crc & 0xff);
    this.endLine();
  }

  private beginLine(a: number, b: number): void {
    this.line[0] = a;
    this.line[1] = b;
    this.used = 2;
    this.raw = 0;
    this.bits = 0;
    this.pending = 0;
  }

  private put(byte: number): void {
    if (this.raw === LINE_RAW_BYTES) {
      this.endLine();
      this.beginLine(NEXT_A, NEXT_B);
    }
    this.raw++;
    this.bits = (this.bits << 8) | byte;
    if (++this.pending === 3) this.flush(4);
  }

  /** Writes the pending bytes as `characters` characters of base64 and fills up with padding. */
  private flush(characters: number): void {
    const group = this.bits << (8 * (3 - this.pending));
    for (let i = 0; i < 4; i++) {
      this.line[this.used++] = i < characters ? characterOf((group >> (18 - 6 * i)) & 63) : 0x3d;
    }
    this.bits = 0;
    this.pending = 0;
  }

  private endLine(): void {
    if (this.pending > 0) this.flush(this.pending + 1);
    this.line[this.used++] = NEWLINE;
    this.write(this.line.subarray(0, this.used));
  }
}

function sextetOf(character: number): number {
  if (character >= 0x41 && character <= 0x5a) return character - 0x41;
  if (character >= 0x61 && character <= 0x7a) return character - 0x47;
  if (character >= 0x30 && character <= 0x39) return character + 4;
  if (character === 0x2b) return 62;
  return character === 0x2f ? 63 : -1;
}

function characterOf(sextet: number): number {
  if (sextet < 26) return sextet + 0x41;
  if (sextet < 52) return sextet + 0x47;
  if (sextet < 62) return sextet - 4;
  return sextet === 62 ? 0x2b : 0x2f;
}
