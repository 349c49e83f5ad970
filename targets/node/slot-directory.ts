/**
 * Two model slots in a folder of a gateway:
 *
 *   state.json              what the slots hold, which is active, the counter floor: the truth, replaced atomically
 *   a.model  b.model        the slots; each is a plain model file that other programs can open
 *   a.journal  b.journal    apply journal of a slot that is being written
 *   current                 symbolic link to the active slot's file, for the programs that serve it
 *   lock                    symbolic link that says which process owns the folder
 *
 * Each step leaves the folder such that the next open finds a whole old or a whole new model. state.json is switched first and
 * `current` after it; an open that finds them apart lets `current` follow.
 */
import { createHash } from 'node:crypto';
import { IoError, invariant } from '../../core/errors.js';
import { MemorySource } from '../../core/memory-source.js';
import type { ByteSource, FlashDevice, SlotContents, SlotStore } from '../../core/ports.js';
import { removeFile, syncFolder, withTempOutput } from './atomic-file.js';
import { FileFlash, type FileFlashOptions } from './file-flash.js';
import { writeFully } from './file-io.js';
import { FileSource } from './file-source.js';
import { FolderLock } from './folder-lock.js';
import { createFolder, SlotFiles } from './slot-files.js';
import {
  contentsOf,
  EMPTY_STATE,
  inactiveSlot,
  otherSlot,
  type SlotName,
  type SlotState,
  withSlot,
} from './slot-state.js';

const COPY_BYTES = 1 << 20;

export interface SlotDirectoryOptions {
  /** Make the folder if it is not there. Default false: an unmounted data partition must not look like a new device. */
  readonly create?: boolean;
  /**
   * 'take' (default) locks the folder until `close`. 'held' is for another thread of the process that holds the lock, for
   * instance the one that applies: it repairs nothing, since the owner did.
   */
  readonly lock?: 'take' | 'held';
  /** Erase unit of the slots in bytes; checkpoints of an update lie on multiples of it. Default 64 KiB. */
  readonly blockLength?: number;
  /** Default 4 KiB. */
  readonly journalBlockLength?: number;
  /** Default 16. */
  readonly journalBlocks?: number;
  /** Of the file system, that an update leaves to others. Default 0: what the slots themselves need beside the model. */
  readonly minFreeBytes?: number;
}

export class SlotDirectory implements SlotStore {
  readonly folder: string;
  private readonly files: SlotFiles;
  private readonly options: SlotDirectoryOptions;
  private readonly lock: FolderLock | null;
  private sources: FileSource[] = [];
  private writer: FileFlash | null = null;
  private journalFile: FileFlash | null = null;
  private closed = false;

  private constructor(folder: string, options: SlotDirectoryOptions, lock: FolderLock | null) {
    this.folder = folder;
    this.files = new SlotFiles(folder);
    this.options = options;
    this.lock = lock;
  }

