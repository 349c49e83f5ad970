/**
 * A device with a single slot in memory for the tests: one simulated part with the model, a scratch area and a journal. No
 * tests of its own; the suffix keeps it out of core.
 */

import { NodeHasher, NodeSignatureVerifier } from '../../targets/node/hashing.js';
import { createDecompressor } from '../../targets/node/zstd-decompressor.js';
import { SimFlash } from '../../targets/sim/nor-flash.js';
import { createMixedModels } from '../codec/mixed-models.js';
import { FlashRegion } from '../flash-region.js';
import { HASH_BYTES } from '../patch/frames.js';
import type { FlashDevice } from '../ports.js';
import { Applier, type ApplierOptions } from './applier.js';
import { type Boot, type BootOptions, feedBoot, newBoot, type Part, type Update } from './flash-rig.test.js';
import { type Checkpoint, Journal, type UpdateState } from './journal.js';
import { ANY } from './run-patch.test.js';

const DECOMPRESSOR = createDecompressor();
const HASHER = new NodeHasher();
const VERIFIER = new NodeSignatureVerifier();

export interface InPlaceLayout {
  readonly part: Part;
  /** Of the slot. */
  readonly slotBytes: number;
  readonly scratchBytes: number;
  readonly journalBlocks: number;
}

export class InPlaceRig {
  readonly part: SimFlash;
  readonly slot: FlashRegion;
  readonly scratch: FlashRegion;
  readonly journal: FlashRegion;

  /** The slot holds `source`. */
  constructor({ part, slotBytes, scratchBytes, journalBlocks }: InPlaceLayout, source: Uint8Array, seed = 1) {
    const { blockLength } = part;
    const slotBlocks = Math.ceil(slotBytes / blockLength);
    const scratchBlocks = scratchBytes / blockLength;
    const blocks = slotBlocks + scratchBlocks + journalBlocks;
    this.part = new SimFlash({ ...part, size: blocks * blockLength }, { seed });
    this.slot = new FlashRegion(this.part, { firstBlock: 0, blocks: slotBlocks });
    this.scratch = new FlashRegion(this.part, { firstBlock: slotBlocks, blocks: scratchBlocks });
    this.journal = new FlashRegion(this.part, { firstBlock: slotBlocks + scratchBlocks, blocks: journalBlocks });
    const bytes = new Uint8Array(this.slot.status().size);
    bytes.set(source);
    this.slot.program(0, bytes);
  }

  /** Powers up and feeds `update` until it is done. Throws what the applier throws, a PowerCut for instance. */
  boot(update: Update, { chunkBytes = 512, changes = {}, boot = newBoot() }: BootOptions = {}): Boot {
    this.part.reboot();
    return feedBoot(new Applier({ ...this.options(update), ...changes }), update, chunkBytes, boot);
  }

  /** `watched` stands between the applier and a region, for whoever records what it does. */
  options(update: Update, watched: (region: FlashDevice) => FlashDevice = (region) => region): ApplierOptions {
    return {
      source: null,
      target: { slot: watched(this.slot), scratch: watched(this.scratch) },
      hasher: HASHER,
      verifier: VERIFIER,
      decompressor: DECOMPRESSOR,
      mixedModels: createMixedModels,
      trustedKeys: update.trustedKeys ?? [],
      policy: { ...ANY, maxTargetBytes: this.slot.status().size },
      journal: () => new Journal(watched(this.journal)),
    };
  }

  /** What the journal says of this update, as the next boot will see it. */
  checkpoint(update: Update): Checkpoint | null {
    this.part.reboot();
    const headerHash = update.bytes.subarray(update.headerBytes - HASH_BYTES, update.headerBytes);
    return new Journal(this.journal).load(headerHash);
  }

  /** What whoever serves the model asks before it does. */
  state(): UpdateState {
    this.part.reboot();
    return new Journal(this.journal).state;
  }

  /** Whether the slot begins with `expected`. */
  holds(expected: Uint8Array): boolean {
    return Buffer.compare(this.read(0, expected.length), expected) === 0;
  }

  /** Bytes of the slot. */
  read(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.slot.read(offset, bytes);
    return bytes;
  }

  /** Turns bits of a block, as time and radiation do; the rest of the block stays as it is. */
  rot(region: FlashRegion, offset: number): void {
    const { blockLength } = region.status();
    const block = Math.floor(offset / blockLength);
    const bytes = new Uint8Array(blockLength);
    region.read(block * blockLength, bytes);
    bytes[offset % blockLength]! ^= 0x55;
    region.eraseBlock(block);
    region.program(block * blockLength, bytes);
  }

  /** Erases of each block so far: of the slot, of the scratch area, of the journal. */
  wear(): { readonly slot: number[]; readonly scratch: number[]; readonly journal: number[] } {
    const slotBlocks = this.slot.status().blocks;
    const scratchBlocks = this.scratch.status().blocks;
    const count = (first: number, blocks: number): number[] =>
      Array.from({ length: blocks }, (_, i) => this.part.erasesOf(first + i));
    return {
      slot: count(0, slotBlocks),
      scratch: count(slotBlocks, scratchBlocks),
      journal: count(slotBlocks + scratchBlocks, this.journal.status().blocks),
    };
  }
}
