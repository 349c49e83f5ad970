/**
 * Files that appear whole or not at all: written beside their place under a temporary name, synced, renamed over it, and the
 * folder synced so that the rename survives a power cut. Reasons for the order: https://lwn.net/Articles/457667/
 */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, fsyncSync, openSync, renameSync, statSync, unlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { IoError } from '../../core/errors.js';
import { writeFully } from './file-io.js';
import { attempt, isSystemError } from './io-error.js';

/** A name beside `path` that nobody uses; a killed process may leave a file of this shape behind. */
export function tempNameFor(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
}

/** The file name that a left-over temporary file was to get, or null for any other file name. */
export function nameOfTemp(fileName: string): string | null {
  return /^\.(.+)\.[0-9a-f]{12}\.tmp$/.exec(fileName)?.[1] ?? null;
}

/** Makes creations, renames and removals in `folder` durable. Throws IoError. */
export function syncFolder(folder: string): void {
  // Windows has no descriptor for a folder that could be synced; NTFS journals the rename itself.
  if (process.platform === 'win32') return;
  const fd = attempt(`cannot open ${folder}`, () => openSync(folder, constants.O_RDONLY));
  try {
    fsyncSync(fd);
  } catch (error) {
    // Some network and FUSE file systems have no such operation at all; there is then nothing more to be done.
    if (!isSystemError(error, 'EINVAL', 'ENOTSUP')) attempt(`cannot sync ${folder}`, () => raise(error));
  } finally {
    closeSync(fd);
  }
}

/** Throws IoError; the old file, if any, is then still there, whole. `mode` is subject to the umask. */
export function writeFileAtomic(path: string, bytes: Uint8Array, mode = 0o666): void {
  withTempOutput(path, (output) => writeFully(output.fd, output.tempPath, 0, bytes), mode);
}

/** Runs `fill` on a new temporary output, then commits it; discards it when anything throws. */
export function withTempOutput<T>(path: string, fill: (output: TempOutput) => T, mode?: number): T {
  const output = new TempOutput(path, mode);
  try {
    const result = fill(output);
    output.commit();
    return result;
  } finally {
    output.discard();
  }
}

/** A large output under way. Fill it through `fd` (a FileFlash over it may be left unclosed), then commit or discard. */
export class TempOutput {
  readonly path: string;
  /** For a caller that must clean up after a worker it has terminated. */
  readonly tempPath: string;
  /** Open for reading and writing until `commit` or `discard`. */
  readonly fd: number;
  private state: 'open' | 'closed' | 'done' = 'open';

  /** Throws IoError, also when something that is not a file lies at `path`: root could otherwise replace /dev/null. */
  constructor(path: string, mode = 0o666) {
    this.path = path;
    this.tempPath = tempNameFor(path);
    refuseSpecialFile(path);
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    this.fd = attempt(`cannot create a file beside ${path}`, () => openSync(this.tempPath, flags, mode));
  }

  /** Puts the output in its place, durably. A symbolic link at `path` is replaced, not followed. */
  commit(): void {
    attempt(`cannot sync ${this.tempPath}`, () => fsyncSync(this.fd));
    this.close();
    attempt(`cannot create ${this.path}`, () => renameSync(this.tempPath, this.path));
    this.state = 'done';
    syncFolder(dirname(this.path));
  }

  /** Removes the temporary file; nothing after a commit. Never throws over the error that led here. */
  discard(): void {
    if (this.state === 'done') return;
    if (this.state === 'open') ignoringSystemErrors(() => closeSync(this.fd));
    this.state = 'done';
    ignoringSystemErrors(() => unlinkSync(this.tempPath));
  }

  private close(): void {
    this.state = 'closed';
    attempt(`cannot close ${this.tempPath}`, () => closeSync(this.fd));
  }
}

/** Removes a file if it is there; whether it was. Throws IoError. */
export function removeFile(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false;
    return attempt(`cannot remove ${path}`, () => raise(error));
  }
}

/** The error that made us discard is the one worth reporting; these can only leave a temporary file behind. */
function ignoringSystemErrors(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!isSystemError(error)) throw error;
  }
}

function refuseSpecialFile(path: string): void {
  const stats = attempt(`cannot look at ${path}`, () => statSync(path, { throwIfNoEntry: false }));
  if (stats !== undefined && !stats.isFile()) throw new IoError(`expected a regular file or nothing at ${path}`);
}

function raise(error: unknown): never {
  throw error;
}
