/**
 * Where the slot store lies on one flash part, as data: a product writes it down once, and every boot checks it against
 * the part that answers. All numbers are erase blocks.
 */
import { IoError } from '../errors.js';
import { FlashRegion } from '../flash-region.js';
import type { FlashDevice, FlashStatus } from '../ports.js';
import type { OneSlotRegions } from './one-slot.js';

export interface BlockRange {
  readonly firstBlock: number;
  readonly blocks: number;
}

export interface SlotLayout {
  readonly slots: readonly [BlockRange, BlockRange];
  /** At least 2 blocks: the apply journal uses them in turn. */
  readonly journal: BlockRange;
  /** The two areas of the slot records. */
  readonly records: readonly [BlockRange, BlockRange];
  /** Two areas kept free for the record of trusted keys. */
  readonly keys: readonly [BlockRange, BlockRange];
}

/** What FlashSlots works on. Regions of one part, or a device each: MTD partitions, differently opened parts of one disk. */
export interface SlotRegions {
  readonly slots: readonly [FlashDevice, FlashDevice];
  readonly journal: FlashDevice;
  readonly records: readonly [FlashDevice, FlashDevice];
}

export interface OneSlotPlan {
  readonly keys: readonly [FlashDevice, FlashDevice];
  readonly regions: OneSlotRegions;
}

export interface LayoutSizes {
  /** Default 0. */
  readonly firstBlock?: number;
  /** Default 2. */
  readonly journalBlocks?: number;
  /** Of each of the two areas; default 1. */
  readonly recordBlocks?: number;
  /** Of each of the two areas; default 1. */
  readonly keyBlocks?: number;
}

/** Keys, records and journal in front, then two slots that share the rest evenly. Throws IoError when the part is too small. */
export function planLayout(status: FlashStatus, sizes: LayoutSizes = {}): SlotLayout {
  const { firstBlock = 0, journalBlocks = 2, recordBlocks = 1, keyBlocks = 1 } = sizes;
  let next = firstBlock;
  const take = (blocks: number): BlockRange => {
    next += blocks;
    return { firstBlock: next - blocks, blocks };
  };
  const keys = [take(keyBlocks), take(keyBlocks)] as const;
  const records = [take(recordBlocks), take(recordBlocks)] as const;
  const journal = take(journalBlocks);
  const slotBlocks = Math.floor((status.blocks - next) / 2);
  const layout = { slots: [take(slotBlocks), take(slotBlocks)] as const, journal, records, keys };
  checkLayout(status, layout);
  return layout;
}

/** As `regionsOf`, for a part without room for a second slot: keys, records, journal and scratch area in front, the rest one slot. Throws IoError. */
export function planOneSlot(flash: FlashDevice, scratchBlocks: number): OneSlotPlan {
  let next = 0;
  const take = (blocks: number): FlashDevice => {
    const firstBlock = next;
    next += blocks;
    if (blocks < 1 || next > flash.status().blocks)
      throw new IoError(`slot layout: expected more than ${firstBlock} blocks, got ${flash.status().blocks}`);
    return new FlashRegion(flash, { firstBlock, blocks });
  };
  const keys = [take(1), take(1)] as const;
  const records = [take(1), take(1)] as const;
  const regions = { records, journal: take(2), scratch: take(scratchBlocks), slot: take(flash.status().blocks - next) };
  return { keys, regions };
}

/** Throws IoError when a range is empty, leaves the part, or overlaps another. */
export function checkLayout(status: FlashStatus, layout: SlotLayout): void {
  const { slots, journal, records, keys } = layout;
  const ranges = [...slots, journal, ...records, ...keys];
  for (const [index, range] of ranges.entries()) {
    const { firstBlock, blocks } = range;
    const least = range === journal ? 2 : 1;
    const fits = Number.isSafeInteger(firstBlock) && firstBlock >= 0 && Number.isSafeInteger(blocks) && blocks >= least;
    if (!fits || firstBlock + blocks > status.blocks) {
      throw new IoError(
        `slot layout: expected at least ${least} blocks within ${status.blocks}, got ${blocks} from ${firstBlock}`,
      );
    }
    for (const other of ranges.slice(0, index)) {
      if (firstBlock < other.firstBlock + other.blocks && other.firstBlock < firstBlock + blocks) {
        throw new IoError(`slot layout: the ranges at blocks ${other.firstBlock} and ${firstBlock} overlap`);
      }
    }
  }
}

/** The layout's regions of one part. Throws IoError when it does not fit the part. */
export function regionsOf(flash: FlashDevice, layout: SlotLayout): SlotRegions {
  checkLayout(flash.status(), layout);
  const region = (range: BlockRange): FlashDevice => new FlashRegion(flash, range);
  const { slots, journal, records } = layout;
  return {
    slots: [region(slots[0]), region(slots[1])],
    journal: region(journal),
    records: [region(records[0]), region(records[1])],
  };
}
