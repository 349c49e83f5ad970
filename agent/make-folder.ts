/** Folders on the way to where something is to be written. */
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { IoError } from '../core/errors.js';
import { messageOf } from './message-of.js';

/** @throws IoError */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await make(folder);
  } catch (cause) {
    throw new IoError(`cannot make ${folder}: ${messageOf(cause)}`, { cause });
  }
}

/** Node's own recursive mkdir never ends where nothing can be made, as in /proc. */
async function make(folder: string): Promise<void> {
  if (await exists(folder)) return;
  await make(dirname(folder));
  try {
    await mkdir(folder);
  } catch (error) {
    if (!isCode(error, 'EEXIST')) throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error;
    return false;
  }
}

function isCode(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException).code === code;
}
