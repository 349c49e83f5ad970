/** QEMU's sockets, and its control protocol QMP on one of them. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** On a loaded machine QEMU takes seconds. */
const CONNECT_TRIES = 3000;

/** Waits until QEMU has opened a Unix socket. @throws when it ends first */
export async function openSocket(path: string, child: ChildProcess): Promise<Socket> {
  for (let tries = 0; tries < CONNECT_TRIES; tries++) {
    if (child.exitCode !== null) throw new Error(`QEMU ended with ${child.exitCode}`);
    if (existsSync(path)) {
      const socket = connect(path);
      try {
        await once(socket, 'connect');
        return socket;
      } catch {
        socket.destroy();
      }
    }
    await sleep(10);
  }
  throw new Error(`QEMU did not open ${path}`);
}

/** Settles once a QMP command is answered. @throws when the answer is an error */
export async function tell(control: Socket, execute: string, args: object = {}): Promise<void> {
  const answered = new Promise<void>((resolve, reject) => {
    let text = '';
    const take = (data: Buffer): void => {
      text += data.toString('utf8');
      if (!/"(return|error)"/.test(text)) return;
      control.off('data', take);
      if (text.includes('"error"')) reject(new Error(`QMP ${execute}: ${text}`));
      else resolve();
    };
    control.on('data', take);
  });
  control.write(`${JSON.stringify({ execute, arguments: args })}\n`);
  await answered;
}
