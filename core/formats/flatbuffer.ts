/**
 * A bounded reader of FlatBuffers (flatbuffers.dev/internals): tables, vectors and strings by slot number, without a
 * schema. Made for files nobody vouches for:
 *
 * - every offset is checked against the file before it is followed, every field against its table's own size;
 * - every count is checked against what remains of the file and a declared limit before anything is allocated;
 * - everything read is charged to a budget. Offsets to tables only point forwards, so nothing is cyclic, but a small file
 *   can point at the same table a million times; the budget ends that.
 *
 * Anything else is a ModelFormatError with the offset. Alignment is not judged: nothing here depends on it.
 */

import { ModelFormatError } from '../errors.js';
import { decodeUtf8 } from '../utf8.js';
import type { WindowedSource } from './windowed-source.js';

/** A signed offset to its vtable opens every table. */
const TABLE_HEADER_BYTES = 4;
/** Its own size and its table's size, u16 each, open every vtable. */
const VTABLE_HEADER_BYTES = 4;
const OFFSET_BYTES = 4;
/** What opening a table is charged: its header, its vtable's header and a few fields. */
const TABLE_COST_BYTES = 16;

/** Elements lie in one piece from `position`. */
export interface FlatVector {
  /** Byte of the first element, past the u32 count. */
  readonly position: number;
  readonly count: number;
}

export class Flatbuffer {
  readonly file: WindowedSource;
  private budget: number;

  /** `budgetBytes`: how much may be read in all, what is read twice counted twice. */
  constructor(file: WindowedSource, budgetBytes: number) {
    this.file = file;
    this.budget = budgetBytes;
  }

  /** The root table. Throws ModelFormatError when the file identifier at byte 4 is another. */
  root(identifier: string): FlatTable {
    for (let i = 0; i < identifier.length; i++) {
      if (this.file.u8(4 + i, 'the file identifier') !== identifier.charCodeAt(i)) {
        throw new ModelFormatError(`expected the file identifier '${identifier}'`, 4 + i);
      }
    }
    return new FlatTable(this, this.follow(0, 'the root table'));
  }

  /** Where the unsigned offset at `at` points. */
  follow(at: number, what: string): number {
    const distance = this.file.u32(at, `the offset of ${what}`);
    // A builder writes a child before its parent, so it lies further on; zero would be a table inside itself.
    if (distance === 0) throw new ModelFormatError(`expected ${what} further on, got an offset of 0`, at);
    this.file.require(at + distance, OFFSET_BYTES, what);
    return at + distance;
  }

  /** The vector at `at`; its elements are inside the file. */
  vectorAt(at: number, elementBytes: number, what: string): FlatVector {
    const count = this.file.u32(at, `the count of ${what}`);
    const position = at + OFFSET_BYTES;
    if (count * elementBytes > this.file.size - position) {
      throw new ModelFormatError(
        `expected at most ${Math.floor((this.file.size - position) / elementBytes)} ${what}, got ${count}`,
        at,
      );
    }
    return { position, count };
  }

  charge(bytes: number, at: number): void {
    this.budget -= bytes;
    if (this.budget < 0)
      throw new ModelFormatError('expected each part to be referred to about once, got far more', at);
  }
}

/** One table. Slots are the field ids of the schema, from 0. */
export class FlatTable {
  readonly position: number;
  private readonly buffer: Flatbuffer;
  private readonly vtable: number;
  private readonly vtableBytes: number;
  private readonly tableBytes: number;

  constructor(buffer: Flatbuffer, position: number) {
    buffer.charge(TABLE_COST_BYTES, position);
    const { file } = buffer;
    this.buffer = buffer;
    this.position = position;
    const back = file.i32(position, "the offset of a table's vtable");
    this.vtable = position - back;
    if (this.vtable < 0 || this.vtable > file.size) {
      throw new ModelFormatError(
        `expected a vtable inside the file's ${file.size} bytes, got one ${back} bytes before its table`,
        position,
      );
    }
    this.vtableBytes = file.u16(this.vtable, "a vtable's size");
    this.tableBytes = file.u16(this.vtable + 2, "a table's size");
    if (this.vtableBytes < VTABLE_HEADER_BYTES || this.vtableBytes % 2 !== 0) {
      throw new ModelFormatError(`expected a vtable of 4, 6, 8, ... bytes, got ${this.vtableBytes}`, this.vtable);
    }
    if (this.tableBytes < TABLE_HEADER_BYTES) {
      throw new ModelFormatError(`expected a table of at least 4 bytes, got ${this.tableBytes}`, this.vtable + 2);
    }
    file.require(this.vtable, this.vtableBytes, 'a vtable');
    file.require(position, this.tableBytes, 'a table');
  }

  u8(slot: number, fallback: number, what: string): number {
    const at = this.field(slot, 1, what);
    return at === null ? fallback : this.buffer.file.u8(at, what);
  }

