/** Positional reads and writes that are whole or fail: one system call may move fewer bytes than it was asked to. */
import { readSync, writeSync } from 'node:fs';
import { attempt } from './io-error.js';

/** Node refuses lengths of 2^31 and more in one call. */
const MAX_CALL_BYTES = 1 << 30;

/** Fills `into` from `position` as far as the file reaches; the count of bytes read. Throws IoError. */
export function readFully(fd: number, path: string, position: number, into: Uint8Array): number {
  let done = 0;
  while (done < into.length) {
    const length = Math.min(into.length - done, MAX_CALL_BYTES);
    const count = attempt(`cannot read ${path}`, () => readSync(fd, into, done, length, position + done));
    if (count === 0) break;
    done += count;
  }
  return done;
}

/** Writes all of `bytes` at `position`. Throws IoError, after which any part of them may be in the file. */
export function writeFully(fd: number, path: string, position: number, bytes: Uint8Array): void {
  let done = 0;
  while (done < bytes.length) {
    const length = Math.min(bytes.length - done, MAX_CALL_BYTES);
    done += attempt(`cannot write ${path}`, () => writeSync(fd, bytes, done, length, position + done));
  }
}
