/**
 * The program of a device without Node, over its `host` (host.d.ts): slots, trusted keys, and the serial protocol. Built into the firmware,
 * and into dist/mallorn.qjs.js for any QuickJS.
 */

import { FlashRegion } from '../../core/flash-region.js';
import { fromHexLiteral } from '../../core/patch/signatures.js';
import type { FlashDevice, SignatureVerifier } from '../../core/ports.js';
import { FlashSlots } from '../../core/slots/flash-slots.js';
import { planLayout, planOneSlot, regionsOf } from '../../core/slots/layout.js';
import { OneSlot } from '../../core/slots/one-slot.js';
import { TrustedKeys } from '../../core/slots/trusted-keys.js';
import { SmpServer } from '../../core/smp/server.js';
import type { DeviceOptions } from '../../core/smp/update-session.js';
import { BoardFlash, BoardHasher, clockOf, SmallVerifier, serialLineOf } from './board-ports.js';
import type { Host } from './host.js';
import { createDecompressor, PortableHasher } from './portable.js';

declare const host: Host;
/** Build flags (scripts/device-flags.ts). */
declare const MALLORN_SIGNED: boolean;
declare const MALLORN_ZSTD: boolean;
declare const MALLORN_NATIVE_HASH: boolean;
declare const MALLORN_MAX_BUFFER_BYTES: number | undefined;
declare const MALLORN_ROOT_KEY: string | undefined;
declare const MALLORN_SCRATCH_BLOCKS: number | undefined;

const PACKET_BYTES = 640;
/** In the 2 KiB that the firmware's serial ring holds. */
const PACKET_COUNT = 2;
const DEFAULT_BUFFER_BYTES = 65536;

/** A build that does not look at signatures has no use for one. */
const noVerifier: SignatureVerifier = {
  verify() {
    throw new Error('built without signatures');
  },
};

interface Places {
  readonly slots: DeviceOptions['slots'];
  readonly slotBytes: number;
  readonly keys: readonly [FlashDevice, FlashDevice];
}

function twoSlots(flash: FlashDevice): Places {
  const layout = planLayout(flash.status());
  const regions = regionsOf(flash, layout);
  const slots = FlashSlots.open(regions);
  slots.boot();
  const [area, copy] = layout.keys;
  const keys = [new FlashRegion(flash, area), new FlashRegion(flash, copy)] as const;
  return { slots, slotBytes: regions.slots[0].status().size, keys };
}

function oneSlot(flash: FlashDevice, scratchBlocks: number): Places {
  const { keys, regions } = planOneSlot(flash, scratchBlocks);
  return { slots: OneSlot.open(regions), slotBytes: regions.slot.status().size, keys };
}

/** Here, so that firmware has it as bytes in its flash. */
const rootKey = MALLORN_ROOT_KEY ? fromHexLiteral(MALLORN_ROOT_KEY) : null;

host.start = () => {
  const flash = new BoardFlash(host);
  const { slots, slotBytes, keys } = MALLORN_SCRATCH_BLOCKS ? oneSlot(flash, MALLORN_SCRATCH_BLOCKS) : twoSlots(flash);
  const { deviceClass } = host;
  const verifier = MALLORN_SIGNED ? new SmallVerifier() : noVerifier;
  const keyRing = MALLORN_SIGNED
    ? new TrustedKeys(keys, {
        rootKey,
        verifier,
        deviceClass,
      })
    : null;
  const server = new SmpServer({
    line: serialLineOf(host),
    clock: clockOf(host),
    packetBytes: host.packetBytes ?? PACKET_BYTES,
    packetCount: PACKET_COUNT,
    reset: () => host.reset(),
    device: {
      slots,
      slotBytes,
      hasher: MALLORN_NATIVE_HASH || host.sha256Reset !== undefined ? new BoardHasher(host) : new PortableHasher(),
      verifier,
      decompressor: MALLORN_ZSTD ? createDecompressor() : null,
      ...(keyRing === null ? {} : { keyRing }),
      get trustedKeys() {
        return keyRing === null ? null : keyRing.keys;
      },
      maxBufferBytes: MALLORN_MAX_BUFFER_BYTES ?? DEFAULT_BUFFER_BYTES,
      family: null,
      deviceClass,
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
