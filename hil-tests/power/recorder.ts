/** What a device does to its flash, written down, and done again. */
import type { FlashDevice, FlashStatus } from '../../core/ports.js';
import type { SimFlash } from '../../targets/sim/nor-flash.js';

export type Operation =
  | { readonly kind: 'erase'; readonly block: number }
  | { readonly kind: 'program'; readonly offset: number; readonly bytes: Uint8Array };

export function repeat(part: SimFlash, operation: Operation): void {
  if (operation.kind === 'erase') part.eraseBlock(operation.block);
  else part.program(operation.offset, operation.bytes);
}

export class Recorder implements FlashDevice {
  private readonly region: FlashDevice;
  private readonly firstBlock: number;
  private readonly log: Operation[];

  constructor(region: FlashDevice, firstBlock: number, log: Operation[]) {
    this.region = region;
    this.firstBlock = firstBlock;
    this.log = log;
  }

  status(): FlashStatus {
    return this.region.status();
  }

  read(offset: number, into: Uint8Array): void {
    this.region.read(offset, into);
  }

  eraseBlock(index: number): void {
    this.log.push({ kind: 'erase', block: this.firstBlock + index });
    this.region.eraseBlock(index);
  }

  program(offset: number, bytes: Uint8Array): void {
    const start = this.firstBlock * this.region.status().blockLength;
    this.log.push({ kind: 'program', offset: start + offset, bytes: bytes.slice() });
    this.region.program(offset, bytes);
  }

  sync(): void {
    this.region.sync();
  }
}
