/**
 * The journal (SPEC.md, "Journal"): where an interrupted update goes on. Append-only records in two or more erase blocks used
 * in turn; the whole record with the highest sequence number counts. A record torn by a power cut fails its CRC and is
 * skipped, so the one before it counts; a block is erased only when the newest record lies in another one.
 */

import { equalBytes, readU32, readU64, writeU32, writeU64 } from '../bytes.js';
import { crc32 } from '../crc32.js';
import { IoError, invariant } from '../errors.js';
import { HASH_BYTES } from '../patch/frames.js';
import type { FlashDevice, FlashStatus } from '../ports.js';

/** Everything up to `targetOffset` is durable in the slot; decoding goes on at `bodyOffset`. */
export interface Checkpoint {
  /** Target offset at which the segment begins; below `targetOffset` inside a long copy. */
  readonly segmentStart: number;
  readonly targetOffset: number;
  /** Body offset of the segment's header. */
  readonly bodyOffset: number;
  /** Hash that the frame holding `bodyOffset` must have. */
  readonly frameHash: Uint8Array;
  readonly frameIndex: number;
  readonly state: UpdateState;
  /** In-place: the scratch slot that the last unit took, so that the next one takes another. Else 0. */
  readonly scratchSlot: number;
}

/**
 * How far an update has come. `none`: nothing is vouched for, it starts afresh. `source-verified`: in a slot of its own it
 * goes on from here; in place nothing was written over. The others are of in-place updates: `overwriting`: the unit that ends at
 * targetOffset lies checked in its scratch slot, the same unit of the model may be half written. `mixed`: what lies
 * before targetOffset is new, the rest old. `whole`: the slot holds the target, read back and hashed.
 */
export type UpdateState = 'none' | 'source-verified' | 'overwriting' | 'mixed' | 'whole' | 'needs-full-image';

/** As they are numbered in a record. */
const STATES: readonly UpdateState[] = ['none', 'source-verified', 'overwriting', 'mixed', 'whole', 'needs-full-image'];

/** Whether an update that was left in `state` can be gone on with. */
export function canGoOn(state: UpdateState): boolean {
  return state !== 'none' && state !== 'needs-full-image';
}

/** Whether a single slot holds one whole model, old or new, when its newest record says `state`: ask before serving it. */
export function holdsOneModel(state: UpdateState): boolean {
  return state === 'none' || state === 'source-verified' || state === 'whole';
}

const MAGIC = 0x314a4c4d; // "MLJ1"
const RECORD_BYTES = 76;
const CRC_OFFSET = RECORD_BYTES - 4;

export class Journal {
  private readonly flash: FlashDevice;
  private readonly status: FlashStatus;
  private readonly recordBytes: number;
  private readonly perBlock: number;
  private readonly record: Uint8Array;
  /** Slot (counted over all blocks) of the next record. */
  private next = 0;
  private sequence = 0;
  private readonly newestUpdate = new Uint8Array(HASH_BYTES);
  private newest: Checkpoint | null = null;

  /** Scans the region once. @throws IoError when the region has fewer than two erase blocks or a record does not fit one. */
  constructor(flash: FlashDevice) {
    this.flash = flash;
    this.status = flash.status();
    const { writeAlign, blockLength, blocks } = this.status;
    this.recordBytes = Math.ceil(RECORD_BYTES / writeAlign) * writeAlign;
    this.perBlock = Math.floor(blockLength / this.recordBytes);
    if (blocks < 2 || this.perBlock < 1) {
      throw new IoError(
        `journal: expected at least 2 blocks of ${this.recordBytes} bytes, got ${blocks} of ${blockLength}`,
      );
    }
    this.record = new Uint8Array(this.recordBytes);
    this.scan();
  }

  /** Where the update with this header goes on; null when the journal knows nothing of it. */
  load(headerHash: Uint8Array): Checkpoint | null {
    return this.newest !== null && equalBytes(this.newestUpdate, headerHash) ? this.newest : null;
  }

