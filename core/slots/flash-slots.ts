/**
 * Two model slots on raw flash. A slot goes empty -> writing -> staged -> trial -> good | bad; every step is one record
 * (record-log.ts), and so happens wholly or not at all. Nothing is allocated after `open` but what `active` and `previous`
 * hand out.
 *
 * A new model is on trial: each boot of it is recorded before it runs, and after `trialBoots` boots without `confirm` the
 * device is back on the model before. The counter floor rises when a slot becomes active, and no revert lowers it.
 *
 * No power cut leaves an active slot that is not whole. Decay of the active slot is found by hashing it (slot-check.ts), which
 * on slow parts takes minutes and so is up to the caller; `revert` then goes back to the previous model.
 */
import { IoError, invariant } from '../errors.js';
import type { ByteSource, FlashDevice, SlotContents, SlotStore } from '../ports.js';
import { isBlank } from './blank.js';
import type { SlotRegions } from './layout.js';
import { RecordLog } from './record-log.js';
import {
  decodeTable,
  emptyTable,
  encodeTable,
  MAX_TRIAL_BOOTS,
  type SlotEntry,
  type SlotState,
  type SlotTable,
  TABLE_BYTES,
  TABLE_MAGIC,
} from './slot-table.js';

export interface FlashSlotsOptions {
  /** Boots a new model has to get itself confirmed, 1 to 255; 0 makes it good at once, for users with a trial of their own. Default 3. */
  readonly trialBoots?: number;
}

/** What `boot` decided: nothing to run, a confirmed model, one on trial, or back on the previous because the trial is over. */
export type BootOutcome = 'none' | 'good' | 'trial' | 'reverted';

const SCAN_BYTES = 256;

export class FlashSlots implements SlotStore {
  readonly count = 2;
  private readonly regions: SlotRegions;
  private readonly trialBoots: number;
  private readonly log: RecordLog;
  private readonly table: SlotTable = emptyTable();
  private readonly payload = new Uint8Array(TABLE_BYTES);
  /** The table as it is while no change is under way: the newest record, or what `boot` decided and could not record. */
  private readonly settled = new Uint8Array(TABLE_BYTES);
  private readonly buffer = new Uint8Array(SCAN_BYTES);
  private readonly sources: readonly [SlotSource, SlotSource];

  private constructor(regions: SlotRegions, log: RecordLog, trialBoots: number) {
    this.regions = regions;
    this.log = log;
    this.trialBoots = trialBoots;
    this.sources = [
      new SlotSource(regions.slots[0], this.table.slots[0]),
      new SlotSource(regions.slots[1], this.table.slots[1]),
    ];
  }

  /** Makes an empty store, in the factory. What the part held is lost. Throws IoError. */
  static format(regions: SlotRegions): void {
    const payload = new Uint8Array(TABLE_BYTES);
    encodeTable(emptyTable(), payload);
    openLog(regions).format(payload);
  }

  /**
   * Finishes what a power cut interrupted. Throws IoError when no record is whole, or when one says what the part cannot
   * hold.
   */
  static open(regions: SlotRegions, { trialBoots = 3 }: FlashSlotsOptions = {}): FlashSlots {
    invariant(
      Number.isSafeInteger(trialBoots) && trialBoots >= 0 && trialBoots <= MAX_TRIAL_BOOTS,
      `trialBoots is 0 to ${MAX_TRIAL_BOOTS}, got ${trialBoots}`,
    );
    const log = openLog(regions);
    if (!log.found) throw new IoError('slot records: no record is whole: damaged, or never formatted');
    const store = new FlashSlots(regions, log, trialBoots);
    store.recover();
    return store;
  }

  active(): SlotContents | null {
    return this.table.active < 0 ? null : contentsOf(this.table.slots[this.table.active]!);
  }

  previous(): SlotContents | null {
    return this.table.active >= 0 && this.inactive.state === 'good' ? contentsOf(this.inactive) : null;
  }