  /**
   * Finishes what a crash interrupted. Throws IoError when another process owns the folder, when state.json is damaged or
   * missing beside slot files, when the active model is not whole, and when a symbolic link or a folder lies where a file of
   * this store belongs.
   */
  static open(folder: string, options: SlotDirectoryOptions = {}): SlotDirectory {
    if (options.create) createFolder(folder);
    if (options.lock === 'held') {
      if (!FolderLock.isOurs(folder)) throw new IoError(`expected this process to hold the lock of ${folder}`);
      return new SlotDirectory(folder, options, null);
    }
    const lock = FolderLock.acquire(folder);
    try {
      const store = new SlotDirectory(folder, options, lock);
      store.recover();
      return store;
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /** The path that always names the active model. */
  get currentPath(): string {
    return this.files.currentPath;
  }

  active(): SlotContents | null {
    const state = this.readState();
    return contentsOf(state, state.active);
  }

  previous(): SlotContents | null {
    const state = this.readState();
    const slot = inactiveSlot(state);
    return this.files.isWhole(state, slot) ? contentsOf(state, slot) : null;
  }

  counterFloor(): number {
    return this.readState().counterFloor;
  }

  /** The caller may close it; `close` of the store does otherwise. */
  openActive(): ByteSource & { close(): void } {
    const state = this.readState();
    const contents = contentsOf(state, state.active);
    if (contents === null) throw new IoError(`there is no active model in ${this.folder}`);
    const source = new FileSource(this.files.modelPath(state.active!), { noFollow: true });
    this.sources = [...this.sources.filter((opened) => !opened.closed), source];
    if (source.size === contents.size) return source;
    source.close();
    throw new IoError(`expected ${contents.size} bytes, got ${source.size}: ${source.path}`);
  }

  /**
   * The file the old model is in is removed, not overwritten: a program that still serves it from an open file keeps it whole.
   * The device stays valid until the next openInactive, commit or close. Throws IoError, with everything as it was, where the
   * file system has no room for `size` bytes.
   */
  openInactive(size: number): FlashDevice {
    const state = this.readState();
    const slot = inactiveSlot(state);
    if (state.trial !== undefined) throw new IoError(`the active model is on trial: ${this.folder} keeps the way back`);
    this.writer?.close();
    this.writer = null;
    this.files.requireRoom(slot, size, this.options.minFreeBytes ?? 0);
    if (state.slots[slot] !== null) this.markWriting(state, slot);
    const { blockLength } = this.options;
    const geometry = { size, erase: 'lazy' as const, ...(blockLength === undefined ? {} : { blockLength }) };
    this.writer = this.openFlash(this.files.modelPath(slot), geometry);
    return this.writer;
  }

  /** Throws IoError where `openInactive(size)` would for want of space. */
  requireRoom(size: number): void {
    this.files.requireRoom(inactiveSlot(this.readState()), size, this.options.minFreeBytes ?? 0);
  }

  /** Valid until commit, rollback or close. */
  journal(): FlashDevice {
    const { journalBlockLength = 4096, journalBlocks = 16 } = this.options;
    const path = this.files.journalPath(inactiveSlot(this.readState()));
    if (this.journalFile?.path === path) return this.journalFile;
    this.journalFile?.close();
    const size = journalBlockLength * journalBlocks;
    this.journalFile = this.openFlash(path, { size, blockLength: journalBlockLength, erase: 'eager' });
    return this.journalFile;
  }

  /**
   * Throws IoError when the slot's file is shorter than `contents.size`, or when the folder cannot be written. What counts then
   * is what `active` says: the switch is the replacing of state.json, and what follows it is finished by the next open.
   * With `onTrial` the model stays on trial until `confirm` or `rollback`; the first model, which has nothing to go back to, never is.
   */
  commit(contents: SlotContents, minimumCounter: number, onTrial = false): void {
    requireContents(contents, minimumCounter);
    const state = this.readState();
    const slot = inactiveSlot(state);
    invariant(state.slots[slot] === null, 'commit follows openInactive');
    this.finishModel(slot, contents.size);
    const counterFloor = Math.max(state.counterFloor, minimumCounter);
    const trial = onTrial && this.previousOf(slot, state) ? { boots: 0 } : undefined;
    this.activate({ ...withSlot(state, slot, contents), active: slot, counterFloor, trial }, slot);
  }

  rollback(): void {
    const state = this.readState();
    if (this.previous() === null || state.active === null) {
      throw new IoError(`there is no previous model to go back to in ${this.folder}`);
    }
    const slot = otherSlot(state.active);
    this.activate({ ...state, active: slot, trial: undefined }, slot);
  }

  /**
   * Gives the space of the previous model back. There is no way back to it then, not even for a person. Leaves a model on trial its
   * way back, and an update that is under way its slot. Throws IoError.
   */
  dropPrevious(): void {
    const state = this.readState();
    const slot = inactiveSlot(state);
    if (state.trial === undefined && state.slots[slot] !== null) this.markWriting(state, slot);
  }

  /** How often the device has started with the active model on trial; null where it is not on trial. */
  trial(): { readonly boots: number } | null {
    return this.readState().trial ?? null;
  }

  /** To be called once a start, before the model on trial is relied on. Durable when it returns. Throws IoError. */
  countTrialBoot(): void {
    const state = this.readState();
    if (state.trial !== undefined) this.files.writeState({ ...state, trial: { boots: state.trial.boots + 1 } });
  }

  /** The active model is good: it stays, and updates may begin again. Throws IoError. */
  confirm(): void {
    const state = this.readState();
    if (state.trial !== undefined) this.files.writeState({ ...state, trial: undefined });
  }

  /** Puts a factory model, a path or bytes, into slot a of a device that has none. Atomic. Throws IoError. */
  install(model: string | Uint8Array, counter = 0): SlotContents {
    const state = this.readState();
    if (state.active !== null) throw new IoError(`there is already an active model in ${this.folder}`);
    const file = typeof model === 'string' ? new FileSource(model) : null;
    try {
      const contents = this.writeModel(file ?? new MemorySource(model as Uint8Array), counter);
      requireContents(contents, 0);
      this.activate({ ...withSlot(state, 'a', contents), active: 'a' }, 'a');
      return contents;
    } finally {
      file?.close();
    }
  }

  /** Closes every file and releases the lock; changes nothing else. May be called again. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    try {
      for (const source of this.sources) source.close();
      this.writer?.close();
      this.journalFile?.close();
    } finally {
      this.lock?.release();
    }
  }

  private recover(): void {
    const names = this.files.list();
    this.files.removeLeftOvers();
    if (!names.includes('state.json')) this.createState(names[0]);
    const state = this.readState();
    if (state.active !== null && !this.files.isWhole(state, state.active)) {
      const path = this.files.modelPath(state.active);
      const length = this.files.lengthOf(path);
      const size = contentsOf(state, state.active)?.size;
      throw new IoError(`the active model is not whole: expected ${size} bytes, got ${length ?? 'no file'}: ${path}`);
    }
    this.files.repairCurrent(state);
    for (const slot of ['a', 'b'] as const) {
      // A journal vouches for bytes of a slot that is being written: not for a whole one, nor for a file that is gone.
      const isBeingWritten = state.slots[slot] === null && this.files.lengthOf(this.files.modelPath(slot)) !== null;
      if (!isBeingWritten) removeFile(this.files.journalPath(slot));
    }
  }

  /** Written before any model, so that slot files without it mean damage and not a crash during the first install. */
  private createState(orphan: string | undefined): void {
    if (orphan !== undefined) throw new IoError(`${this.files.statePath} is missing, but ${orphan} is there`);
    this.files.writeState(EMPTY_STATE);
  }

  /** Whether there is a whole model beside `slot`. */
  private previousOf(slot: SlotName, state: SlotState): boolean {
    const kept = otherSlot(slot);
    return contentsOf(state, kept) !== null && this.files.isWhole(state, kept);
  }

  /** Syncing a new file does not make its name durable: after a power cut a journal could otherwise speak of a missing slot. */
  private openFlash(path: string, options: FileFlashOptions): FileFlash {
    const isNew = this.files.lengthOf(path) === null;
    const flash = FileFlash.open(path, options);
    if (isNew) syncFolder(this.folder);
    return flash;
  }

  /** The order matters: a crash in between leaves a slot without a file, which `previous` does not report, never a half one. */
  private markWriting(state: SlotState, slot: SlotName): void {
    removeFile(this.files.modelPath(slot));
    this.files.writeState(withSlot(state, slot, null));
  }

  /** The model and its name must be durable before state.json says that they are there. */
  private finishModel(slot: SlotName, size: number): void {
    const path = this.files.modelPath(slot);
    const length = this.files.lengthOf(path);
    if (length === null || length < size)
      throw new IoError(`expected ${size} bytes, got ${length ?? 'no file'}: ${path}`);
    const file = this.writer ?? FileFlash.open(path, { size, erase: 'lazy' });
    this.writer = null;
    try {
      file.truncate(size);
      file.sync();
    } finally {
      file.close();
    }
    syncFolder(this.folder);
  }

  private writeModel(source: ByteSource, counter: number): SlotContents {
    const hash = createHash('sha256');
    const chunk = new Uint8Array(COPY_BYTES);
    const copy = (fd: number, path: string): void => {
      for (let offset = 0; offset < source.size; ) {
        const part = chunk.subarray(0, Math.min(chunk.length, source.size - offset));
        source.read(offset, part);
        hash.update(part);
        writeFully(fd, path, offset, part);
        offset += part.length;
      }
    };
    withTempOutput(this.files.modelPath('a'), (output) => copy(output.fd, output.tempPath), 0o644);
    return { size: source.size, sha256: new Uint8Array(hash.digest()), counter };
  }

  private activate(state: SlotState, slot: SlotName): void {
    this.files.writeState(state);
    this.files.switchCurrent(slot);
    this.dropJournal(slot);
  }

  /** A journal whose slot is whole has served; left there, it would speak of that slot again when it is next written. */
  private dropJournal(slot: SlotName): void {
    this.journalFile?.close();
    this.journalFile = null;
    removeFile(this.files.journalPath(slot));
  }

  /** Read anew each time: another thread of this process may have committed. */
  private readState(): SlotState {
    invariant(!this.closed, `${this.folder} is used while open`);
    return this.files.readState();
  }
}

/** Numbers that state.json could not hold are a bug of the caller and must not get into it. */
function requireContents(contents: SlotContents, minimumCounter: number): void {
  for (const value of [contents.size, contents.counter, minimumCounter]) {
    invariant(Number.isSafeInteger(value) && value >= 0, `sizes and counters are non-negative integers, got ${value}`);
  }
  invariant(contents.sha256.length === 32, `a SHA-256 has 32 bytes, got ${contents.sha256.length}`);
}
