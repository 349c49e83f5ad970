/** What SMP servers under test serve: a device with two slots on a flash image, Node's hashes and signatures, and no zstd. */
import { regionsOf } from '../../core/slots/layout.js';
import type { DeviceOptions } from '../../core/smp/update-session.js';
import { NodeHasher, NodeSignatureVerifier } from '../../targets/node/hashing.js';
import type { FlashImage } from '../../targets/sim/flash-image.js';

/** As the board's firmware declares it: what a dense patch of the mcu profile needs. */
const MAX_BUFFER_BYTES = 21_504;

/** Boots the slots. */
export function testDevice(image: FlashImage, trustedKeys: readonly Uint8Array[] | null): DeviceOptions {
  const slots = image.slots();
  slots.boot();
  return {
    slots,
    slotBytes: regionsOf(image, image.layout).slots[0].status().size,
    hasher: new NodeHasher(),
    verifier: new NodeSignatureVerifier(),
    decompressor: null,
    trustedKeys,
    maxBufferBytes: MAX_BUFFER_BYTES,
    family: null,
    deviceClass: null,
    collectGarbage: () => {},
    usage: () => ({ heap: 1, heapPeak: 2, stackPeak: 3, serialLost: 4 }),
  };
}