  counterFloor(): number {
    return this.table.counterFloor;
  }

  /** Of the active slot; `empty` without one. */
  activeState(): SlotState {
    return this.table.active < 0 ? 'empty' : this.table.slots[this.table.active]!.state;
  }

  inactiveState(): SlotState {
    return this.inactive.state;
  }

  /** What is, or was, in the inactive slot: a staged model, or the bad one that must not be installed again. */
  inactiveContents(): SlotContents | null {
    const { state } = this.inactive;
    return state === 'empty' || state === 'writing' ? null : contentsOf(this.inactive);
  }

  /** Whether both record areas work. False is a fault of the part worth reporting, not one of this boot. */
  recordsAreRedundant(): boolean {
    return this.log.copies === 2;
  }

  /**
   * To be called once at each power-up, before the model runs. Never throws IoError: a trial that cannot be counted is over,
   * since a device that counts nothing would try for ever.
   */
  boot(): BootOutcome {
    const { table } = this;
    if (table.active < 0) return 'none';
    if (table.slots[table.active]!.state !== 'trial') return 'good';
    if (table.trialBoots < this.trialBoots) {
      table.trialBoots++;
      if (this.tryWrite()) return 'trial';
    }
    this.turnBack('bad');
    // Without a record it still holds for this boot, and the next one finds the trial over, or cannot count it either.
    encodeTable(table, this.settled);
    this.tryWrite();
    return 'reverted';
  }

  openActive(): ByteSource {
    if (this.table.active < 0) throw new IoError('there is no active model');
    return this.sources[this.table.active]!;
  }

  /** Throws IoError when `size` does not fit, and while the active model is on trial: its way back would be overwritten. */
  openInactive(size: number): FlashDevice {
    if (this.activeState() === 'trial')
      throw new IoError('the active model is on trial: confirm it or roll back first');
    const index = this.inactiveIndex;
    const flash = this.regions.slots[index]!;
    const room = flash.status().size;
    if (size > room) throw new IoError(`slot ${index}: expected at most ${room} bytes, got ${size}`);
    if (this.inactive.state !== 'writing') {
      this.inactive.state = 'writing';
      this.write();
    }
    return flash;
  }

  journal(): FlashDevice {
    return this.regions.journal;
  }

  /** The inactive slot is whole: it may become active, now or after any number of boots. */
  stage(contents: SlotContents, minimumCounter: number): void {
    this.describe(contents, minimumCounter);
    this.inactive.state = 'staged';
    this.write();
    this.clearJournal();
  }

  /** Makes the staged slot active, on trial if there is a model to go back to. */
  activate(): void {
    invariant(this.inactive.state === 'staged', 'activate follows stage');
    this.makeActive();
    this.write();
  }

  /** `stage` and `activate` in one step. */
  commit(contents: SlotContents, minimumCounter: number): void {
    this.describe(contents, minimumCounter);
    this.makeActive();
    this.write();
    this.clearJournal();
  }

  /** The active model is good: it stays. Throws IoError when there is none. */
  confirm(): void {
    const state = this.activeState();
    if (state === 'empty') throw new IoError('there is no active model to confirm');
    if (state === 'good') return;
    this.table.slots[this.table.active]!.state = 'good';
    this.write();
  }

  /** Keeps a confirmed model as `previous`; one on trial is bad. */
  rollback(): void {
    this.goBack(this.activeState() === 'good' ? 'good' : 'bad');
  }

  /** Rolls back from a model that must not run again: it failed its check, or its slot has decayed. */
  revert(): void {
    this.goBack('bad');
  }

  private get inactiveIndex(): number {
    return this.table.active === 0 ? 1 : 0;
  }

  private get inactive(): SlotEntry {
    return this.table.slots[this.inactiveIndex]!;
  }

