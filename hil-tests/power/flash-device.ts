/**
 * A device on one simulated part: the active slot with the base model, the other slot, and the journal. It boots as often as
 * a case likes, records what it does to the flash, and fails when it touches the active slot.
 */
import { Applier } from '../../core/apply/applier.js';
import type { Update } from '../../core/apply/flash-rig.test.js';
import { FlashTarget } from '../../core/apply/flash-target.js';
import { type Checkpoint, Journal } from '../../core/apply/journal.js';
import { ANY } from '../../core/apply/run-patch.test.js';
import { createMixedModels } from '../../core/codec/mixed-models.js';
import { FlashRegion } from '../../core/flash-region.js';
import { noise } from '../../core/patch/build-patch.test.js';
import { HASH_BYTES } from '../../core/patch/frames.js';
import type { ByteSource, FlashDevice } from '../../core/ports.js';
import { NodeHasher, NodeSignatureVerifier } from '../../targets/node/hashing.js';
import { createDecompressor } from '../../targets/node/zstd-decompressor.js';
import { SimFlash } from '../../targets/sim/nor-flash.js';
import type { Geometry } from './geometries.js';
import { type Operation, Recorder } from './recorder.js';

const decompressor = createDecompressor();
const verifier = new NodeSignatureVerifier();
const hasher = new NodeHasher();

export class FlashPart {
  readonly part: SimFlash;
  readonly geometry: Geometry;
  readonly update: Update;
  readonly slotBlocks: number;
  private readonly active: FlashRegion;
  private readonly slot: FlashRegion;
  private readonly journal: FlashRegion;
  private readonly headerHash: Uint8Array;
  private readonly scratch: Uint8Array;
  /** Of the journal's blocks, by an earlier update. */
  private readonly firstErases: readonly number[];

  constructor(geometry: Geometry, update: Update, seed: number) {
    const { blockLength } = geometry.part;
    this.geometry = geometry;
    this.update = update;
    this.slotBlocks = Math.ceil(update.source.length / blockLength);
    const size = (2 * this.slotBlocks + geometry.journalBlocks) * blockLength;
    this.part = new SimFlash({ ...geometry.part, size }, { seed });
    const region = (from: FlashDevice, firstBlock: number, blocks: number): FlashRegion =>
      new FlashRegion(from, { firstBlock, blocks });
    this.active = region(this.part, 0, this.slotBlocks);
    this.slot = region(this.part, this.slotBlocks, this.slotBlocks);
    this.journal = region(this.part, 2 * this.slotBlocks, geometry.journalBlocks);
    const base = new Uint8Array(this.active.status().size);
    base.set(update.source);
    this.active.program(0, base);
    this.slot.program(0, noise(base.length, 4242));
    this.headerHash = update.bytes.slice(update.headerBytes - HASH_BYTES, update.headerBytes);
    this.scratch = new Uint8Array(base.length);
    this.ageJournal(geometry.journalAge);
    this.firstErases = this.journalErases();
  }

  /** Powers up and feeds the update until it is done. Throws what the applier throws, a PowerCut for instance. */
  boot(chunkBytes = 512, log: Operation[] | null = null): void {
    this.part.reboot();
    const { update } = this;
    const recorded = (region: FlashRegion, firstBlock: number): FlashDevice =>
      log === null ? region : new Recorder(region, firstBlock, log);
    const slot = recorded(this.slot, this.slotBlocks);
    const applier = new Applier({
      source: this.source(),
      target: ({ targetSize }, buffer) => new FlashTarget({ flash: slot, targetSize, hasher, buffer }),
      hasher,
      verifier,
      decompressor,
      mixedModels: createMixedModels,
      trustedKeys: update.trustedKeys ?? [],
      policy: { ...ANY, maxTargetBytes: slot.status().size },
      journal: () => new Journal(recorded(this.journal, 2 * this.slotBlocks)),
    });
    let at = 0;
    for (;;) {
      const end = Math.min(at + chunkBytes, update.bytes.length);
      const result = applier.push(update.bytes.subarray(at, end));
      at = result.kind === 'seek' ? result.patchOffset : at + result.consumed;
      if (result.kind === 'done') return;
      if (result.kind === 'input' && at >= update.bytes.length)
        throw new Error('the patch ends before the update does');
    }
  }

  isJournal(operation: Operation): boolean {
    const { blockLength } = this.geometry.part;
    const start = operation.kind === 'erase' ? operation.block * blockLength : operation.offset;
    return start >= 2 * this.slotBlocks * blockLength;
  }

  /** How far into the slot a program reaches; 0 for anything else. */
  slotBytesAfter(operation: Operation): number {
    if (operation.kind === 'erase' || this.isJournal(operation)) return 0;
    return operation.offset + operation.bytes.length - this.slotBlocks * this.geometry.part.blockLength;
  }

  /** What the journal says of the update, as the next boot will see it. */
  checkpoint(): Checkpoint | null {
    this.part.reboot();
    return new Journal(this.journal).load(this.headerHash);
  }

  /** Whether the slot begins with the first `length` bytes of the target. */
  holds(length: number): boolean {
    const bytes = this.scratch.subarray(0, length);
    this.slot.read(0, bytes);
    return Buffer.compare(bytes, this.update.target.subarray(0, length)) === 0;
  }

  sourceIsWhole(): boolean {
    const bytes = this.scratch.subarray(0, this.update.source.length);
    this.active.read(0, bytes);
    return Buffer.compare(bytes, this.update.source) === 0;
  }

  /** Erases of each block: of the active slot, of the slot, of the journal. */
  wear(): { readonly active: number[]; readonly slot: number[]; readonly journal: number[] } {
    const count = (first: number, blocks: number): number[] =>
      Array.from({ length: blocks }, (_, i) => this.part.erasesOf(first + i));
    const { slotBlocks } = this;
    return {
      active: count(0, slotBlocks),
      slot: count(slotBlocks, slotBlocks),
      journal: this.journalErases().map((erases, block) => erases - this.firstErases[block]!),
    };
  }

  private journalErases(): number[] {
    const first = 2 * this.slotBlocks;
    return Array.from({ length: this.geometry.journalBlocks }, (_, i) => this.part.erasesOf(first + i));
  }

  private ageJournal(records: number): void {
    const journal = new Journal(this.journal);
    const frameHash = new Uint8Array(HASH_BYTES).fill(7);
    const rest = { segmentStart: 0, bodyOffset: 0, frameIndex: 0, state: 'source-verified', scratchSlot: 0 } as const;
    for (let i = 0; i < records; i++) journal.append(frameHash, { ...rest, targetOffset: i, frameHash });
  }

  private source(): ByteSource {
    const { active } = this;
    return { size: this.update.source.length, read: (offset, into) => active.read(offset, into) };
  }
}
