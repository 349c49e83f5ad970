/**
 * A device with the slot store on one simulated part, and what its application does with it: applies an update, lets it boot
 * on trial, and confirms it or not. All it knows after a power cut is what the flash holds.
 */
import assert from 'node:assert/strict';
import { Applier } from '../../core/apply/applier.js';
import type { Update } from '../../core/apply/flash-rig.test.js';
import { FlashTarget } from '../../core/apply/flash-target.js';
import { Journal } from '../../core/apply/journal.js';
import { ANY } from '../../core/apply/run-patch.test.js';
import { equalBytes } from '../../core/bytes.js';
import { createMixedModels } from '../../core/codec/mixed-models.js';
import { noise } from '../../core/patch/build-patch.test.js';
import { HASH_BYTES } from '../../core/patch/frames.js';
import type { FlashDevice, SlotContents } from '../../core/ports.js';
import { isBlank } from '../../core/slots/blank.js';
import { type BootOutcome, FlashSlots } from '../../core/slots/flash-slots.js';
import { planLayout, regionsOf, type SlotLayout } from '../../core/slots/layout.js';
import { RecordLog } from '../../core/slots/record-log.js';
import { decodeTable, emptyTable, type SlotTable, TABLE_BYTES, TABLE_MAGIC } from '../../core/slots/slot-table.js';
import { NodeHasher, NodeSignatureVerifier } from '../../targets/node/hashing.js';
import { createDecompressor } from '../../targets/node/zstd-decompressor.js';
import { SimFlash } from '../../targets/sim/nor-flash.js';
import type { Geometry } from './geometries.js';
import { type Operation, Recorder } from './recorder.js';

/**
 * `kept`: staged, activated by a second step, confirmed at its first boot, and at last rolled back by its operator. `unfit`:
 * committed at once, never confirmed, reverted from after all its trial boots.
 */
export const LIVES = ['kept', 'unfit'] as const;
export type Life = (typeof LIVES)[number];

export const TRIAL_BOOTS = 2;
export const BASE_FLOOR = 1;
/** Room left in the record areas at the start: they come round in the middle of a life. */
const FREE_PLACES = 3;
/** Of the format, two openings, two commits and a confirmation. */
const INSTALL_RECORDS = 6;
export const BASE_SLOT = 1;
export const NEW_SLOT = 0;

const decompressor = createDecompressor();
const verifier = new NodeSignatureVerifier();
const hasher = new NodeHasher();

export class SlotPart {
  readonly part: SimFlash;
  readonly update: Update;
  readonly layout: SlotLayout;
  readonly blockLength: number;
  /** Since the part was made, or last told to forget them. */
  trialRuns = 0;
  boots = 0;
  private readonly life: Life;
  private readonly headerHash: Uint8Array;
  private readonly scratch: Uint8Array;
  private readonly ancestor: Uint8Array;
  private readonly ancestorHash = new Uint8Array(32);
  private readonly erasesAtStart: number[];

  constructor(geometry: Geometry, update: Update, life: Life, seed: number, pageLength = 0) {
    const { blockLength } = geometry.part;
    const slotBlocks = Math.ceil(update.source.length / blockLength);
    const blocks = 4 + geometry.journalBlocks + 2 * slotBlocks;
    const pages = pageLength === 0 ? {} : { pageLength };
    this.part = new SimFlash({ ...geometry.part, ...pages, size: blocks * blockLength }, { seed });
    this.layout = planLayout(this.part.status(), { journalBlocks: geometry.journalBlocks });
    this.blockLength = blockLength;
    this.update = update;
    this.life = life;
    this.headerHash = update.bytes.slice(update.headerBytes - HASH_BYTES, update.headerBytes);
    this.scratch = new Uint8Array(slotBlocks * blockLength);
    this.ancestor = noise(this.scratch.length, 4242);
    hasher.reset();
    hasher.update(this.ancestor);
    hasher.digest(this.ancestorHash);
    this.install();
    this.ageRecords(Math.ceil((TABLE_BYTES + 12) / geometry.part.writeAlign) * geometry.part.writeAlign);
    this.erasesAtStart = this.eraseCounts();
  }