  /** State of the newest record, whichever update it is of; 'none' in an empty journal. */
  get state(): UpdateState {
    return this.newest?.state ?? 'none';
  }

  /** Scratch slot of the newest record, whichever update it is of. */
  get scratchSlot(): number {
    return this.newest?.scratchSlot ?? 0;
  }

  /** Durable when it returns. The data it vouches for must be durable before. */
  append(headerHash: Uint8Array, checkpoint: Checkpoint): void {
    const slot = this.claimSlot();
    this.encode(headerHash, checkpoint);
    this.flash.program(this.offsetOf(slot), this.record);
    this.flash.sync();
    this.next = slot + 1;
    this.newestUpdate.set(headerHash);
    // A copy: the caller goes on using its buffers, and may ask again after a lost link.
    this.newest = this.decode();
  }

  private offsetOf(slot: number): number {
    return Math.floor(slot / this.perBlock) * this.status.blockLength + (slot % this.perBlock) * this.recordBytes;
  }

  /** The first erased slot at or after `next`; enters, and so erases, the following block when this one is full. */
  private claimSlot(): number {
    let slot = this.next;
    while (slot % this.perBlock !== 0) {
      if (this.isErased(slot)) return slot;
      slot++;
    }
    const block = (slot / this.perBlock) % this.status.blocks;
    this.flash.eraseBlock(block);
    return block * this.perBlock;
  }

  private isErased(slot: number): boolean {
    this.flash.read(this.offsetOf(slot), this.record);
    return this.record.every((byte) => byte === this.status.eraseValue);
  }

  private scan(): void {
    for (let slot = 0; slot < this.perBlock * this.status.blocks; slot++) {
      this.flash.read(this.offsetOf(slot), this.record);
      if (readU32(this.record, 0) !== MAGIC || readU32(this.record, CRC_OFFSET) !== crc32(this.record, 0, CRC_OFFSET))
        continue;
      const sequence = readU32(this.record, 4);
      // Serial number arithmetic (RFC 1982): the records of one region are never 2^31 apart.
      if (this.newest !== null && ((sequence - this.sequence) | 0) <= 0) continue;
      this.sequence = sequence;
      this.next = slot + 1;
      this.newestUpdate.set(this.record.subarray(8, 8 + HASH_BYTES));
      this.newest = this.decode();
    }
  }

  private encode(headerHash: Uint8Array, checkpoint: Checkpoint): void {
    invariant(headerHash.length === HASH_BYTES && checkpoint.frameHash.length === HASH_BYTES, 'hashes are cut');
    this.sequence = (this.sequence + 1) >>> 0;
    this.record.fill(this.status.eraseValue);
    writeU32(this.record, 0, MAGIC);
    writeU32(this.record, 4, this.sequence);
    this.record.set(headerHash, 8);
    this.record.set(checkpoint.frameHash, 24);
    writeU32(this.record, 40, checkpoint.scratchSlot);
    writeU32(this.record, 44, checkpoint.frameIndex);
    writeU64(this.record, 48, checkpoint.bodyOffset);
    writeU64(this.record, 56, checkpoint.targetOffset);
    // A long copy is at most 2^48 bytes: 6 bytes hold the way back to its start, the last the state.
    writeU64(this.record, 64, checkpoint.targetOffset - checkpoint.segmentStart);
    this.record[71] = STATES.indexOf(checkpoint.state);
    writeU32(this.record, CRC_OFFSET, crc32(this.record, 0, CRC_OFFSET));
  }

  private decode(): Checkpoint {
    // A state that this build does not know is none that it may serve or go on from.
    const state = STATES[this.record[71]!] ?? 'needs-full-image';
    this.record[71] = 0;
    const targetOffset = readU64(this.record, 56);
    return {
      segmentStart: targetOffset - readU64(this.record, 64),
      targetOffset,
      bodyOffset: readU64(this.record, 48),
      frameHash: this.record.slice(24, 40),
      frameIndex: readU32(this.record, 44),
      state,
      scratchSlot: readU32(this.record, 40),
    };
  }
}
