/** The content of a board's flash part: made as in the factory, and read back. The same core code as on the device, over bytes. */

import { FlashTarget } from '../../core/apply/flash-target.js';
import { FlashRegion } from '../../core/flash-region.js';
import type { FlashDevice, FlashStatus, Hasher } from '../../core/ports.js';
import { FlashSlots } from '../../core/slots/flash-slots.js';
import { planLayout, planOneSlot, regionsOf, type SlotLayout } from '../../core/slots/layout.js';
import { OneSlot } from '../../core/slots/one-slot.js';
import { formatTrustedKeys } from '../../core/slots/trusted-keys.js';

export const FLASH_BYTES = 4 << 20;
export const FLASH_BLOCK_BYTES = 4096;

export class FlashImage implements FlashDevice {
  readonly bytes: Uint8Array;
  /** Of the scratch area of a device with one slot; 0 for two slots. */
  readonly scratchBlocks: number;

  constructor(bytes: Uint8Array = new Uint8Array(FLASH_BYTES).fill(0xff), scratchBlocks = 0) {
    this.bytes = bytes;
    this.scratchBlocks = scratchBlocks;
  }

  get layout(): SlotLayout {
    return planLayout(this.status());
  }

  get keyAreas(): readonly [FlashDevice, FlashDevice] {
    if (this.scratchBlocks > 0) return planOneSlot(this, this.scratchBlocks).keys;
    const [area, copy] = this.layout.keys;
    return [new FlashRegion(this, area), new FlashRegion(this, copy)];
  }

  status(): FlashStatus {
    const size = this.bytes.length;
    return { size, blockLength: FLASH_BLOCK_BYTES, blocks: size / FLASH_BLOCK_BYTES, writeAlign: 1, eraseValue: 0xff };
  }

  read(offset: number, into: Uint8Array): void {
    into.set(this.bytes.subarray(offset, offset + into.length));
  }

  eraseBlock(index: number): void {
    this.bytes.fill(0xff, index * FLASH_BLOCK_BYTES, (index + 1) * FLASH_BLOCK_BYTES);
  }

  program(offset: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) this.bytes[offset + i] = this.bytes[offset + i]! & bytes[i]!;
  }

  sync(): void {}

  copy(): FlashImage {
    return new FlashImage(this.bytes.slice(), this.scratchBlocks);
  }

  /** Without changing anything that counts: a whole store needs no repair. */
  slots(): FlashSlots {
    return FlashSlots.open(regionsOf(this, this.layout));
  }

  oneSlot(): OneSlot {
    return OneSlot.open(planOneSlot(this, this.scratchBlocks).regions);
  }

  /** The bytes of the model that is served; none where none may be. */
  activeModel(): Uint8Array {
    if (this.scratchBlocks > 0) {
      const slots = this.oneSlot();
      const bytes = new Uint8Array(slots.active()?.size ?? 0);
      slots.regions.slot.read(0, bytes);
      return bytes;
    }
    const source = this.slots().openActive();
    const bytes = new Uint8Array(source.size);
    source.read(0, bytes);
    return bytes;
  }
}

export interface Factory {
  readonly keys: readonly Uint8Array[];
  /** null for a device that has no model yet. */
  readonly model: Uint8Array | null;
  readonly hasher: Hasher;
  /** Of the part. Default FLASH_BYTES. */
  readonly flashBytes?: number;
  readonly counter?: number;
  /** Lowest counter accepted from now on. */
  readonly minimumCounter?: number;
  /** Above 0 for a device with one slot. Default 0. */
  readonly scratchBlocks?: number;
}

export function makeFlashImage(factory: Factory): FlashImage {
  const { keys, model, hasher, counter = 0, minimumCounter = 0, flashBytes = FLASH_BYTES, scratchBlocks = 0 } = factory;
  const image = new FlashImage(new Uint8Array(flashBytes).fill(0xff), scratchBlocks);
  formatTrustedKeys(image.keyAreas, keys);
  const contents = model === null ? null : { size: model.length, sha256: digest(hasher, model), counter };
  if (scratchBlocks > 0) {
    const { regions } = planOneSlot(image, scratchBlocks);
    OneSlot.format(regions);
    if (contents !== null) {
      write(regions.slot, model!, hasher);
      image.oneSlot().stage(contents, minimumCounter);
    }
    return image;
  }
  FlashSlots.format(regionsOf(image, image.layout));
  if (contents !== null) {
    const slots = image.slots();
    write(slots.openInactive(contents.size), model!, hasher);
    slots.commit(contents, minimumCounter);
  }
  return image;
}

function write(flash: FlashDevice, model: Uint8Array, hasher: Hasher): void {
  const buffer = new Uint8Array(FLASH_BLOCK_BYTES);
  const target = new FlashTarget({ flash, targetSize: model.length, hasher, buffer });
  target.write(model);
  target.finish();
}

function digest(hasher: Hasher, bytes: Uint8Array): Uint8Array {
  const sha256 = new Uint8Array(32);
  hasher.reset();
  hasher.update(bytes);
  hasher.digest(sha256);
  return sha256;
}
