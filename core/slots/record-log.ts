/**
 * Small records on raw flash that survive a power cut at any operation and the decay of any one of them. Each record is the
 * whole state, and lies in both of two areas. The rules:
 *
 * - The whole record (magic, CRC) with the highest sequence number counts, whichever area it is in (RFC 1982 arithmetic).
 * - A torn record is no record: the state is the one before, and its place is not programmed again. A rotten one likewise,
 *   and its copy in the other area counts.
 * - A place that cannot be read may hold the newest record: the other area counts, and without that one nothing does.
 * - A record goes into one area, then into the other: first into the one that lags, if one does.
 * - An area is erased when it has no place left, and when it is found to lag at a boot: an erase of it may have been cut
 *   short, after which no byte of it may be programmed, also where it reads as erased. It is erased only while the other
 *   one holds the newest record, which so is never in danger.
 * - An area that no longer takes records (a bad block) is done without until the other one is full; then `append` throws.
 * - No whole record in either area is damage, never a new device: a silent reset would forget the counter floor.
 */
import { equalBytes, readU32, writeU32 } from '../bytes.js';
import { crc32 } from '../crc32.js';
import { IoError, invariant } from '../errors.js';
import type { FlashDevice, FlashStatus } from '../ports.js';

export interface RecordLogOptions {
  /** First 4 bytes of each record: what it is of, and its version. */
  readonly magic: number;
  readonly payloadBytes: number;
}

const PAYLOAD_OFFSET = 8;
const CRC_BYTES = 4;
/** Links to flash are noisy: a read is tried this often before its place counts as lost. */
const READ_TRIES = 3;

interface Area {
  readonly flash: FlashDevice;
  readonly status: FlashStatus;
  readonly perBlock: number;
  readonly places: number;
  /** Whether a whole record is in it, and the sequence number of the newest. */
  holds: boolean;
  sequence: number;
  /** False: behind its newest record is a place that the part cannot read, and that may hold a newer one. */
  readable: boolean;
  /** Next place to try; -1 when the area must be erased first. */
  next: number;
}

export class RecordLog {
  /** Of the newest record; what it holds before there is one is unspecified. */
  readonly payload: Uint8Array;
  private readonly magic: number;
  private readonly crcOffset: number;
  private readonly areas: readonly [Area, Area];
  private readonly newest: Uint8Array;
  private readonly draft: Uint8Array;
  private readonly scratch: Uint8Array;
  private holds = false;
  private sequence = 0;
  /** Of the last attempt: one that failed may still have left a whole record behind. */
  private lastUsed = 0;

  /** Scans both areas and changes nothing. Throws IoError when a record does not fit a block, and when both areas fail to read. */
  constructor(areas: readonly [FlashDevice, FlashDevice], { magic, payloadBytes }: RecordLogOptions) {
    this.magic = magic;
    this.crcOffset = PAYLOAD_OFFSET + payloadBytes;
    const writeAlign = Math.max(areas[0].status().writeAlign, areas[1].status().writeAlign);
    const recordBytes = Math.ceil((this.crcOffset + CRC_BYTES) / writeAlign) * writeAlign;
    this.areas = [openArea(areas[0], recordBytes), openArea(areas[1], recordBytes)];
    this.newest = new Uint8Array(recordBytes);
    this.draft = new Uint8Array(recordBytes);
    this.scratch = new Uint8Array(recordBytes);
    this.payload = this.newest.subarray(PAYLOAD_OFFSET, this.crcOffset);
    for (const area of this.areas) this.scan(area);
    if (!this.areas[0].readable && !this.areas[1].readable) throw new IoError('slot records: neither area can be read');
    for (const area of this.areas) {
      if (!this.isCurrent(area)) area.next = -1;
    }
    this.lastUsed = this.sequence;
  }

  /** Whether there is a record at all. */
  get found(): boolean {
    return this.holds;
  }

  /** How many of the two areas hold the newest record. Below 2 after `repair`, the part has a fault. */
  get copies(): number {
    return Number(this.isCurrent(this.areas[0])) + Number(this.isCurrent(this.areas[1]));
  }

  /** Brings an area that lags up to date. To be called at every boot; without a fault or a cut before it, it does nothing. */
  repair(): void {
    if (!this.holds || this.copies === 2) return;
    const lagging = this.areas[this.isCurrent(this.areas[0]) ? 1 : 0]!;
    this.draft.set(this.newest);
    this.write(lagging, this.sequence, true);
  }

  /** Durable when it returns. Throws IoError when neither area takes the record; what counts is then still the one before. */
  append(payload: Uint8Array): void {
    invariant(this.holds, 'the log has a first record');
    const [one, other] = this.isCurrent(this.areas[0]) ? [1, 0] : [0, 1];
    this.writeBoth(payload, this.areas[one]!, this.areas[other]!);
  }

