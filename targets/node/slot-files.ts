/**
 * The files of a slot directory, one at a time: where they lie, what may lie there, and how state.json and `current` are
 * replaced. In which order the files change is for slot-directory.ts.
 */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statfsSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { IoError } from '../../core/errors.js';
import { nameOfTemp, removeFile, syncFolder, tempNameFor, writeFileAtomic } from './atomic-file.js';
import { attempt } from './io-error.js';
import { contentsOf, formatState, parseState, type SlotName, type SlotState } from './slot-state.js';

const STATE_NAME = 'state.json';
const CURRENT_NAME = 'current';
const OWN_FILES: readonly string[] = [STATE_NAME, 'a.model', 'b.model', 'a.journal', 'b.journal'];
const MAX_STATE_BYTES = 64 << 10;
/** Beside the model: its journal, a new state.json, and the file system's own records. */
const SPARE_BYTES = 256 << 10;
/** Unit of `blocks` in stat(2), whatever the file system's own. */
const STAT_BLOCK_BYTES = 512;

export class SlotFiles {
  readonly folder: string;
  readonly statePath: string;
  readonly currentPath: string;

  constructor(folder: string) {
    this.folder = folder;
    this.statePath = join(folder, STATE_NAME);
    this.currentPath = join(folder, CURRENT_NAME);
  }

  modelPath(slot: SlotName): string {
    return join(this.folder, `${slot}.model`);
  }

  journalPath(slot: SlotName): string {
    return join(this.folder, `${slot}.journal`);
  }

  /** File names of the store that are there. Throws IoError when something else but a regular file has one of them. */
  list(): string[] {
    const names = attempt(`cannot read ${this.folder}`, () => readdirSync(this.folder));
    const own = names.filter((name) => OWN_FILES.includes(name));
    for (const name of own) this.lengthOf(join(this.folder, name));
    return names.includes(CURRENT_NAME) ? [...own, CURRENT_NAME] : own;
  }

  /** Bytes, or null where there is no file. Throws IoError for anything but a regular file. */
  lengthOf(path: string): number | null {
    const stats = lstat(path);
    if (stats === undefined) return null;
    if (!stats.isFile()) throw new IoError(`expected a regular file: ${path}`);
    return stats.size;
  }

  /** Whether the slot's file is as long as state.json says. */
  isWhole(state: SlotState, slot: SlotName): boolean {
    return this.lengthOf(this.modelPath(slot)) === contentsOf(state, slot)?.size;
  }

  /** Throws IoError when state.json is missing or damaged. */
  readState(): SlotState {
    const path = this.statePath;
    const length = this.lengthOf(path);
    if (length === null) throw new IoError(`${path} is missing`);
    if (length > MAX_STATE_BYTES) throw new IoError(`${path} is damaged: expected at most ${MAX_STATE_BYTES} bytes`);
    return parseState(
      attempt(`cannot read ${path}`, () => readFileSync(path, 'utf8')),
      path,
    );
  }

  /**
   * Throws IoError where the file system cannot hold `slot` with `size` bytes: before the kept model is given up for one that
   * will not fit, and before a disk that others write to as well is filled to its end. `minFreeBytes` stay free for these others.
   */
  requireRoom(slot: SlotName, size: number, minFreeBytes: number): void {
    const { bavail, bsize, blocks } = attempt(`cannot look at ${this.folder}`, () => statfsSync(this.folder));
    // Some network and FUSE file systems do not say.
    if (blocks === 0) return;
    const kept = lstat(this.modelPath(slot));
    const room = bavail * bsize + (kept?.blocks ?? 0) * STAT_BLOCK_BYTES;
    const expected = size + Math.max(SPARE_BYTES, minFreeBytes);
    if (room >= expected) return;
    const reserve = minFreeBytes > SPARE_BYTES ? ` (${minFreeBytes} of them to stay free)` : '';
    throw new IoError(
      `no space left for the new model: expected ${expected} bytes${reserve}, got ${room}: ${this.folder}`,
    );
  }

  writeState(state: SlotState): void {
    writeFileAtomic(this.statePath, new TextEncoder().encode(formatState(state)), 0o644);
  }

  /** A link cannot be changed, but one made under another name can be renamed over it: there is no moment without `current`. */
  switchCurrent(slot: SlotName): void {
    const temp = tempNameFor(this.currentPath);
    attempt(`cannot switch ${this.currentPath}`, () => {
      symlinkSync(`${slot}.model`, temp);
      renameSync(temp, this.currentPath);
    });
    syncFolder(this.folder);
  }

  /** Lets `current` follow state.json. Throws IoError when `current` is not a link: then it is somebody else's. */
  repairCurrent(state: SlotState): void {
    const stats = lstat(this.currentPath);
    if (stats !== undefined && !stats.isSymbolicLink()) {
      throw new IoError(`expected a symbolic link at ${this.currentPath}`);
    }
    if (state.active === null) removeFile(this.currentPath);
    else if (stats === undefined || readlinkSync(this.currentPath) !== `${state.active}.model`) {
      this.switchCurrent(state.active);
    }
  }

  /** Temporary files of a killed process. Not those of the lock: another process may just be about to take it. */
  removeLeftOvers(): void {
    for (const name of attempt(`cannot read ${this.folder}`, () => readdirSync(this.folder))) {
      const intended = nameOfTemp(name);
      if (intended === CURRENT_NAME || (intended !== null && OWN_FILES.includes(intended))) {
        removeFile(join(this.folder, name));
      }
    }
  }
}

/** Throws IoError. Durable, so that a power cut cannot turn a device with a model into a new one. */
export function createFolder(folder: string): void {
  const first = attempt(`cannot create ${folder}`, () => makeFolders(folder));
  if (first === null) return;
  syncFolder(dirname(first));
  syncFolder(dirname(folder));
}

/** The outermost folder that was made, or null. Node's own recursive mkdir never ends where nothing can be made, as in /proc. */
function makeFolders(folder: string): string | null {
  if (existsSync(folder)) return null;
  const outermost = makeFolders(dirname(folder));
  mkdirSync(folder);
  return outermost ?? folder;
}

function lstat(path: string) {
  return attempt(`cannot look at ${path}`, () => lstatSync(path, { throwIfNoEntry: false }));
}
