/**
 * A bounded reader of the protobuf wire format (protobuf.dev/programming-guides/encoding): the fields of a message one
 * after another, by number, without a schema. Made for files nobody vouches for:
 *
 * - every length is checked against the message it lies in before it is followed, so parts never overlap;
 * - messages nest to a declared depth and are entered only where the caller asks, so skipped parts cost nothing;
 * - everything read is charged to a budget, which ends a file made of millions of empty fields;
 * - groups, which no current schema has, are refused.
 *
 * Anything else is a ModelFormatError with the offset. Not judged: the order of fields, varints longer than needed.
 */

import { ModelFormatError } from '../errors.js';
import { decodeUtf8 } from '../utf8.js';
import type { WindowedSource } from './windowed-source.js';

const VARINT = 0;
const FIXED64 = 1;
const PREFIXED = 2;
const FIXED32 = 5;

/** 64 bits in groups of 7. */
const MAX_VARINT_BYTES = 10;
/** What each field is charged at least: an empty one takes 2 bytes of the file but as long to read as any. */
const FIELD_COST_BYTES = 8;

/** Tag of a field that holds a number (int32, int64, bool, enum). Another wire type is another tag, so it is not taken for this one. */
export function varintField(field: number): number {
  return field * 8 + VARINT;
}

/** Tag of a field that holds a string, bytes, a message or packed numbers. */
export function prefixedField(field: number): number {
  return field * 8 + PREFIXED;
}

export interface ProtobufLimits {
  /** How much may be read in all: FIELD_COST_BYTES a field, and the bytes of texts and numbers. */
  readonly budgetBytes: number;
  /** Messages inside messages; the root is at 0. Callers recurse as deep. */
  readonly maxDepth: number;
}

export class Protobuf {
  readonly file: WindowedSource;
  readonly maxDepth: number;
  private budget: number;
  /** The last varint, as two's complement halves. */
  low = 0;
  high = 0;

  constructor(file: WindowedSource, limits: ProtobufLimits) {
    this.file = file;
    this.maxDepth = limits.maxDepth;
    this.budget = limits.budgetBytes;
  }

  /** The message that is the whole file. */
  root(): ProtoMessage {
    return new ProtoMessage(this, 0, this.file.size, 0);
  }

  charge(bytes: number, at: number): void {
    this.budget -= bytes;
    if (this.budget < 0) throw new ModelFormatError('expected fewer fields and names than this file has', at);
  }

  /** Reads the varint at `at`, which must end by `end`, into `low` and `high`; returns the byte after it. */
  varint(at: number, end: number, what: string): number {
    this.low = 0;
    this.high = 0;
    for (let i = 0; i < MAX_VARINT_BYTES; i++) {
      if (at + i >= end) throw new ModelFormatError(`expected ${what} to end within its message`, at);
      const byte = this.file.u8(at + i, what);
      const bits = byte & 0x7f;
      if (i === MAX_VARINT_BYTES - 1 && byte > 1) break;
      if (i < 4) this.low |= bits << (7 * i);
      else if (i === 4) {
        this.low |= bits << 28;
        this.high = bits >>> 4;
      } else this.high |= bits << (7 * i - 32);
      if (byte < 0x80) return at + i + 1;
    }
    throw new ModelFormatError(`expected ${what} in at most 64 bits`, at);
  }

  /** The last varint as an unsigned number. Throws above 2^53 - 1. */
  unsigned(at: number, what: string): number {
    return safe((this.high >>> 0) * 2 ** 32 + (this.low >>> 0), at, what);
  }

  /** The last varint as a signed one (int32 and int64 are sign-extended to 64 bits, not zigzag). */
  signed(at: number, what: string): number {
    return safe(this.high * 2 ** 32 + (this.low >>> 0), at, what);
  }
}

function safe(value: number, at: number, what: string): number {
  if (Number.isSafeInteger(value)) return value;
  throw new ModelFormatError(`expected ${what} within 2^53, got ${value}`, at);
}