  private recover(): void {
    this.log.repair();
    this.settled.set(this.log.payload);
    decodeTable(this.settled, this.table);
    for (let index = 0; index < 2; index++) {
      const room = this.regions.slots[index]!.status().size;
      const { size } = this.table.slots[index]!;
      if (size > room) throw new IoError(`slot ${index}: expected at most ${room} bytes, its record says ${size}`);
    }
    if (this.inactive.state !== 'writing') this.clearJournal();
  }

  private describe(contents: SlotContents, minimumCounter: number): void {
    const { state } = this.inactive;
    invariant(state === 'writing' || state === 'staged', 'a slot is opened for writing before it is whole');
    const room = this.regions.slots[this.inactiveIndex]!.status().size;
    invariant(isCount(contents.size) && contents.size <= room, `a size up to ${room}, got ${contents.size}`);
    invariant(isCount(contents.counter) && isCount(minimumCounter), 'counters are non-negative integers');
    invariant(contents.sha256.length === 32, `a SHA-256 has 32 bytes, got ${contents.sha256.length}`);
    const entry = this.inactive;
    entry.size = contents.size;
    entry.counter = contents.counter;
    entry.minimumCounter = minimumCounter;
    entry.sha256.set(contents.sha256);
  }

  private makeActive(): void {
    const { table } = this;
    const index = this.inactiveIndex;
    const entry = table.slots[index]!;
    const canGoBack = this.activeState() === 'good';
    entry.state = this.trialBoots > 0 && canGoBack ? 'trial' : 'good';
    table.active = index;
    table.trialBoots = 0;
    table.counterFloor = Math.max(table.counterFloor, entry.minimumCounter);
  }

  private goBack(left: 'good' | 'bad'): void {
    if (this.table.active < 0 || this.inactive.state !== 'good') throw new IoError('there is no model to go back to');
    this.turnBack(left);
    this.write();
  }

  private turnBack(left: 'good' | 'bad'): void {
    const { table } = this;
    const index = this.inactiveIndex;
    table.slots[table.active]!.state = left;
    table.active = index;
    table.trialBoots = 0;
  }

  /** Records the table; when that fails, nothing has changed. */
  private write(): void {
    encodeTable(this.table, this.payload);
    try {
      this.log.append(this.payload);
    } catch (error) {
      decodeTable(this.settled, this.table);
      throw error;
    }
    this.settled.set(this.payload);
  }

  private tryWrite(): boolean {
    try {
      this.write();
      return true;
    } catch (error) {
      if (error instanceof IoError) return false;
      throw error;
    }
  }

  /**
   * A journal vouches for bytes of a slot that is being written. A journal block that fails is left to the next update,
   * which fails at it before it writes anything.
   */
  private clearJournal(): void {
    const { journal } = this.regions;
    const { blocks } = journal.status();
    try {
      for (let block = 0; block < blocks; block++) {
        if (!isBlank(journal, block, this.buffer)) journal.eraseBlock(block);
      }
      journal.sync();
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
    }
  }
}

/** The model in a slot: its bytes without padding. */
class SlotSource implements ByteSource {
  private readonly flash: FlashDevice;
  private readonly entry: SlotEntry;

  constructor(flash: FlashDevice, entry: SlotEntry) {
    this.flash = flash;
    this.entry = entry;
  }

  get size(): number {
    return this.entry.size;
  }

  read(offset: number, into: Uint8Array): void {
    if (!isCount(offset) || offset + into.length > this.size) {
      throw new IoError(`expected a read within ${this.size} bytes, got ${into.length} bytes at ${offset}`);
    }
    this.flash.read(offset, into);
  }
}

function openLog(regions: SlotRegions): RecordLog {
  return new RecordLog(regions.records, { magic: TABLE_MAGIC, payloadBytes: TABLE_BYTES });
}

/** A copy: the entry goes on changing. */
function contentsOf({ size, sha256, counter }: SlotEntry): SlotContents {
  return { size, sha256: sha256.slice(), counter };
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
