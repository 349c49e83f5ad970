/** The program of a microcontroller: its slots, its trusted keys, and the serial protocol, over the firmware's `host`. */

import { FlashRegion } from '../../core/flash-region.js';
import type { SignatureVerifier } from '../../core/ports.js';
import { FlashSlots } from '../../core/slots/flash-slots.js';
import { planLayout, regionsOf } from '../../core/slots/layout.js';
import { readTrustedKeys } from '../../core/slots/trusted-keys.js';
import { SmpServer } from '../../core/smp/server.js';
import type { BoardHost } from './board-host.js';
import { BoardFlash, BoardHasher, clockOf, SmallVerifier, serialLineOf } from './board-ports.js';

declare const host: BoardHost;
/** Build flags (scripts/build.ts). */
declare const MALLORN_SIGNED: boolean;

/**
 * What a patch of the mcu profile declares when no segment of 16 KiB gets smaller: frame, packed segment, contexts, two I/O
 * buffers. A sparse one declares less than 8 KiB, and only what is declared is allocated.
 */
const MAX_BUFFER_BYTES = 21504;
const PACKET_BYTES = 640;
/** In the 2 KiB that the firmware's serial ring holds. */
const PACKET_COUNT = 2;

/** A build that does not look at signatures has no use for one. */
const noVerifier: SignatureVerifier = {
  verify() {
    throw new Error('built without signatures');
  },
};

host.start = () => {
  const flash = new BoardFlash(host);
  const layout = planLayout(flash.status());
  const regions = regionsOf(flash, layout);
  const slots = FlashSlots.open(regions);
  slots.boot();
  const hasher = new BoardHasher(host);
  const [keyArea, keyCopy] = layout.keys;
  const server = new SmpServer({
    line: serialLineOf(host),
    clock: clockOf(host),
    packetBytes: host.packetBytes ?? PACKET_BYTES,
    packetCount: PACKET_COUNT,
    reset: () => host.reset(),
    device: {
      slots,
      slotBytes: regions.slots[0].status().size,
      hasher,
      verifier: MALLORN_SIGNED ? new SmallVerifier() : noVerifier,
      decompressor: null,
      trustedKeys: MALLORN_SIGNED
        ? readTrustedKeys([new FlashRegion(flash, keyArea), new FlashRegion(flash, keyCopy)])
        : null,
      maxBufferBytes: MAX_BUFFER_BYTES,
      family: null,
      deviceClass: host.deviceClass,
      collectGarbage: () => host.collectGarbage(),
      usage: () => ({
        heap: host.usage(0),
        heapPeak: host.usage(1),
        stackPeak: host.usage(2),
        serialLost: host.usage(3),
      }),
    },
  });
  return () => server.step();
};
