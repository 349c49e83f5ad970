/** Flash images for boards under test. */

import { NodeHasher } from '../../targets/node/hashing.js';
import { type Factory, type FlashImage, makeFlashImage } from '../../targets/sim/flash-image.js';

export { FLASH_BYTES, FlashImage } from '../../targets/sim/flash-image.js';

export function makeImage(factory: Omit<Factory, 'hasher'>): FlashImage {
  return makeFlashImage({ ...factory, hasher: new NodeHasher() });
}
