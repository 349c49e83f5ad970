/** A serial port of this machine as a byte stream, without a library: `stty` sets it up, Node reads it as a terminal. */
import { execFileSync } from 'node:child_process';
import { constants, openSync, writeSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import type { ByteStream } from './smp-client.js';

const RETRY_MS = 2;

export interface TtyPort extends ByteStream {
  close(): void;
}

export function openTty(path: string, baud = 115200): TtyPort {
  execFileSync('stty', ['-F', path, String(baud), 'raw', '-echo']);
  const fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
  const stream = new ReadStream(fd);
  // The other end is gone: a test that waits for an answer says so.
  stream.on('error', () => {});
  let waiting = Buffer.alloc(0);
  const flush = (): void => {
    try {
      while (waiting.length > 0) waiting = waiting.subarray(writeSync(fd, waiting));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EAGAIN') setTimeout(flush, RETRY_MS);
      else waiting = Buffer.alloc(0);
    }
  };
  return {
    write(bytes) {
      const idle = waiting.length === 0;
      waiting = Buffer.concat([waiting, bytes]);
      if (idle) flush();
    },
    on: (event, take) => stream.on(event, take),
    close: () => stream.destroy(),
  };
}
