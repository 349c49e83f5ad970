/** Reads a small file a command was given, whole. */
import { open } from 'node:fs/promises';
import { IoError } from '../../core/errors.js';
import { messageOf } from '../message-of.js';

const MAX_PEM_BYTES = 1 << 20;

/** Of an option that may be left out. @throws IoError */
export async function pem(path: string | undefined): Promise<Uint8Array | undefined> {
  return path === undefined ? undefined : await readSmallFile(path, MAX_PEM_BYTES);
}

/** @throws IoError, also for a file of more than `mostBytes`: a device or a wrong name must not fill the memory */
export async function readSmallFile(path: string, mostBytes: number): Promise<Uint8Array> {
  try {
    const file = await open(path, 'r');
    try {
      const buffer = new Uint8Array(mostBytes + 1);
      let filled = 0;
      while (filled < buffer.length) {
        const { bytesRead } = await file.read(buffer, filled, buffer.length - filled);
        if (bytesRead === 0) return buffer.slice(0, filled);
        filled += bytesRead;
      }
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new IoError(`cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
  throw new IoError(`cannot read ${path}: expected at most ${mostBytes} bytes`);
}
