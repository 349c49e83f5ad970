/**
 * A device in memory for the tests: one simulated flash part with a slot and a journal, booted as often as the test likes.
 * No tests of its own; the suffix keeps it out of core.
 */

import assert from 'node:assert/strict';
import { NodeHasher, NodeSignatureVerifier } from '../../targets/node/hashing.js';
import { createDecompressor } from '../../targets/node/zstd-decompressor.js';
import { type NorGeometry, SimFlash } from '../../targets/sim/nor-flash.js';
import { createMixedModels } from '../codec/mixed-models.js';
import { FlashRegion } from '../flash-region.js';
import { MemorySource } from '../memory-source.js';
import { type BuiltPatch, noise } from '../patch/build-patch.test.js';
import { HASH_BYTES } from '../patch/frames.js';
import { Applier, type ApplierOptions } from './applier.js';
import { FlashTarget } from './flash-target.js';
import { type Checkpoint, Journal } from './journal.js';
import { ANY } from './run-patch.test.js';

export const JOURNAL_BLOCKS = 2;

export interface Update extends BuiltPatch {
  /** Empty for a stand-alone patch. */
  readonly source: Uint8Array;
  readonly target: Uint8Array;
  readonly trustedKeys?: readonly Uint8Array[];
}

/** What one boot did; filled while it runs, so that it is there after a power cut too. */
export interface Boot {
  /** Where in the patch file the body was gone on with: a seek after the header, else the body's start. */
  resumedAt: number;
  /** Furthest offset of the patch file that was fed. */
  fedUpTo: number;
  done: boolean;
}

export type Part = Omit<NorGeometry, 'size'>;

export class FlashRig {
  readonly part: SimFlash;
  readonly slot: FlashRegion;
  readonly journal: FlashRegion;
  readonly slotBlocks: number;

  /** The slot is just large enough, and holds another model's bytes. */
  constructor(part: Part, targetSize: number, seed = 1) {
    this.slotBlocks = Math.max(1, Math.ceil(targetSize / part.blockLength));
    this.part = new SimFlash({ ...part, size: (this.slotBlocks + JOURNAL_BLOCKS) * part.blockLength }, { seed });
    this.slot = new FlashRegion(this.part, { firstBlock: 0, blocks: this.slotBlocks });
    this.journal = new FlashRegion(this.part, { firstBlock: this.slotBlocks, blocks: JOURNAL_BLOCKS });
    const { size } = this.slot.status();
    this.slot.program(0, noise(size, 4242));
  }

  /** Powers up and feeds `update` until it is done. Throws what the applier throws, a PowerCut for instance. */
  boot(update: Update, { chunkBytes = 512, changes = {}, boot = newBoot() }: BootOptions = {}): Boot {
    this.part.reboot();
    return feedBoot(new Applier({ ...this.options(update), ...changes }), update, chunkBytes, boot);
  }

  options(update: Update): ApplierOptions {
    const hasher = new NodeHasher();
    return {
      source: update.header.standalone ? null : new MemorySource(update.source),
      target: ({ targetSize }, buffer) => new FlashTarget({ flash: this.slot, targetSize, hasher, buffer }),
      hasher,
      verifier: new NodeSignatureVerifier(),
      decompressor: createDecompressor(),
      mixedModels: createMixedModels,
      trustedKeys: update.trustedKeys ?? [],
      policy: { ...ANY, maxTargetBytes: this.slot.status().size },
      journal: () => new Journal(this.journal),
    };
  }

  /** What the journal says of this update, as the next boot will see it. */
  checkpoint(update: Update): Checkpoint | null {
    this.part.reboot();
    const headerHash = update.bytes.subarray(update.headerBytes - HASH_BYTES, update.headerBytes);
    return new Journal(this.journal).load(headerHash);
  }

  /** The slot begins with `expected`, shown by where it does not. */
  assertHolds(expected: Uint8Array, what = 'slot'): void {
    const bytes = this.read(expected.length);
    const wrong = bytes.findIndex((byte, i) => byte !== expected[i]);
    assert.equal(wrong, -1, `${what}: expected ${expected.length} bytes of the target, got another byte at ${wrong}`);
  }

  /** The first `length` bytes of the slot. */
  read(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.slot.read(0, bytes);
    return bytes;
  }

  slotErases(): number[] {
    return Array.from({ length: this.slotBlocks }, (_, block) => this.part.erasesOf(block));
  }

  journalErases(): number {
    return this.part.erasesOf(this.slotBlocks) + this.part.erasesOf(this.slotBlocks + 1);
  }
}

/** Feeds `update` until it is done. */
export function feedBoot(applier: Applier, update: BuiltPatch, chunkBytes: number, boot = newBoot()): Boot {
  let at = 0;
  boot.resumedAt = update.preambleBytes;
  while (!boot.done) {
    const before = at;
    let rest = update.bytes.subarray(at, at + chunkBytes);
    at += rest.length;
    boot.fedUpTo = at;
    for (;;) {
      const result = applier.push(rest);
      rest = rest.subarray(result.consumed);
      if (result.kind === 'busy') continue;
      if (result.kind === 'seek') {
        at = result.patchOffset;
        boot.resumedAt = at;
      }
      boot.done = result.kind === 'done' && at >= update.bytes.length;
      break;
    }
    assert.ok(boot.done || at !== before || at < update.bytes.length, 'the patch is enough');
  }
  return boot;
}

export interface BootOptions {
  readonly chunkBytes?: number;
  readonly changes?: Partial<ApplierOptions>;
  readonly boot?: Boot;
}

export function newBoot(): Boot {
  return { resumedAt: 0, fedUpTo: 0, done: false };
}
