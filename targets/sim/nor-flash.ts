/**
 * A NOR flash part in memory, stricter than hardware, on which production code is cut off at any operation. What real parts
 * forgive is an error here: a second write without an erase, a write off the write unit, a write into a block whose
 * erase was interrupted. Such errors are plain Errors, never IoError: the code under test broke a rule, the part did not
 * fail, and no `catch` for failing devices may hide it. A part that is to fail (`faults`) throws IoError.
 *
 * The two mutating calls, eraseBlock and program, are the operations that are counted and cut. A cut before a read or a
 * sync would look exactly like a cut after the operation in front of it.
 */
import type { FlashDevice, FlashStatus } from '../../core/ports.js';
import { FlashFaults } from './flash-faults.js';
import { Prng } from './prng.js';

export interface NorGeometry {
  /** Bytes, a multiple of blockLength. */
  readonly size: number;
  /** Erase unit in bytes, a multiple of writeAlign. */
  readonly blockLength: number;
  /** Write unit in bytes; programs start at and are a multiple of it. */
  readonly writeAlign: number;
  /** 0xFF, or 0x00 for parts that erase to zeros. */
  readonly eraseValue: number;
  /**
   * Most bytes the part programs at once, a multiple of writeAlign that divides blockLength: a longer program is an operation
   * for each page it touches. Absent: any length at once.
   */
  readonly pageLength?: number;
}

export interface SimOperation {
  readonly kind: 'erase' | 'program';
  readonly offset: number;
  /** Bytes; the whole block for an erase. */
  readonly length: number;
}

/** `torn`: the operation was under way. `before` and `after` leave the flash as it was and as it was to be. */
export type CutKind = 'before' | 'after' | 'torn';

export interface CutPlan {
  /** Which operation from now on: 0 is the next one. */
  readonly operation: number;
  readonly kind: CutKind;
  /** For a torn program: the bytes in front of this index were written, its write unit was not finished. Seeded if absent. */
  readonly tornByte?: number;
}

/** The supply failed. Not a MallornError: production code must neither expect nor translate it. */
export class PowerCut extends Error {
  override readonly name = 'PowerCut';
}

/** What the part holds; made by `snapshot` and only for the part that made it. */
export interface NorSnapshot {
  readonly bytes: Uint8Array;
  readonly written: Uint8Array;
  readonly eraseCounts: Uint32Array;
  readonly operations: number;
}

export interface SimFlashOptions {
  /** Seeds torn writes and partial erases; the same seed, operation and plan leave the same garbage. Default 1. */
  readonly seed?: number;
  /** Sees every operation before it happens, also the one that is cut. */
  readonly onOperation?: (operation: SimOperation) => void;
}

export class SimFlash implements FlashDevice {
  readonly faults = new FlashFaults();
  private readonly geometry: FlashStatus;
  private readonly pageLength: number;
  private readonly seed: number;
  private readonly onOperation: ((operation: SimOperation) => void) | undefined;
  private readonly bytes: Uint8Array;
  /** 1 for each write unit that was programmed, or left in doubt, since its last whole erase. */
  private readonly written: Uint8Array;
  private readonly eraseCounts: Uint32Array;
  private operationCount = 0;
  private plan: CutPlan | null = null;
  private planBase = 0;
  private cutFired = false;
  private powered = true;
  /** The snapshot that all but `touched` blocks equal; restoring it copies only those. */
  private baseline: NorSnapshot | null = null;
  private readonly touched: Uint8Array;

  /** Starts erased. */
  constructor(geometry: NorGeometry, options: SimFlashOptions = {}) {
    const { size, blockLength, writeAlign, eraseValue, pageLength = size } = geometry;
    rule(isCount(writeAlign) && isCount(blockLength) && blockLength % writeAlign === 0, 'blockLength % writeAlign');
    rule(isCount(size) && size % blockLength === 0, 'size % blockLength');
    rule(isCount(pageLength) && pageLength % writeAlign === 0, 'pageLength % writeAlign');
    rule(pageLength % blockLength === 0 || blockLength % pageLength === 0, 'blockLength % pageLength');
    rule(eraseValue === 0xff || eraseValue === 0x00, 'eraseValue 0xFF or 0x00');
    this.geometry = { size, blockLength, blocks: size / blockLength, writeAlign, eraseValue };
    this.pageLength = pageLength;
    this.seed = options.seed ?? 1;
    this.onOperation = options.onOperation;
    this.bytes = new Uint8Array(size).fill(eraseValue);
    this.written = new Uint8Array(size / writeAlign);
    this.eraseCounts = new Uint32Array(this.geometry.blocks);
    this.touched = new Uint8Array(this.geometry.blocks);
  }

  /** Erases and programs begun so far, the cut one included. */
  get operations(): number {
    return this.operationCount;
  }

  /** Whether the planned cut happened. A test that does not look at this may have tested nothing. */
  get fired(): boolean {
    return this.cutFired;
  }