  /** Makes both areas empty but for this record. What they held is lost, also when power is cut. */
  format(payload: Uint8Array): void {
    this.holds = false;
    for (const area of this.areas) area.next = -1;
    this.writeBoth(payload, this.areas[0], this.areas[1]);
  }

  /** `other` holds the newest record, if there is one that counts: `one` may be erased. */
  private writeBoth(payload: Uint8Array, one: Area, other: Area): void {
    const sequence = (this.lastUsed + 1) >>> 0;
    this.lastUsed = sequence;
    this.encode(payload, sequence);
    const first = this.write(one, sequence, true);
    const second = this.write(other, sequence, first || !this.holds);
    if (!first && !second) throw new IoError('slot records: neither area takes another record');
    this.holds = true;
    this.sequence = sequence;
    this.newest.set(this.draft);
  }

  private isCurrent(area: Area): boolean {
    return area.holds && area.sequence === this.sequence;
  }

  /** Puts the draft into the first place of `area` that takes it; false when none does. */
  private write(area: Area, sequence: number, mayErase: boolean): boolean {
    for (let erased = false; ; ) {
      for (; area.next >= 0 && area.next < area.places; area.next++) {
        if (!this.isErased(area) || !this.program(area)) continue;
        area.next++;
        area.holds = true;
        area.sequence = sequence;
        return true;
      }
      if (erased || !mayErase || !eraseArea(area)) return false;
      erased = true;
    }
  }

  private isErased(area: Area): boolean {
    if (!this.read(area, area.next)) return false;
    for (let i = 0; i < this.scratch.length; i++) if (this.scratch[i] !== area.status.eraseValue) return false;
    return true;
  }

  /** A part may fail without saying so: only what reads back counts. */
  private program(area: Area): boolean {
    try {
      area.flash.program(this.offsetOf(area, area.next), this.draft);
      area.flash.sync();
    } catch (error) {
      if (error instanceof IoError) return false;
      throw error;
    }
    return this.read(area, area.next) && equalBytes(this.scratch, this.draft);
  }

  /** From the end: an area is written front to back, so that its last whole record is its newest. */
  private scan(area: Area): void {
    let place = area.places - 1;
    for (; place >= 0; place--) {
      if (!this.read(area, place)) area.readable = false;
      else if (this.isWhole(this.scratch)) break;
    }
    if (place < 0) return;
    area.holds = true;
    area.sequence = readU32(this.scratch, 4);
    area.next = place + 1;
    // Serial number arithmetic (RFC 1982): the records of one log are never 2^31 apart.
    if (this.holds && ((area.sequence - this.sequence) | 0) <= 0) return;
    this.holds = true;
    this.sequence = area.sequence;
    this.newest.set(this.scratch);
  }

  private isWhole(record: Uint8Array): boolean {
    return readU32(record, 0) === this.magic && readU32(record, this.crcOffset) === crc32(record, 0, this.crcOffset);
  }

  private encode(payload: Uint8Array, sequence: number): void {
    invariant(PAYLOAD_OFFSET + payload.length === this.crcOffset, 'payload has the length of its log');
    this.draft.fill(this.areas[0].status.eraseValue);
    writeU32(this.draft, 0, this.magic);
    writeU32(this.draft, 4, sequence);
    this.draft.set(payload, PAYLOAD_OFFSET);
    writeU32(this.draft, this.crcOffset, crc32(this.draft, 0, this.crcOffset));
  }

  /** Into `scratch`; false when the part cannot read that place. */
  private read(area: Area, place: number): boolean {
    for (let tries = 0; tries < READ_TRIES; tries++) {
      try {
        area.flash.read(this.offsetOf(area, place), this.scratch);
        return true;
      } catch (error) {
        if (!(error instanceof IoError)) throw error;
      }
    }
    return false;
  }

  private offsetOf(area: Area, place: number): number {
    return Math.floor(place / area.perBlock) * area.status.blockLength + (place % area.perBlock) * this.draft.length;
  }
}

function openArea(flash: FlashDevice, recordBytes: number): Area {
  const status = flash.status();
  const perBlock = Math.floor(status.blockLength / recordBytes);
  if (perBlock < 1) {
    throw new IoError(`slot records: expected blocks of at least ${recordBytes} bytes, got ${status.blockLength}`);
  }
  return {
    flash,
    status,
    perBlock,
    places: perBlock * status.blocks,
    holds: false,
    sequence: 0,
    readable: true,
    next: -1,
  };
}

/** False when a block cannot be erased. */
function eraseArea(area: Area): boolean {
  area.holds = false;
  area.next = -1;
  try {
    for (let block = 0; block < area.status.blocks; block++) area.flash.eraseBlock(block);
  } catch (error) {
    if (error instanceof IoError) return false;
    throw error;
  }
  area.next = 0;
  return true;
}
