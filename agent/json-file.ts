/**
 * A small JSON value on disk that is always whole: written beside its place, synced, renamed over it, and the folder
 * synced so that the rename itself survives a power cut.
 */
import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { IoError } from '../core/errors.js';
import { makeFolder } from './make-folder.js';
import { messageOf } from './message-of.js';

/** What the runtime needs of a place to remember things. */
export interface StateFile {
  /** Undefined when nothing was saved yet, or what was saved is not readable. */
  load(): Promise<unknown>;
  save(value: unknown): Promise<void>;
}

export class JsonFile implements StateFile {
  private readonly path: string;
  private readonly mode: number;

  /** `mode` is for other programs that read it too. */
  constructor(path: string, mode = 0o600) {
    this.path = path;
    this.mode = mode;
  }

  /** @throws IoError when the file exists and the medium fails; a damaged file counts as absent. */
  async load(): Promise<unknown> {
    let text: string;
    try {
      text = await readFile(this.path, 'utf8');
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw new IoError(`cannot read ${this.path}: ${messageOf(cause)}`, { cause });
    }
    try {
      return JSON.parse(text);
    } catch {
      // Written by us and renamed whole, so only a failing medium leads here. All of it can be learnt again.
      return undefined;
    }
  }

  /** @throws IoError */
  async save(value: unknown): Promise<void> {
    try {
      await this.replace(value);
    } catch (cause) {
      throw new IoError(`cannot save ${this.path}: ${messageOf(cause)}`, { cause });
    }
  }

  private async replace(value: unknown): Promise<void> {
    const folder = dirname(this.path);
    await makeFolder(folder);
    // One writer per file: the runtime saves one state after another.
    const temporary = `${this.path}.new`;
    const file = await open(temporary, 'w', this.mode);
    try {
      await file.writeFile(JSON.stringify(value));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, this.path);
    await syncFolder(folder);
  }
}

async function syncFolder(folder: string): Promise<void> {
  // Windows cannot open a folder to sync it; there the rename is as durable as it gets.
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