  /** Erases of one block begun so far, interrupted ones included: they wear the part too. */
  erasesOf(block: number): number {
    rule(Number.isSafeInteger(block) && block >= 0 && block < this.geometry.blocks, `a block, got ${block}`);
    return this.eraseCounts[block]!;
  }

  /** Decay: flips the bits of `mask` in the byte at `offset`, at no cost and without a trace. */
  rot(offset: number, mask = 1): void {
    this.requireRange(offset, 1);
    this.touchRange(offset, 1);
    this.bytes[offset] = this.bytes[offset]! ^ mask;
  }

  /** Arms one cut, counted from now; replaces an earlier plan and clears `fired`. */
  planCut(plan: CutPlan): void {
    rule(Number.isSafeInteger(plan.operation) && plan.operation >= 0, `plan.operation, got ${plan.operation}`);
    this.plan = plan;
    this.planBase = this.operationCount;
    this.cutFired = false;
  }

  /** Power returns. A plan that has not fired stays armed; `fired` stays as it is. */
  reboot(): void {
    this.powered = true;
  }

  /** A copy of what the part holds, to start many cases from. */
  snapshot(): NorSnapshot {
    this.baseline = {
      bytes: this.bytes.slice(),
      written: this.written.slice(),
      eraseCounts: this.eraseCounts.slice(),
      operations: this.operationCount,
    };
    this.touched.fill(0);
    return this.baseline;
  }

  /** Back to `image`, powered, with no cut planned and no fault. Copies only the blocks touched since the last snapshot or restore of it. */
  restore(image: NorSnapshot): void {
    rule(image.bytes.length === this.bytes.length, 'a snapshot of this part');
    rule(image.written.length === this.written.length, 'a snapshot of this part');
    if (this.baseline !== image) this.touched.fill(1);
    for (let block = 0; block < this.geometry.blocks; block++) {
      if (this.touched[block] === 1) this.restoreBlock(image, block);
    }
    this.baseline = image;
    this.touched.fill(0);
    this.eraseCounts.set(image.eraseCounts);
    this.operationCount = image.operations;
    this.faults.clear();
    this.plan = null;
    this.cutFired = false;
    this.powered = true;
  }

  status(): FlashStatus {
    return this.geometry;
  }

  read(offset: number, into: Uint8Array): void {
    this.requirePower();
    this.requireRange(offset, into.length);
    if (into.length > 0) this.faults.beforeRead(this.blockOf(offset), this.blockOf(offset + into.length - 1));
    into.set(this.bytes.subarray(offset, offset + into.length));
  }

  eraseBlock(index: number): void {
    this.requirePower();
    const { blocks, blockLength, eraseValue } = this.geometry;
    rule(Number.isSafeInteger(index) && index >= 0 && index < blocks, `a block below ${blocks}, got ${index}`);
    const start = index * blockLength;
    const takes = this.faults.takesErase(index);
    const cut = this.begin({ kind: 'erase', offset: start, length: blockLength });
    if (cut?.kind === 'before') this.cutPower();
    this.touched[index] = 1;
    this.eraseCounts[index]!++;
    if (cut?.kind === 'torn') {
      this.tearErase(start);
      this.cutPower();
    }
    if (takes) {
      this.bytes.fill(eraseValue, start, start + blockLength);
      this.markUnits(start, blockLength, 0);
    }
    if (cut?.kind === 'after') this.cutPower();
  }

  /** An empty program is no operation. */
  program(offset: number, bytes: Uint8Array): void {
    this.requirePower();
    this.requireRange(offset, bytes.length);
    const { writeAlign } = this.geometry;
    rule(offset % writeAlign === 0, `a program offset aligned to ${writeAlign}, got ${offset}`);
    rule(bytes.length % writeAlign === 0, `a program length aligned to ${writeAlign}, got ${bytes.length}`);
    if (bytes.length === 0) return;
    this.requireErased(offset, bytes.length);
    for (let done = 0; done < bytes.length; ) {
      const room = this.pageLength - ((offset + done) % this.pageLength);
      const page = bytes.subarray(done, done + room);
      this.programPage(offset + done, page);
      done += page.length;
    }
  }

  /** A NOR program is durable when it returns. */
  sync(): void {
    this.requirePower();
  }

  private programPage(offset: number, bytes: Uint8Array): void {
    const takes = this.faults.takesProgram(this.blockOf(offset), this.blockOf(offset + bytes.length - 1));
    const cut = this.begin({ kind: 'program', offset, length: bytes.length });
    if (cut?.kind === 'before') this.cutPower();
    this.touchRange(offset, bytes.length);
    if (cut?.kind === 'torn') {
      this.tearProgram(offset, bytes, cut.tornByte);
      this.cutPower();
    }
    if (takes) this.bytes.set(bytes, offset);
    this.markUnits(offset, bytes.length, 1);
    if (cut?.kind === 'after') this.cutPower();
  }