  i32(slot: number, fallback: number, what: string): number {
    const at = this.field(slot, 4, what);
    return at === null ? fallback : this.buffer.file.i32(at, what);
  }

  u32(slot: number, fallback: number, what: string): number {
    const at = this.field(slot, 4, what);
    return at === null ? fallback : this.buffer.file.u32(at, what);
  }

  u64(slot: number, fallback: number, what: string): number {
    const at = this.field(slot, 8, what);
    return at === null ? fallback : this.buffer.file.u64(at, what);
  }

  /** The table in `slot`, or null when the field is absent. */
  table(slot: number, what: string): FlatTable | null {
    const at = this.field(slot, OFFSET_BYTES, what);
    return at === null ? null : new FlatTable(this.buffer, this.buffer.follow(at, what));
  }

  /** The vector in `slot`, null when the field is absent. Elements are not read and not charged. */
  vector(slot: number, elementBytes: number, what: string): FlatVector | null {
    const at = this.field(slot, OFFSET_BYTES, what);
    return at === null ? null : this.buffer.vectorAt(this.buffer.follow(at, what), elementBytes, what);
  }

  /** A vector of tables, read one at a time; empty when the field is absent. */
  tables(slot: number, maxCount: number, what: string): FlatTables {
    const vector = this.vector(slot, OFFSET_BYTES, what) ?? { position: this.position, count: 0 };
    if (vector.count <= maxCount) return new FlatTables(this.buffer, vector, what);
    throw new ModelFormatError(
      `expected at most ${maxCount} ${what}, got ${vector.count}`,
      vector.position - OFFSET_BYTES,
    );
  }

  /** i32 elements; [] when the field is absent. */
  i32s(slot: number, maxCount: number, what: string): number[] {
    return this.numbers(slot, 4, maxCount, what, (at) => this.buffer.file.i32(at, what));
  }

  /** f32 elements as doubles; [] when the field is absent. */
  f32s(slot: number, maxCount: number, what: string): number[] {
    return this.numbers(slot, 4, maxCount, what, (at) => this.buffer.file.f32(at, what));
  }

  /** int64 elements, those past 2^53 rounded; [] when the field is absent. */
  i64s(slot: number, maxCount: number, what: string): number[] {
    const { file } = this.buffer;
    return this.numbers(slot, 8, maxCount, what, (at) => file.i32(at + 4, what) * 2 ** 32 + file.u32(at, what));
  }

  /** UTF-8, malformed sequences replaced by U+FFFD; '' when the field is absent. */
  text(slot: number, maxBytes: number, what: string): string {
    const vector = this.vector(slot, 1, what);
    if (vector === null) return '';
    this.bound(vector, maxBytes, 1, what);
    return decodeUtf8(this.buffer.file.bytes(vector.position, vector.count, what));
  }

  private numbers(
    slot: number,
    elementBytes: number,
    maxCount: number,
    what: string,
    read: (at: number) => number,
  ): number[] {
    const vector = this.vector(slot, elementBytes, what);
    if (vector === null) return [];
    this.bound(vector, maxCount, elementBytes, what);
    return Array.from({ length: vector.count }, (_, i) => read(vector.position + elementBytes * i));
  }

  /** Limit and budget, before any allocation. */
  private bound(vector: FlatVector, maxCount: number, elementBytes: number, what: string): void {
    const at = vector.position - OFFSET_BYTES;
    if (vector.count > maxCount)
      throw new ModelFormatError(`expected at most ${maxCount} ${what}, got ${vector.count}`, at);
    this.buffer.charge(OFFSET_BYTES + vector.count * elementBytes, at);
  }

  /** Byte of the field in `slot`, or null when this table has none. */
  private field(slot: number, bytes: number, what: string): number | null {
    const entry = VTABLE_HEADER_BYTES + 2 * slot;
    // An older writer's vtable ends before the slots it did not know.
    if (entry + 2 > this.vtableBytes) return null;
    const distance = this.buffer.file.u16(this.vtable + entry, "a vtable's entry");
    if (distance === 0) return null;
    if (distance < TABLE_HEADER_BYTES || distance + bytes > this.tableBytes) {
      throw new ModelFormatError(
        `expected ${what} inside its table of ${this.tableBytes} bytes, got it at ${distance}`,
        this.vtable + entry,
      );
    }
    return this.position + distance;
  }
}

/** A vector of tables. */
export class FlatTables {
  readonly count: number;
  private readonly buffer: Flatbuffer;
  private readonly start: number;
  private readonly what: string;

  constructor(buffer: Flatbuffer, vector: FlatVector, what: string) {
    this.buffer = buffer;
    this.count = vector.count;
    this.start = vector.position;
    this.what = what;
  }

  /** `index` in [0, count). Charged each time. */
  at(index: number): FlatTable {
    return new FlatTable(this.buffer, this.buffer.follow(this.start + OFFSET_BYTES * index, `one of the ${this.what}`));
  }
}
