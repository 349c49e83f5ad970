/** The content of a board's flash part: made as in the factory, and read back. The same core code as on the device, over bytes. */

import { FlashTarget } from '../../core/apply/flash-target.js';
import { FlashRegion } from '../../core/flash-region.js';
import type { FlashDevice, FlashStatus, Hasher } from '../../core/ports.js';
import { FlashSlots } from '../../core/slots/flash-slots.js';
import { planLayout, regionsOf, type SlotLayout } from '../../core/slots/layout.js';
import { formatTrustedKeys } from '../../core/slots/trusted-keys.js';

export const FLASH_BYTES = 4 << 20;
export const FLASH_BLOCK_BYTES = 4096;

export class FlashImage implements FlashDevice {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array = new Uint8Array(FLASH_BYTES).fill(0xff)) {
    this.bytes = bytes;
  }

  get layout(): SlotLayout {
    return planLayout(this.status());
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

  /** Without changing anything that counts: a whole store needs no repair. */
  slots(): FlashSlots {
    return FlashSlots.open(regionsOf(this, this.layout));
  }

  /** The bytes of the active model. */
  activeModel(): Uint8Array {
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
}

export function makeFlashImage(factory: Factory): FlashImage {
  const { keys, model, hasher, counter = 0, minimumCounter = 0, flashBytes = FLASH_BYTES } = factory;
  const image = new FlashImage(new Uint8Array(flashBytes).fill(0xff));
  const { layout } = image;
  formatTrustedKeys([new FlashRegion(image, layout.keys[0]), new FlashRegion(image, layout.keys[1])], keys);
  FlashSlots.format(regionsOf(image, layout));
  if (model !== null) {
    const slots = image.slots();
    const target = new FlashTarget({
      flash: slots.openInactive(model.length),
      targetSize: model.length,
      hasher,
      buffer: new Uint8Array(FLASH_BLOCK_BYTES),
    });
    target.write(model);
    target.finish();
    const sha256 = new Uint8Array(32);
    hasher.reset();
    hasher.update(model);
    hasher.digest(sha256);
    slots.commit({ size: model.length, sha256, counter }, minimumCounter);
  }
  return image;
}