  /** Counts an operation; the plan if this is the one to cut. */
  private begin(operation: SimOperation): CutPlan | null {
    const index = this.operationCount++;
    this.onOperation?.(operation);
    const { plan } = this;
    return plan !== null && index - this.planBase === plan.operation ? plan : null;
  }

  private cutPower(): never {
    const plan = this.plan!;
    this.plan = null;
    this.cutFired = true;
    this.powered = false;
    const torn = plan.tornByte === undefined ? '' : `@${plan.tornByte}`;
    throw new PowerCut(
      `power cut ${plan.kind}${torn} operation ${plan.operation} (total ${this.operationCount - 1}), seed ${this.seed}`,
    );
  }

  /** The garbage of a torn operation depends on the seed and on which operation it is, not on what tore earlier. */
  private garbage(): Prng {
    return new Prng((this.seed ^ Math.imul(this.operationCount, 0x9e3779b1)) >>> 0);
  }

  /**
   * Bytes in front of `tornByte` are written; in the rest of its write unit any subset of the bits has moved. A unit of
   * which no bit moved is as good as erased: no code could tell it from one never written.
   */
  private tearProgram(offset: number, bytes: Uint8Array, tornByte: number | undefined): void {
    const { writeAlign, eraseValue } = this.geometry;
    const random = this.garbage();
    const torn = tornByte ?? random.below(bytes.length);
    rule(Number.isSafeInteger(torn) && torn >= 0 && torn < bytes.length, `tornByte below ${bytes.length}, got ${torn}`);
    const unitStart = torn - (torn % writeAlign);
    const unitEnd = unitStart + writeAlign;
    this.bytes.set(bytes.subarray(0, torn), offset);
    for (let i = torn; i < unitEnd; i++) {
      this.bytes[offset + i] = eraseValue ^ ((eraseValue ^ bytes[i]!) & random.byte());
    }
    this.markUnits(offset, unitStart, 1);
    const unit = this.bytes.subarray(offset + unitStart, offset + unitEnd);
    if (unit.some((byte) => byte !== eraseValue)) this.markUnits(offset + unitStart, writeAlign, 1);
  }

  /**
   * One of three half-erased blocks: pre-programmed but not erased, erased up to somewhere, or a mixture. At least one byte
   * reads as not erased, so it can be detected, but only by looking at the whole block; until it is erased again no byte may
   * be programmed, also where it reads as erased (on a real part such bits fade).
   */
  private tearErase(start: number): void {
    const { blockLength, eraseValue } = this.geometry;
    const random = this.garbage();
    const block = this.bytes.subarray(start, start + blockLength);
    const pattern = random.below(3);
    if (pattern === 0) block.fill(eraseValue ^ 0xff);
    else if (pattern === 1) block.fill(eraseValue, 0, random.below(blockLength));
    else for (let i = 0; i < blockLength; i++) block[i] = mixedByte(random, block[i]!, eraseValue);
    if (block.every((byte) => byte === eraseValue)) block[random.below(blockLength)] = eraseValue ^ 0xff;
    this.markUnits(start, blockLength, 1);
  }

  private markUnits(offset: number, length: number, value: 0 | 1): void {
    const { writeAlign } = this.geometry;
    this.written.fill(value, offset / writeAlign, (offset + length) / writeAlign);
  }

  private touchRange(offset: number, length: number): void {
    const { blockLength } = this.geometry;
    this.touched.fill(1, Math.floor(offset / blockLength), Math.ceil((offset + length) / blockLength));
  }

  private restoreBlock(image: NorSnapshot, block: number): void {
    const { blockLength, writeAlign } = this.geometry;
    const start = block * blockLength;
    const end = start + blockLength;
    this.bytes.set(image.bytes.subarray(start, end), start);
    this.written.set(image.written.subarray(start / writeAlign, end / writeAlign), start / writeAlign);
  }

  private blockOf(offset: number): number {
    return Math.floor(offset / this.geometry.blockLength);
  }

  private requirePower(): void {
    if (!this.powered) throw new PowerCut('no power: the part was not rebooted after the cut');
  }

  private requireRange(offset: number, length: number): void {
    const fits = Number.isSafeInteger(offset) && offset >= 0 && offset + length <= this.geometry.size;
    rule(fits, `a range within ${this.geometry.size} bytes, got ${length} at ${offset}`);
  }

  private requireErased(offset: number, length: number): void {
    const { writeAlign } = this.geometry;
    const first = this.written.subarray(offset / writeAlign, (offset + length) / writeAlign).indexOf(1);
    rule(first === -1, `an erased range, got a written unit at ${offset + first * writeAlign}`);
  }
}

function mixedByte(random: Prng, old: number, eraseValue: number): number {
  const choice = random.below(4);
  if (choice === 0) return old;
  if (choice === 1) return eraseValue;
  return choice === 2 ? eraseValue ^ 0xff : random.byte();
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0;
}

function rule(condition: boolean, expected: string): void {
  if (!condition) throw new Error(`SimFlash: expected ${expected}`);
}
