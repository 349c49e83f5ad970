/**
 * Writes a target over its own source (SPEC.md, "In place"): each unit goes to a scratch slot first and is read back there
 * before a byte of the model is erased. Scratch slots are used in turn, so that they wear alike. What the journal has to
 * know, and when, is the applier's business.
 */

import { InvalidPatch, invariant, NeedsFullImage } from '../errors.js';
import type { PatchHeader } from '../patch/header.js';
import { unitStart } from '../patch/unit.js';
import type { ByteSource, FlashDevice, Hasher } from '../ports.js';
import { FlashTarget } from './flash-target.js';
import { type Checkpoint, holdsOneModel, type Journal, type UpdateState } from './journal.js';
import type { TargetSink } from './target-sink.js';

/** A device without a second slot. Both regions must be written by nothing else. */
export interface SingleSlot {
  /** Holds the model, from byte 0 on. */
  readonly slot: FlashDevice;
  /** At least one unit; the more, the less each block wears. */
  readonly scratch: FlashDevice;
}

export interface InPlaceOptions extends SingleSlot {
  readonly header: PatchHeader;
  readonly hasher: Hasher;
  /** Programs are gathered in its halves: each a multiple of writeAlign, dividing blockLength or divided by it. */
  readonly buffer: Uint8Array;
}

export class InPlaceTarget implements TargetSink {
  written = 0;
  /** The scratch slot that the last unit took. */
  scratchSlot = 0;
  private readonly header: PatchHeader;
  private readonly slot: FlashTarget;
  private readonly scratch: FlashTarget;
  private readonly scratchFlash: FlashDevice;
  private readonly scratchSlots: number;
  /** The scratch's program buffer: free once a unit is whole. */
  private readonly run: Uint8Array;
  private unitStart = 0;
  /** Of the unit that is being written over the model. */
  private copied = 0;

  /** @throws InvalidPatch NOT_IN_PLACE, FLASH_EXCEEDED */
  constructor({ header, slot, scratch, hasher, buffer }: InPlaceOptions) {
    const { unitBytes, targetSize, sourceSize } = header;
    if (unitBytes === 0) {
      throw new InvalidPatch('NOT_IN_PLACE', 'this device has one slot: expected an in-place patch, got another');
    }
    for (const { status, what } of [
      { status: slot.status(), what: 'slot' },
      { status: scratch.status(), what: 'scratch area' },
    ]) {
      if (unitBytes % status.blockLength !== 0)
        throw exceeded(`erase block of the ${what}`, `a divisor of ${unitBytes}`, status.blockLength);
    }
    const slotSize = slot.status().size;
    const scratchSize = scratch.status().size;
    if (Math.max(sourceSize, targetSize) > slotSize)
      throw exceeded('models', `at most ${slotSize} bytes`, Math.max(sourceSize, targetSize));
    if (scratchSize < unitBytes) throw exceeded('scratch area', `at least ${unitBytes} bytes`, scratchSize);
    const half = buffer.length / 2;
    this.header = header;
    this.run = buffer.subarray(half);
    this.slot = new FlashTarget({ flash: slot, targetSize, hasher, buffer: buffer.subarray(0, half) });
    this.scratch = new FlashTarget({ flash: scratch, targetSize: unitBytes, hasher, buffer: this.run });
    this.scratchFlash = scratch;
    this.scratchSlots = Math.floor(scratchSize / unitBytes);
  }

  /**
   * The state that an update begins in. A slot that another one left half-way holds no base: only what reads none may be
   * written over it, and it stays unserved meanwhile.
   * @throws NeedsFullImage
   */
  start({ state, scratchSlot }: Pick<Journal, 'state' | 'scratchSlot'>): UpdateState {
    this.scratchSlot = scratchSlot % this.scratchSlots;
    if (holdsOneModel(state)) return 'source-verified';
    if (this.header.standalone) return 'mixed';
    throw new NeedsFullImage(
      state === 'needs-full-image'
        ? 'the only slot holds no whole model: expected a stand-alone patch'
        : 'the only slot is half-way through another update: expected that one, or a stand-alone patch',
    );
  }

  /** Into the scratch slot after the last unit's. */
  write(bytes: Uint8Array): void {
    if (this.written === this.unitStart) {
      this.scratchSlot = (this.scratchSlot + 1) % this.scratchSlots;
      this.openScratch(Math.min(this.header.unitBytes, this.header.targetSize - this.unitStart));
    }
    this.scratch.write(bytes);
    this.written += bytes.length;
  }

  /** Leaves `length` bytes, whole units, as they are. */
  keep(length: number): void {
    invariant(this.written === this.unitStart, 'units are kept whole');
    this.goOnAt(this.written + length);
  }

  /** Forgets a unit that is not written over the model yet. */
  resume(offset: number): void {
    this.goOnAt(offset);
  }

  /** As `resume`, also to a unit in its scratch slot. */
  restore({ targetOffset, state, scratchSlot }: Checkpoint): void {
    this.scratchSlot = scratchSlot % this.scratchSlots;
    if (state !== 'overwriting') {
      this.goOnAt(targetOffset);
      return;
    }
    this.goOnAt(unitStart(targetOffset - 1, this.header.unitBytes));
    this.written = targetOffset;
    this.openScratch(targetOffset - this.unitStart);
  }

  /** Never by itself: a unit is durable when the applier says so. */
  checkpoint(): boolean {
    return false;
  }

  /** The unit is whole: pads it and makes it durable in its scratch slot. */
  endUnit(): void {
    this.scratch.finish();
  }

  /** Hashes a bounded part of the unit, as it reads back from its scratch slot; true once `digest` holds its SHA-256. */
  stepUnitDigest(digest: Uint8Array): boolean {
    return this.scratch.stepDigest(digest);
  }

  /** Writes a bounded part of the unit over the model; true once all of it is durable there. */
  stepOverwrite(): boolean {
    const unitLength = this.written - this.unitStart;
    const run = this.run.subarray(0, Math.min(this.run.length, unitLength - this.copied));
    this.scratchFlash.read(this.scratchSlot * this.header.unitBytes + this.copied, run);
    this.slot.write(run);
    this.copied += run.length;
    if (this.copied < unitLength) return false;
    this.slot.finish();
    this.goOnAt(this.written);
    return true;
  }

  finish(): void {
    // Each unit was, when it was written.
  }

  stepDigest(digest: Uint8Array): boolean {
    return this.slot.stepDigest(digest);
  }

  private goOnAt(offset: number): void {
    this.slot.resume(offset);
    this.written = offset;
    this.unitStart = offset;
    this.copied = 0;
  }

  private openScratch(unitLength: number): void {
    this.scratch.begin(this.scratchSlot * this.header.unitBytes, unitLength);
  }
}

/** The flash of the only slot as a source: as long as it is, whatever model it holds. */
export function slotSource(slot: FlashDevice): ByteSource {
  return { size: slot.status().size, read: (offset, into) => slot.read(offset, into) };
}

function exceeded(what: string, expected: string, got: number): InvalidPatch {
  return new InvalidPatch('FLASH_EXCEEDED', `${what}: expected ${expected}, got ${got}`);
}