  /** Boots until there is nothing left to do. Throws what the part throws, a PowerCut for instance. */
  live(log: Operation[] | null = null, chunkBytes = 512): void {
    do this.boots++;
    while (!this.powerUp(log, chunkBytes));
  }

  isRecord(operation: Operation): boolean {
    const block = operation.kind === 'erase' ? operation.block : Math.floor(operation.offset / this.blockLength);
    return this.layout.records.some(({ firstBlock, blocks }) => block >= firstBlock && block < firstBlock + blocks);
  }

  /** What the records say, as the next boot will read them. Changes nothing. */
  table(): SlotTable {
    this.part.reboot();
    const { records } = regionsOf(this.part, this.layout);
    const log = new RecordLog(records, { magic: TABLE_MAGIC, payloadBytes: TABLE_BYTES });
    assert.ok(log.found, 'a record is whole');
    const table = emptyTable();
    decodeTable(log.payload, table);
    return table;
  }

  /** What must hold at any moment, whatever was cut. */
  assertSound(table: SlotTable): void {
    const { source, target, header } = this.update;
    const active = table.slots[table.active];
    assert.ok(active !== undefined, 'there is an active model');
    const isNew = equalBytes(active.sha256, header.targetHash);
    assert.ok(isNew || equalBytes(active.sha256, header.sourceHash), 'the active model is the old or the new one');
    assert.ok(active.state === 'good' || (isNew && active.state === 'trial'), `the active model is ${active.state}`);
    assert.ok(this.holds(table.active, isNew ? target : source), 'the active slot holds its whole model');
    assert.ok(table.trialBoots <= TRIAL_BOOTS, `${table.trialBoots} boots of a trial`);
    const other = table.slots[1 - table.active]!;
    const isAncestor = equalBytes(other.sha256, this.ancestorHash);
    const wasActive = isNew || other.state === 'bad' || (other.state === 'good' && !isAncestor);
    assert.equal(table.counterFloor, wasActive ? header.minimumCounter : BASE_FLOOR, 'the counter floor');
    if (other.state === 'staged' || other.state === 'good') {
      const model = isNew ? source : isAncestor ? this.ancestor : target;
      assert.ok(this.holds(1 - table.active, model), `the ${other.state} slot holds its whole model`);
    }
    if (isNew) assert.equal(other.state, 'good', 'there is a model to go back to');
    if (other.state === 'writing') {
      const claimed = new Journal(regionsOf(this.part, this.layout).journal).load(this.headerHash)?.targetOffset ?? 0;
      assert.ok(
        this.holds(1 - table.active, target.subarray(0, claimed)),
        `the journal claims ${claimed} bytes, more than the slot holds`,
      );
    }
  }

  /** After a life with that many cuts: enough of them use up the boots in which the trial would have been confirmed. */
  assertEnd(cuts: number): void {
    const table = this.table();
    this.assertSound(table);
    assert.equal(table.active, BASE_SLOT, 'the old model is active again');
    const { state } = table.slots[NEW_SLOT];
    if (cuts < TRIAL_BOOTS || state !== 'bad') {
      assert.equal(state, this.life === 'kept' ? 'good' : 'bad', 'what became of the new model');
    }
    assert.equal(table.counterFloor, this.update.header.minimumCounter, 'the floor survives the way back');
    const { records, journal } = regionsOf(this.part, this.layout);
    const log = new RecordLog(records, { magic: TABLE_MAGIC, payloadBytes: TABLE_BYTES });
    assert.equal(log.copies, 2, 'both areas hold the newest record');
    for (let block = 0; block < journal.status().blocks; block++) {
      assert.ok(isBlank(journal, block, new Uint8Array(this.blockLength)), 'no journal outlives its update');
    }
  }

  /** Erases of each block since the start. */
  wear(): number[] {
    return this.eraseCounts().map((erases, block) => erases - this.erasesAtStart[block]!);
  }

