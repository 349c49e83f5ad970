/**
 * A device with a single slot on one simulated part, for the power-cut suite: records what it does to the flash, does it
 * again, and judges what a cut left: at every moment the slot is whole, or the journal says that it is not and how to go on.
 */
import assert from 'node:assert/strict';
import { Applier } from '../../core/apply/applier.js';
import { feedBoot, type Update } from '../../core/apply/flash-rig.test.js';
import { type InPlaceLayout, InPlaceRig } from '../../core/apply/in-place-rig.test.js';
import { type Checkpoint, holdsOneModel, Journal } from '../../core/apply/journal.js';
import { HASH_BYTES } from '../../core/patch/frames.js';
import type { FlashDevice } from '../../core/ports.js';
import { type Operation, Recorder } from './recorder.js';

export interface InPlaceDevice {
  readonly layout: InPlaceLayout;
  readonly unitBytes: number;
  /** Records of an earlier update that lie in the journal. */
  readonly journalAge: number;
}

export class InPlacePart {
  readonly update: Update;
  readonly rig: InPlaceRig;
  private readonly device: InPlaceDevice;
  private readonly agedErases: readonly number[];

  constructor(device: InPlaceDevice, update: Update, seed: number) {
    this.device = device;
    this.update = update;
    this.rig = new InPlaceRig(device.layout, update.source, seed);
    this.ageJournal(device.journalAge);
    this.agedErases = this.rig.wear().journal;
  }

  get part() {
    return this.rig.part;
  }

  /** Powers up and feeds the update until it is done. Throws what the applier throws, a PowerCut for instance. */
  boot(chunkBytes = 512, log: Operation[] | null = null): void {
    this.part.reboot();
    const { rig, update } = this;
    const watched = (region: FlashDevice): FlashDevice =>
      log === null ? region : new Recorder(region, this.firstBlockOf(region), log);
    feedBoot(new Applier(rig.options(update, watched)), update, chunkBytes);
  }

  isJournal(operation: Operation): boolean {
    const { blockLength } = this.device.layout.part;
    const start = operation.kind === 'erase' ? operation.block * blockLength : operation.offset;
    return start >= this.firstBlockOf(this.rig.journal) * blockLength;
  }

  /** What the journal says is true of the flash, and it does not take back what it said: `known` target bytes. Returns what it claims now. */
  assertHonest(known: number): number {
    const { rig, update } = this;
    const state = rig.state();
    const checkpoint = rig.checkpoint(update);
    const claimed = checkpoint?.targetOffset ?? 0;
    assert.ok(claimed >= known, `the journal went back from ${known} to ${claimed}`);
    assert.notEqual(state, 'needs-full-image', 'nothing rotted');
    if (holdsOneModel(state)) {
      const isNew = checkpoint?.state === 'whole';
      assert.ok(
        rig.holds(isNew ? update.target : update.source),
        `${state}: the slot would be served and is not whole`,
      );
    } else this.assertResumable(checkpoint);
    return claimed;
  }

  /** Whoever goes on finds what the checkpoint promises: new bytes, then perhaps a unit in scratch, then old bytes. */
  private assertResumable(checkpoint: Checkpoint | null): void {
    assert.ok(checkpoint !== null, 'the update that is under way is in the journal');
    const { rig, update } = this;
    const { unitBytes } = this.device;
    const { state, targetOffset, scratchSlot } = checkpoint;
    const inScratch = state === 'overwriting';
    const written = inScratch ? targetOffset - 1 - ((targetOffset - 1) % unitBytes) : targetOffset;
    assert.ok(rig.holds(update.target.subarray(0, written)), `${state}: the first ${written} bytes are new`);
    if (inScratch) {
      const unit = new Uint8Array(targetOffset - written);
      rig.scratch.read(scratchSlot * unitBytes, unit);
      assert.deepEqual(unit, update.target.slice(written, targetOffset), 'the unit lies in its scratch slot');
    }
    // Behind the last unit nothing of the source is needed any more.
    const old = update.source.subarray(targetOffset === update.target.length ? update.source.length : targetOffset);
    assert.ok(Buffer.compare(rig.read(targetOffset, old.length), old) === 0, 'what lies behind is still old');
  }

  assertFinished(): void {
    const { rig, update } = this;
    assert.ok(rig.holds(update.target), 'the slot holds the target');
    assert.equal(rig.state(), 'whole');
    assert.equal(rig.checkpoint(update)?.targetOffset, update.target.length);
  }

  /** Erases of each block: of the slot, of the scratch area, of the journal by this update. */
  wear(): ReturnType<InPlaceRig['wear']> {
    const { slot, scratch, journal } = this.rig.wear();
    return { slot, scratch, journal: journal.map((erases, block) => erases - this.agedErases[block]!) };
  }

  private firstBlockOf(region: FlashDevice): number {
    const { slot, scratch } = this.rig;
    if (region === slot) return 0;
    return slot.status().blocks + (region === scratch ? 0 : scratch.status().blocks);
  }

  private ageJournal(records: number): void {
    const journal = new Journal(this.rig.journal);
    const frameHash = new Uint8Array(HASH_BYTES).fill(7);
    const rest = { segmentStart: 0, bodyOffset: 0, frameIndex: 0, state: 'whole', scratchSlot: 1 } as const;
    for (let i = 0; i < records; i++) journal.append(frameHash, { ...rest, targetOffset: i, frameHash });
  }
}