/** A cursor over the fields of one message. What it says of a field holds until `next` is called again. */
export class ProtoMessage {
  private readonly proto: Protobuf;
  private readonly start: number;
  private readonly end: number;
  private readonly depth: number;
  private at: number;
  /** Field number and wire type; compare with varintField() and prefixedField(). 0 before the first field. */
  tag = 0;
  /** Byte range of the value, past tag and length. */
  position = 0;
  length = 0;

  constructor(proto: Protobuf, start: number, end: number, depth: number) {
    this.proto = proto;
    this.start = start;
    this.end = end;
    this.depth = depth;
    this.at = start;
  }

  /** Goes back before the first field. The fields are charged again. */
  rewind(): void {
    this.at = this.start;
  }

  /** Moves to the next field; false at the end of the message. Values are inside the message, and not yet read. */
  next(): boolean {
    if (this.at === this.end) return false;
    const { proto } = this;
    const tagAt = this.at;
    proto.charge(FIELD_COST_BYTES, tagAt);
    const afterTag = proto.varint(tagAt, this.end, "a field's tag");
    this.tag = proto.unsigned(tagAt, "a field's tag");
    // Field numbers have 29 bits, from 1.
    if (this.tag < 8 || this.tag > 0xffffffff) {
      throw new ModelFormatError(`expected a field number from 1 to 2^29 - 1, got ${Math.floor(this.tag / 8)}`, tagAt);
    }
    this.measure(afterTag, tagAt);
    if (this.length > this.end - this.position) {
      throw new ModelFormatError(
        `expected at most ${this.end - this.position} bytes in field ${Math.floor(this.tag / 8)}, got ${this.length}`,
        tagAt,
      );
    }
    this.at = this.position + this.length;
    return true;
  }

  /** The number in a varint field. */
  unsigned(what: string): number {
    this.proto.varint(this.position, this.end, what);
    return this.proto.unsigned(this.position, what);
  }

  signed(what: string): number {
    this.proto.varint(this.position, this.end, what);
    return this.proto.signed(this.position, what);
  }

  /** The message in a prefixed field; nothing of it is read yet. It stays valid when this one moves on. */
  message(what: string): ProtoMessage {
    if (this.depth < this.proto.maxDepth) {
      return new ProtoMessage(this.proto, this.position, this.position + this.length, this.depth + 1);
    }
    throw new ModelFormatError(
      `expected messages nested at most ${this.proto.maxDepth} deep, got ${what}`,
      this.position,
    );
  }

  /** UTF-8 in a prefixed field, malformed sequences replaced by U+FFFD. */
  text(maxBytes: number, what: string): string {
    if (this.length > maxBytes) {
      throw new ModelFormatError(`expected at most ${maxBytes} ${what}, got ${this.length}`, this.position);
    }
    this.proto.charge(this.length, this.position);
    return decodeUtf8(this.proto.file.bytes(this.position, this.length, what));
  }

  /** Appends the signed varints packed into a prefixed field to `into`, which may hold `maxCount` in the end. */
  packedSigned(into: number[], maxCount: number, what: string): void {
    const end = this.position + this.length;
    this.proto.charge(this.length, this.position);
    for (let at = this.position; at < end; ) {
      if (into.length >= maxCount) throw new ModelFormatError(`expected at most ${maxCount} ${what}`, at);
      const next = this.proto.varint(at, end, what);
      into.push(this.proto.signed(at, what));
      at = next;
    }
  }

  /** Sets `position` and `length` of the field whose tag ends before `at`. */
  private measure(at: number, tagAt: number): void {
    const { proto } = this;
    this.position = at;
    switch (this.tag % 8) {
      case VARINT:
        this.length = proto.varint(at, this.end, 'a number') - at;
        return;
      case FIXED64:
        this.length = 8;
        return;
      case FIXED32:
        this.length = 4;
        return;
      case PREFIXED:
        this.position = proto.varint(at, this.end, "a field's length");
        this.length = proto.unsigned(at, "a field's length");
        return;
      default:
        throw new ModelFormatError(`expected a wire type of 0, 1, 2 or 5, got ${this.tag % 8}`, tagAt);
    }
  }
}
