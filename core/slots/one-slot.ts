/**
 * The store of a device with room for one model, over raw flash: what is in the slot, what an update is about to put there, and
 * the counter floor, as one record (slot-table.ts; entry 0 the model, entry 1 the update). Updates are written in place
 * (core/patch/SPEC.md, "In place"), and how far one got is for the journal to say: together they tell whether the slot may be served.
 *
 * The journal's first record of an update comes before the table names it, and the table names it before the journal calls
 * it whole: so a journal that says `whole` beside a table that names an update speaks of that one.
 */
import type { SingleSlot } from '../apply/in-place-target.js';
import { type Checkpoint, holdsOneModel, Journal, type UpdateState } from '../apply/journal.js';
import { equalBytes } from '../bytes.js';
import { IoError } from '../errors.js';
import type { FlashDevice, SlotContents } from '../ports.js';
import { RecordLog } from './record-log.js';
import { decodeTable, emptyTable, encodeTable, type SlotState, TABLE_BYTES } from './slot-table.js';

export interface OneSlotRegions extends SingleSlot {
  readonly journal: FlashDevice;
  readonly records: readonly [FlashDevice, FlashDevice];
}

/** Not that of a store with two slots: either would misread the other's table. */
const MAGIC = 0x314f4c4d; // "MLO1"

export class OneSlot {
  readonly count = 1;
  readonly regions: OneSlotRegions;
  private readonly log: RecordLog;
  private readonly table = emptyTable();
  private readonly payload = new Uint8Array(TABLE_BYTES);
  private state: UpdateState;

  private constructor(regions: OneSlotRegions, log: RecordLog) {
    this.regions = regions;
    this.log = log;
    decodeTable(log.payload, this.table);
    this.state = new Journal(regions.journal).state;
  }

  /** Makes an empty store, in the factory. What the part held is lost. Throws IoError. */
  static format(regions: OneSlotRegions): void {
    const { journal } = regions;
    for (let block = 0; block < journal.status().blocks; block++) journal.eraseBlock(block);
    const payload = new Uint8Array(TABLE_BYTES);
    encodeTable(emptyTable(), payload);
    openLog(regions).format(payload);
  }

  /** Finishes what a power cut interrupted. Throws IoError when no record is whole. */
  static open(regions: OneSlotRegions): OneSlot {
    const log = openLog(regions);
    if (!log.found) throw new IoError('slot records: no record is whole: damaged, or never formatted');
    log.repair();
    const store = new OneSlot(regions, log);
    if (store.state === 'whole' && store.incoming.state === 'writing') store.settle();
    return store;
  }

  /** The model that may be served: null also while the slot is half-way through an update, or lost there. */
  active(): SlotContents | null {
    const { state, size, sha256, counter } = this.model;
    return state === 'good' && holdsOneModel(this.state) ? { size, sha256: sha256.slice(), counter } : null;
  }

  /** `bad`: the slot holds no whole model, and the update that it is half-way through, or a full image, has to be sent. */
  activeState(): SlotState {
    return holdsOneModel(this.state) ? this.model.state : 'bad';
  }

  /** Of the update under way. */
  inactiveState(): SlotState {
    return this.incoming.state;
  }

  inactiveContents(): SlotContents | null {
    return null;
  }

  counterFloor(): number {
    return this.table.counterFloor;
  }

  journal(): FlashDevice {
    return this.regions.journal;
  }

  /** To be called for every record of the journal, with what appends it: keeps the order that the head of this file promises. */
  journaled(
    { state, targetOffset }: Checkpoint,
    coming: SlotContents,
    minimumCounter: number,
    append: () => void,
  ): void {
    if (targetOffset > 0) this.announce(coming, minimumCounter);
    append();
    this.state = state;
    if (targetOffset === 0) this.announce(coming, minimumCounter);
  }

  /** The slot holds the new model, read back whole. */
  stage(contents: SlotContents, minimumCounter: number): void {
    this.announce(contents, minimumCounter);
    this.settle();
  }

  private get model() {
    return this.table.slots[0];
  }

  private get incoming() {
    return this.table.slots[1];
  }

  private announce({ size, sha256, counter }: SlotContents, minimumCounter: number): void {
    const { incoming } = this;
    if (incoming.state === 'writing' && equalBytes(incoming.sha256, sha256) && incoming.counter === counter) return;
    incoming.state = 'writing';
    incoming.size = size;
    incoming.counter = counter;
    incoming.minimumCounter = minimumCounter;
    incoming.sha256.set(sha256);
    this.write();
  }

  private settle(): void {
    const { model, incoming, table } = this;
    model.state = 'good';
    model.size = incoming.size;
    model.counter = incoming.counter;
    model.minimumCounter = incoming.minimumCounter;
    model.sha256.set(incoming.sha256);
    incoming.state = 'empty';
    table.active = 0;
    table.counterFloor = Math.max(table.counterFloor, incoming.minimumCounter);
    this.write();
  }

  private write(): void {
    encodeTable(this.table, this.payload);
    this.log.append(this.payload);
  }
}

function openLog({ records }: OneSlotRegions): RecordLog {
  return new RecordLog(records, { magic: MAGIC, payloadBytes: TABLE_BYTES });
}
