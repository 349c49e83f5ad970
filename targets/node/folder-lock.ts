/**
 * One process at a time in a folder. Node has no flock, so the lock is a symbolic link whose text says who holds it: process
 * id, when that process started, in which boot and in which pid namespace. A link appears with its text or not at all, and
 * can be made on a disk that is full: an agent must be able to start where its own half-written model filled it.
 *
 * A holder that was killed or lost power leaves the link behind; the start time tells it from a living process that got the
 * same id later. A process of another pid namespace (two containers on one volume) cannot be looked up: a holder in a
 * container touches its link every few seconds, and one that was not touched for a while is dead.
 */
import { lstatSync, lutimesSync, readFileSync, readlinkSync, renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { IoError } from '../../core/errors.js';
import { removeFile, tempNameFor } from './atomic-file.js';
import { attempt, isSystemError } from './io-error.js';

const LOCK_NAME = 'lock';
const HEARTBEAT_MS = 5_000;
/** Longer than any pause of a main thread that is not dead, and as long as a container that was killed may have to wait. */
const SILENCE_MS = 30_000;
/** Inode of the first pid namespace (PROC_PID_INIT_INO of Linux): not a container. */
const HOST_NAMESPACE = '4026531836';

/** A living process holds the lock. */
export class FolderBusy extends IoError {}

export class FolderLock {
  private readonly path: string;
  private readonly identity: string;
  private readonly heartbeat: NodeJS.Timeout | null;
  private held = true;

  private constructor(path: string, identity: string) {
    this.path = path;
    this.identity = identity;
    // On a plain host nobody needs it, and it would wear the flash.
    const isContained = namespaceOf(identity) !== HOST_NAMESPACE && namespaceOf(identity) !== '';
    this.heartbeat = isContained ? setInterval(() => touch(path), HEARTBEAT_MS).unref() : null;
  }

  /** Throws FolderBusy when a living process, this one included, holds the lock; IoError when it cannot be made. */
  static acquire(folder: string): FolderLock {
    const path = join(folder, LOCK_NAME);
    const identity = ownIdentity();
    if (!tryLink(identity, path)) {
      dropStale(folder, path);
      if (!tryLink(identity, path)) throw busy(folder, path);
    }
    return new FolderLock(path, identity);
  }

  /** Whether this process holds the lock, perhaps in another of its threads. */
  static isOurs(folder: string): boolean {
    return readHolder(join(folder, LOCK_NAME)) === ownIdentity();
  }

  /** May be called again. */
  release(): void {
    if (!this.held) return;
    this.held = false;
    if (this.heartbeat !== null) clearInterval(this.heartbeat);
    if (readHolder(this.path) === this.identity) removeFile(this.path);
  }
}

function tryLink(holder: string, path: string): boolean {
  try {
    symlinkSync(holder, path);
    return true;
  } catch (error) {
    if (isSystemError(error, 'EEXIST')) return false;
    return attempt(`cannot lock ${path}`, () => {
      throw error;
    });
  }
}

/** Moves a dead holder's link away. Two that try at once: the rename gives the link to one; the other finds it gone. */
function dropStale(folder: string, path: string): void {
  const holder = readHolder(path);
  if (holder !== null && isAlive(holder, path)) throw busy(folder, path);
  const aside = tempNameFor(path);
  try {
    renameSync(path, aside);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return;
    attempt(`cannot lock ${folder}`, () => {
      throw error;
    });
  }
  // Between our look and our rename another process may have replaced the dead lock by its own: hand that back.
  const moved = readHolder(aside);
  if (moved !== null && isAlive(moved, aside)) tryLink(moved, path);
  removeFile(aside);
}

function busy(folder: string, path: string): FolderBusy {
  return new FolderBusy(`${folder} is in use by process ${readHolder(path)?.split(' ')[0] ?? 'unknown'} (${path})`);
}

/** null when there is no lock, or none that a living process can have made. */
function readHolder(path: string): string | null {
  try {
    const text = readlinkSync(path);
    return /^\d+( \d+ [0-9a-f]+ \d*)?$/.test(text) ? text : null;
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'EINVAL')) return null;
    return attempt(`cannot read ${path}`, () => {
      throw error;
    });
  }
}

function isAlive(holder: string, path: string): boolean {
  const [pid, , boot] = holder.split(' ');
  const self = ownIdentity();
  if (namespaceOf(holder) !== namespaceOf(self)) {
    if (boot !== self.split(' ')[2]) return false;
    // What runs on the host beside this container leaves no sign of life here.
    return namespaceOf(holder) === HOST_NAMESPACE || wasTouched(path);
  }
  const now = identityOf(Number(pid));
  if (now !== null || hasProc()) return now === holder;
  try {
    process.kill(Number(pid), 0);
    return true;
  } catch (error) {
    return isSystemError(error, 'EPERM');
  }
}

function wasTouched(path: string): boolean {
  const stats = attempt(`cannot look at ${path}`, () => lstatSync(path, { throwIfNoEntry: false }));
  return stats !== undefined && Date.now() - stats.mtimeMs < SILENCE_MS;
}

/** A folder that is gone or read-only ends in errors elsewhere; there is nobody here to tell. */
function touch(path: string): void {
  try {
    const now = new Date();
    lutimesSync(path, now, now);
  } catch (error) {
    if (!isSystemError(error)) throw error;
  }
}

function ownIdentity(): string {
  return identityOf(process.pid) ?? `${process.pid}`;
}

/** Empty where the platform has none. */
function namespaceOf(identity: string): string {
  return identity.split(' ')[3] ?? '';
}

/**
 * "pid startTicks boot namespace" of a running process of this namespace on Linux; null if it does not run or the platform
 * does not say. Short enough for ext4 to keep it in the inode (60 bytes), hence the cut of the boot id.
 */
function identityOf(pid: number): string | null {
  const stat = readIfThere(`/proc/${pid}/stat`);
  const boot = readIfThere('/proc/sys/kernel/random/boot_id');
  if (stat === null || boot === null) return null;
  // proc(5): the name in parentheses may hold anything; behind it come field 3, the state, and so on to 22, the start time.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const dead = fields[0] === 'Z' || fields[0] === 'X';
  if (dead || fields[19] === undefined) return null;
  return `${pid} ${fields[19]} ${boot.replaceAll('-', '').slice(0, 12)} ${ownNamespace()}`;
}

/** "pid:[4026531836]" gives 4026531836. */
function ownNamespace(): string {
  try {
    return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '';
  } catch (error) {
    if (isSystemError(error)) return '';
    throw error;
  }
}

function hasProc(): boolean {
  return identityOf(process.pid) !== null;
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (isSystemError(error)) return null;
    throw error;
  }
}
