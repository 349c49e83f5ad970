/**
 * A run of whole blocks of another flash device, as a device of its own: slots, journal and records share one part.
 */
import { invariant } from './errors.js';
import type { FlashDevice, FlashStatus } from './ports.js';

export class FlashRegion implements FlashDevice {
  private readonly parent: FlashDevice;
  private readonly firstBlock: number;
  private readonly start: number;
  private readonly region: FlashStatus;

  constructor(parent: FlashDevice, range: { readonly firstBlock: number; readonly blocks: number }) {
    const whole = parent.status();
    const { firstBlock, blocks } = range;
    invariant(firstBlock >= 0 && blocks >= 0 && firstBlock + blocks <= whole.blocks, 'a region lies within its parent');
    this.parent = parent;
    this.firstBlock = firstBlock;
    this.start = firstBlock * whole.blockLength;
    this.region = { ...whole, size: blocks * whole.blockLength, blocks };
  }

  status(): FlashStatus {
    return this.region;
  }

  read(offset: number, into: Uint8Array): void {
    this.requireRange(offset, into.length);
    this.parent.read(this.start + offset, into);
  }

  eraseBlock(index: number): void {
    invariant(
      Number.isSafeInteger(index) && index >= 0 && index < this.region.blocks,
      `block ${index} lies in the region`,
    );
    this.parent.eraseBlock(this.firstBlock + index);
  }

  program(offset: number, bytes: Uint8Array): void {
    this.requireRange(offset, bytes.length);
    this.parent.program(this.start + offset, bytes);
  }

  sync(): void {
    this.parent.sync();
  }

  private requireRange(offset: number, length: number): void {
    const fits = Number.isSafeInteger(offset) && offset >= 0 && offset + length <= this.region.size;
    invariant(fits, `${length} bytes at ${offset} lie in a region of ${this.region.size}`);
  }
}
