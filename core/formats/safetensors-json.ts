/**
 * JSON (RFC 8259) read in place, value by value, without building a tree: a SafeTensors header may have a hundred
 * megabytes, most of them training metadata nobody asked for. The caller says what it expects next; anything else is a
 * ModelFormatError with the offset in the file. What is skipped is only checked as far as finding its end takes.
 */

import { ModelFormatError } from '../errors.js';
import { MODEL_LIMITS } from '../limits.js';
import { decodeUtf8 } from '../utf8.js';
import type { WindowedSource } from './windowed-source.js';

const QUOTE = 0x22;
const COMMA = 0x2c;
const ZERO = 0x30;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

const { jsonDepth: MAX_DEPTH, jsonTextBytes: MAX_TEXT_BYTES } = MODEL_LIMITS;
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

export class JsonCursor {
  /** Byte of the file that is looked at next. */
  position: number;
  private readonly file: WindowedSource;
  private readonly end: number;

  /** Reads bytes [start, end) of the file. */
  constructor(file: WindowedSource, start: number, end: number) {
    this.file = file;
    this.position = start;
    this.end = end;
  }

  /** Calls `member` with each key and the byte it starts at; `member` must read or skip the value. */
  object(member: (key: string, at: number) => void): void {
    this.items(OPEN_BRACE, CLOSE_BRACE, () => {
      this.space();
      const at = this.position;
      const key = this.text();
      this.expect(COLON);
      member(key, at);
    });
  }

  /** Calls `element` for each element, which must read or skip it. */
  array(element: () => void): void {
    this.items(OPEN_BRACKET, CLOSE_BRACKET, element);
  }

  /** An array of at most `maxCount` whole numbers from 0 to 2^53 - 1. */
  integers(maxCount: number, what: string): number[] {
    const values: number[] = [];
    this.array(() => {
      if (values.length === maxCount) throw this.error(`expected at most ${maxCount} ${what}, got more`);
      values.push(this.integer());
    });
    return values;
  }

  /** At most 16 KiB of UTF-8, malformed sequences replaced by U+FFFD. */
  text(): string {
    this.space();
    const start = this.position + 1;
    this.skipText();
    const length = this.position - 1 - start;
    if (length > MAX_TEXT_BYTES) {
      throw new ModelFormatError(`expected a string of at most ${MAX_TEXT_BYTES} bytes, got ${length}`, start - 1);
    }
    const text = decodeUtf8(this.file.bytes(start, length, 'a string'));
    return text.includes('\\') ? resolveEscapes(text, start) : text;
  }

  /** Steps over any value. `depth`: how many skipped values it lies in. */
  skip(depth = 0): void {
    if (depth > MAX_DEPTH) throw this.error(`expected at most ${MAX_DEPTH} values in one another, got more`);
    const first = this.peek();
    if (first === QUOTE) this.skipText();
    else if (first === OPEN_BRACKET) this.array(() => this.skip(depth + 1));
    else if (first === OPEN_BRACE) {
      this.items(OPEN_BRACE, CLOSE_BRACE, () => {
        this.space();
        this.skipText();
        this.expect(COLON);
        this.skip(depth + 1);
      });
    } else this.skipScalar();
  }

  /** Throws ModelFormatError unless only white space is left. */
  finish(): void {
    this.space();
    if (this.position < this.end) throw this.unexpected('nothing but white space');
  }

  private integer(): number {
    const first = this.peek();
    if (!isDigit(first)) throw this.unexpected('a whole number');
    const at = this.position;
    let value = 0;
    while (isDigit(this.byte())) value = value * 10 + (this.file.u8(this.position++, 'a number') - ZERO);
    const isCanonical = first !== ZERO || this.position === at + 1;
    if (isCanonical && Number.isSafeInteger(value)) return value;
    throw new ModelFormatError('expected a whole number of at most 2^53 - 1, without leading zeros', at);
  }

  private items(open: number, close: number, item: () => void): void {
    this.expect(open);
    if (this.peek() === close) {
      this.position++;
      return;
    }
    for (;;) {
      item();
      const next = this.peek();
      if (next !== COMMA && next !== close) throw this.unexpected(`',' or '${String.fromCharCode(close)}'`);
      this.position++;
      if (next === close) return;
    }
  }

  private skipText(): void {
    if (this.byte() !== QUOTE) throw this.unexpected('a string');
    for (this.position++; ; this.position++) {
      const byte = this.byte();
      if (byte < 0x20) throw this.unexpected('the end of a string');
      if (byte === BACKSLASH) this.position++;
      if (byte === QUOTE) break;
    }
    this.position++;
  }

  /** A number, true, false or null: letters, digits, signs and points. */
  private skipScalar(): void {
    const start = this.position;
    while (isScalarByte(this.byte())) this.position++;
    if (this.position === start) throw this.unexpected('a value');
  }

  private space(): void {
    for (let byte = this.byte(); byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09; byte = this.byte()) {
      this.position++;
    }
  }

  /** The first byte that is not white space, -1 past the end. */
  private peek(): number {
    this.space();
    return this.byte();
  }

  private byte(): number {
    return this.position < this.end ? this.file.u8(this.position, 'the header') : -1;
  }

  private expect(byte: number): void {
    if (this.peek() !== byte) throw this.unexpected(`'${String.fromCharCode(byte)}'`);
    this.position++;
  }

  private unexpected(expected: string): ModelFormatError {
    const byte = this.byte();
    return this.error(`expected ${expected}, got ${byte < 0 ? 'the end of the header' : `the byte ${byte}`}`);
  }

  private error(message: string): ModelFormatError {
    return new ModelFormatError(message, Math.min(this.position, this.end));
  }
}

function isDigit(byte: number): boolean {
  return byte >= ZERO && byte <= ZERO + 9;
}

function isScalarByte(byte: number): boolean {
  const isLetter = (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a;
  return isDigit(byte) || isLetter || byte === 0x2b || byte === 0x2d || byte === 0x2e;
}

/** `at`: byte of the file the string begins at, for the error. */
function resolveEscapes(text: string, at: number): string {
  return text.replace(/\\(u[0-9a-fA-F]{4}|[\s\S])?/g, (_, code: string = '') => {
    if (code.length === 5) return String.fromCharCode(Number.parseInt(code.slice(1), 16));
    const character = ESCAPES[code];
    if (character === undefined) throw new ModelFormatError(`expected a JSON escape, got '\\${code}'`, at);
    return character;
  });
}
