/**
 * The microcontroller bundle: the same applier and journal as on a gateway, over a host's flash. No module system, no clock,
 * no Node. The engine evaluates it and calls `mallorn.openUpdate`.
 */

import { Applier, type PushResult } from '../../core/apply/applier.js';
import { FlashTarget } from '../../core/apply/flash-target.js';
import { holdsOneModel, Journal } from '../../core/apply/journal.js';
import { invariant } from '../../core/errors.js';
import type { FlashDevice, FlashStatus } from '../../core/ports.js';
import type { Host, HostFlash, UpdateOptions } from './host.js';
import { createDecompressor, PortableHasher, PortableVerifier } from './portable.js';

class HostFlashDevice implements FlashDevice {
  private readonly flash: HostFlash;
  private readonly geometry: FlashStatus;

  constructor(flash: HostFlash) {
    this.flash = flash;
    const { blockLength, blocks, writeAlign, eraseValue } = flash;
    this.geometry = { size: blockLength * blocks, blockLength, blocks, writeAlign, eraseValue };
  }

  status(): FlashStatus {
    return this.geometry;
  }

  read(offset: number, into: Uint8Array): void {
    this.flash.read(offset, into);
  }

  eraseBlock(index: number): void {
    this.flash.eraseBlock(index);
  }

  program(offset: number, bytes: Uint8Array): void {
    this.flash.program(offset, bytes);
  }

  sync(): void {
    // NOR is durable once programmed.
  }
}

export interface Update {
  push(chunk: Uint8Array): PushResult;
  end(): void;
}

/** Whether a single slot may be served: not while it is half-way through an update, nor after one was lost there. */
function holdsModel(host: Host): boolean {
  return holdsOneModel(new Journal(new HostFlashDevice(host.journal)).state);
}

/** One update. A cut ends it; opened again with the same patch it goes on from the journal. */
function openUpdate(host: Host, options: UpdateOptions): Update {
  // An empty list would mean "do not look at signatures" to the applier.
  invariant(options.trustedKeys.length > 0, 'a device trusts at least one key');
  const slot = new HostFlashDevice(host.slot);
  const hasher = new PortableHasher();
  return new Applier({
    source:
      host.sourceSize === 0 ? null : { size: host.sourceSize, read: (offset, into) => host.readSource(offset, into) },
    target:
      host.scratch === undefined
        ? (header, buffer) => new FlashTarget({ flash: slot, targetSize: header.targetSize, hasher, buffer })
        : { slot, scratch: new HostFlashDevice(host.scratch) },
    hasher,
    verifier: new PortableVerifier(),
    decompressor: createDecompressor(),
    trustedKeys: options.trustedKeys,
    policy: {
      maxBufferBytes: options.maxBufferBytes,
      maxTargetBytes: slot.status().size,
      family: options.family ?? null,
      deviceClass: options.deviceClass ?? null,
      counterFloor: options.counterFloor ?? 0,
    },
    journal: () => new Journal(new HostFlashDevice(host.journal)),
    frameRetries: options.frameRetries ?? 3,
  });
}

(globalThis as unknown as { mallorn: unknown }).mallorn = { openUpdate, holdsModel };
