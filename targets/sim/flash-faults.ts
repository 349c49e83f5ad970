/**
 * What goes wrong with a simulated part other than its power: blocks that no longer erase, program or read, and reads that
 * fail a few times. A part that notices throws IoError, as its driver would; one that does not notice keeps silent.
 */
import { IoError } from '../../core/errors.js';

/**
 * - `erase-error`, `program-error`, `read-error`: the part reports it, and the block stays as it was.
 * - `erase-ignored`, `program-ignored`: the part reports success, and the block stays as it was.
 */
export type BlockFault = 'erase-error' | 'program-error' | 'read-error' | 'erase-ignored' | 'program-ignored';

export class FlashFaults {
  private readonly faults = new Map<number, Set<BlockFault>>();
  private failingReads = 0;

  /** The block is bad in this way, besides others it may have, until `clear`. */
  set(block: number, fault: BlockFault): void {
    const known = this.faults.get(block) ?? new Set();
    this.faults.set(block, known.add(fault));
  }

  /** The next `count` reads of any block fail; those after them do not. */
  failReads(count: number): void {
    this.failingReads = count;
  }

  clear(): void {
    this.faults.clear();
    this.failingReads = 0;
  }

  /** Throws IoError if this read is to fail. */
  beforeRead(firstBlock: number, lastBlock: number): void {
    if (this.failingReads > 0) {
      this.failingReads--;
      throw new IoError(`simulated flash: a read of block ${firstBlock} failed this time`);
    }
    for (let block = firstBlock; block <= lastBlock; block++) {
      if (this.has(block, 'read-error')) throw new IoError(`simulated flash: block ${block} cannot be read`);
    }
  }

  /** Throws IoError if it is to fail; false if it is to be ignored. */
  takesErase(block: number): boolean {
    if (this.has(block, 'erase-error')) throw new IoError(`simulated flash: block ${block} cannot be erased`);
    return !this.has(block, 'erase-ignored');
  }

  /** Throws IoError if it is to fail; false if it is to be ignored. */
  takesProgram(firstBlock: number, lastBlock: number): boolean {
    let takes = true;
    for (let block = firstBlock; block <= lastBlock; block++) {
      if (this.has(block, 'program-error')) throw new IoError(`simulated flash: block ${block} cannot be programmed`);
      if (this.has(block, 'program-ignored')) takes = false;
    }
    return takes;
  }

  private has(block: number, fault: BlockFault): boolean {
    return this.faults.get(block)?.has(fault) ?? false;
  }
}
