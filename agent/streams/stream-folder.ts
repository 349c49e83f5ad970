/**
 * The files that a stream server has: those that lie in one folder, by their names. What the network asks for is looked up among
 * the names that were listed, and never becomes a path otherwise.
 */
import { createHash } from 'node:crypto';
import { constants, readdirSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { IoError } from '../../core/errors.js';
import { messageOf } from '../message-of.js';
import { type BlockRequest, type RejectionCode, STREAM_ID, TAG_BYTES } from './stream-messages.js';

export type ReadBlock =
  | { readonly kind: 'block'; readonly tag: Uint8Array; readonly bytes: Uint8Array }
  | { readonly kind: 'rejected'; readonly code: RejectionCode };

/** A name may have become something else since it was listed: a link is not followed, a pipe not waited for. */
const OPEN_FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);

export class StreamFolder {
  private readonly folder: string;
  private names: ReadonlySet<string> = new Set();

  /** @throws IoError where the folder cannot be read. */
  constructor(folder: string) {
    this.folder = folder;
    this.list();
  }

  get size(): number {
    return this.names.size;
  }

  /** Takes up what was put in and taken out. @throws IoError */
  list(): void {
    try {
      const entries = readdirSync(this.folder, { withFileTypes: true });
      this.names = new Set(
        entries.filter((entry) => entry.isFile() && STREAM_ID.test(entry.name)).map(({ name }) => name),
      );
    } catch (cause) {
      throw new IoError(`cannot list ${this.folder}: ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  async read(id: string, request: BlockRequest): Promise<ReadBlock> {
    if (!this.names.has(id)) return { kind: 'rejected', code: 'NotFound' };
    let file: FileHandle;
    try {
      file = await open(join(this.folder, id), OPEN_FLAGS);
    } catch (error) {
      const isGone = error instanceof Error && 'code' in error && error.code === 'ENOENT';
      return { kind: 'rejected', code: isGone ? 'NotFound' : 'ReadFailed' };
    }
    try {
      return await readPart(file, request);
    } catch {
      return { kind: 'rejected', code: 'ReadFailed' };
    } finally {
      await file.close();
    }
  }
}

async function readPart(file: FileHandle, { offset, length }: BlockRequest): Promise<ReadBlock> {
  const stat = await file.stat();
  if (!stat.isFile()) return { kind: 'rejected', code: 'NotFound' };
  if (offset + length > stat.size) return { kind: 'rejected', code: 'OutOfRange' };
  const bytes = new Uint8Array(length);
  for (let filled = 0; filled < length; ) {
    const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0) return { kind: 'rejected', code: 'ReadFailed' };
    filled += bytesRead;
  }
  // As web servers make their ETags: the same from every server that has this copy.
  const tag = createHash('sha256').update(`${stat.size}:${stat.mtimeMs}`).digest().subarray(0, TAG_BYTES);
  return { kind: 'block', tag, bytes };
}