  private powerUp(log: Operation[] | null, chunkBytes: number): boolean {
    this.part.reboot();
    const flash: FlashDevice = log === null ? this.part : new Recorder(this.part, 0, log);
    const store = FlashSlots.open(regionsOf(flash, this.layout), { trialBoots: TRIAL_BOOTS });
    const outcome = store.boot();
    if (outcome === 'trial') {
      this.trialRuns++;
      assert.ok(this.trialRuns <= TRIAL_BOOTS, 'a trial runs no more often than it may');
    }
    const runsNew = equalBytes(store.active()!.sha256, this.update.header.targetHash);
    if (runsNew) return this.runNew(store, outcome);
    const other = store.inactiveContents();
    const wasNew = other !== null && equalBytes(other.sha256, this.update.header.targetHash);
    if (wasNew && store.inactiveState() !== 'staged') return true;
    this.takeUpdate(store, chunkBytes);
    return false;
  }

  /** The application while the new model runs. */
  private runNew(store: FlashSlots, outcome: BootOutcome): boolean {
    if (this.life === 'unfit') {
      assert.equal(outcome, 'trial', 'nobody confirmed it');
      return false;
    }
    if (outcome === 'trial') {
      store.confirm();
      return false;
    }
    store.rollback();
    return true;
  }

  private takeUpdate(store: FlashSlots, chunkBytes: number): void {
    const { minimumCounter } = this.update.header;
    if (this.life === 'unfit') {
      store.commit(this.apply(store, chunkBytes), minimumCounter);
      return;
    }
    if (store.inactiveState() !== 'staged') store.stage(this.apply(store, chunkBytes), minimumCounter);
    store.activate();
  }

  private apply(store: FlashSlots, chunkBytes: number): SlotContents {
    const { update } = this;
    const applier = new Applier({
      source: store.openActive(),
      target: ({ targetSize }, buffer) =>
        new FlashTarget({ flash: store.openInactive(targetSize), targetSize, hasher, buffer }),
      hasher,
      verifier,
      decompressor,
      mixedModels: createMixedModels,
      trustedKeys: update.trustedKeys ?? [],
      policy: { ...ANY, counterFloor: store.counterFloor() },
      journal: () => new Journal(store.journal()),
    });
    for (let at = 0; ; ) {
      const result = applier.push(update.bytes.subarray(at, at + chunkBytes));
      at = result.kind === 'seek' ? result.patchOffset : at + result.consumed;
      if (result.kind === 'done') break;
      assert.ok(result.kind !== 'input' || at < update.bytes.length, 'the patch is enough');
    }
    const { targetSize, targetHash, versionCounter } = applier.header!;
    return { size: targetSize, sha256: targetHash, counter: versionCounter };
  }

  /** The factory and one update: the base in slot 1, the model before it in slot 0. */
  private install(): void {
    const { source, header } = this.update;
    const regions = regionsOf(this.part, this.layout);
    FlashSlots.format(regions);
    const store = FlashSlots.open(regions, { trialBoots: TRIAL_BOOTS });
    const padded = this.ancestor.slice();
    store.openInactive(padded.length).program(0, padded);
    store.commit({ size: padded.length, sha256: this.ancestorHash, counter: 1 }, BASE_FLOOR);
    padded.set(source);
    store.openInactive(source.length).program(0, padded);
    store.commit({ size: source.length, sha256: header.sourceHash, counter: 1 }, BASE_FLOOR);
    store.confirm();
  }

  private ageRecords(recordBytes: number): void {
    const { records } = regionsOf(this.part, this.layout);
    const log = new RecordLog(records, { magic: TABLE_MAGIC, payloadBytes: TABLE_BYTES });
    const places = Math.floor(this.blockLength / recordBytes);
    for (let used = INSTALL_RECORDS % places; used < places - FREE_PLACES; used++) log.append(log.payload.slice());
  }

  private holds(slot: number, bytes: Uint8Array): boolean {
    const held = this.scratch.subarray(0, bytes.length);
    this.part.read(this.layout.slots[slot]!.firstBlock * this.blockLength, held);
    return Buffer.compare(held, bytes) === 0;
  }

  private eraseCounts(): number[] {
    return Array.from({ length: this.part.status().blocks }, (_, block) => this.part.erasesOf(block));
  }
}
