/**
 * One process at a time in a folder. Node has no flock, so the lock is a file that says who holds it: process id, when that
 * process started and in which boot. A holder that was killed or lost power leaves the file behind; the start time tells it
 * from a living process that got the same id later, which after a reboot, or as process 1 of a container, is the rule.
 * Processes that cannot see each other (two containers on one volume) cannot tell and must be kept apart by their owner.
 */
import { linkSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { IoError } from '../../core/errors.js';
import { removeFile, tempNameFor } from './atomic-file.js';
import { attempt, isSystemError } from './io-error.js';

const LOCK_NAME = 'lock';

export class FolderLock {
  private readonly path: string;
  private readonly identity: string;
  private held = true;

  private constructor(path: string, identity: string) {
    this.path = path;
    this.identity = identity;
  }

  /** Throws IoError when a living process, this one included, holds the lock. */
  static acquire(folder: string): FolderLock {
    const path = join(folder, LOCK_NAME);
    const identity = identityOf(process.pid) ?? `${process.pid}`;
    const temp = tempNameFor(path);
    attempt(`cannot lock ${folder}`, () => writeFileSync(temp, `${identity}\n`, { flag: 'wx' }));
    try {
      // A link appears with its content or not at all: nobody can read a half-written lock of a living process.
      if (!tryLink(temp, path)) {
        dropStale(folder, path);
        if (!tryLink(temp, path)) throw busy(folder, path);
      }
    } finally {
      removeFile(temp);
    }
    return new FolderLock(path, identity);
  }

  /** Whether this process holds the lock, perhaps in another of its threads. */
  static isOurs(folder: string): boolean {
    return readHolder(join(folder, LOCK_NAME)) === (identityOf(process.pid) ?? `${process.pid}`);
  }

  /** May be called again. */
  release(): void {
    if (!this.held) return;
    this.held = false;
    if (readHolder(this.path) === this.identity) removeFile(this.path);
  }
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (isSystemError(error, 'EEXIST')) return false;
    return attempt(`cannot lock ${to}`, () => {
      throw error;
    });
  }
}

/** Moves a dead holder's file away. Two that try at once: the rename gives the file to one; the other finds it gone. */
function dropStale(folder: string, path: string): void {
  const holder = readHolder(path);
  if (holder !== null && isAlive(holder)) throw busy(folder, path);
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
  if (moved !== null && isAlive(moved)) tryLink(aside, path);
  removeFile(aside);
}

function busy(folder: string, path: string): IoError {
  return new IoError(`${folder} is in use by process ${readHolder(path)?.split(' ')[0] ?? 'unknown'} (${path})`);
}

/** null when there is no lock, or none that a living process can have written. */
function readHolder(path: string): string | null {
  try {
    const text = readFileSync(path, 'utf8').trim();
    return /^\d+( \d+ [0-9a-f-]*)?$/.test(text) ? text : null;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return null;
    return attempt(`cannot read ${path}`, () => {
      throw error;
    });
  }
}

function isAlive(holder: string): boolean {
  const pid = Number(holder.split(' ')[0]);
  const now = identityOf(pid);
  if (now !== null || hasProc()) return now === holder;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isSystemError(error, 'EPERM');
  }
}

/** "pid startTicks bootId" of a running process on Linux; null if it does not run or the platform does not say. */
function identityOf(pid: number): string | null {
  const stat = readIfThere(`/proc/${pid}/stat`);
  const boot = readIfThere('/proc/sys/kernel/random/boot_id');
  if (stat === null || boot === null) return null;
  // proc(5): the name in parentheses may hold anything; behind it come field 3, the state, and so on to 22, the start time.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const dead = fields[0] === 'Z' || fields[0] === 'X';
  return dead || fields[19] === undefined ? null : `${pid} ${fields[19]} ${boot.trim()}`;
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
