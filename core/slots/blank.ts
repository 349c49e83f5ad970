/** Whether a block reads as erased from its first byte to its last. */
import type { FlashDevice } from '../ports.js';

/** Throws IoError when the part cannot be read. `buffer` is for its use. */
export function isBlank(flash: FlashDevice, block: number, buffer: Uint8Array): boolean {
  const { blockLength, eraseValue } = flash.status();
  for (let at = 0; at < blockLength; at += buffer.length) {
    const run = buffer.subarray(0, Math.min(buffer.length, blockLength - at));
    flash.read(block * blockLength + at, run);
    // By index: on coarse flash this is most of a boot, and an iterator costs several times as much.
    for (let i = 0; i < run.length; i++) if (run[i] !== eraseValue) return false;
  }
  return true;
}
