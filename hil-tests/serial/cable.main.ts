/**
 * The cable between a gateway's serial port and a device, as a process of its own: a PTY made by socat on one side, the device's TCP
 * line on the other. Counts the bytes, holds them to a speed, and is pulled and plugged in by its parent.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, existsSync, openSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export type CableRequest = 'count' | 'pull' | 'plug' | 'end';
export interface CableReport {
  readonly toDevice: number;
  readonly toGateway: number;
}

const TICK_MS = 2;
const [ptyPath, devicePort, baudText] = process.argv.slice(2) as [string, string, string];
/** 0 for as fast as it goes. */
const bytesPerMs = Number(baudText) / 10_000;
let toDevice = 0;
let toGateway = 0;
let plugged: { socat: ChildProcess; held: number; gateway: Socket; device: Socket } | null = null;

process.on('message', (request: CableRequest) => void answer(request));
process.on('disconnect', () => void answer('end'));
await plug();
report();

async function answer(request: CableRequest): Promise<void> {
  if (request === 'pull' || request === 'end') await pull();
  if (request === 'plug') await plug();
  if (request === 'end') process.exit();
  report();
}

function report(): void {
  process.send?.({ toDevice, toGateway } satisfies CableReport);
}

async function plug(): Promise<void> {
  const server = createServer();
  const path = `${ptyPath}.sock`;
  server.listen(path);
  await once(server, 'listening');
  const socat = spawn('socat', [`PTY,link=${ptyPath},rawer`, `UNIX-CONNECT:${path}`], { stdio: 'ignore' });
  const [gateway] = (await once(server, 'connection')) as [Socket];
  server.close();
  const device = connect({ port: Number(devicePort), host: '127.0.0.1', noDelay: true });
  await once(device, 'connect');
  while (!existsSync(ptyPath)) await sleep(5);
  // Held open: socat ends when nobody has the PTY any more.
  const held = openSync(ptyPath, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
  for (const socket of [gateway, device]) socket.on('error', () => socket.destroy());
  carry(gateway, device, (count) => {
    toDevice += count;
  });
  carry(device, gateway, (count) => {
    toGateway += count;
  });
  // A device that restarts closes its end; the adapter on the gateway's side does not notice.
  device.on('close', () => void reconnect());
  plugged = { socat, held, gateway, device };
}

async function reconnect(): Promise<void> {
  while (plugged !== null) {
    await sleep(50);
    const device = connect({ port: Number(devicePort), host: '127.0.0.1', noDelay: true });
    const up = await new Promise<boolean>((resolve) => {
      device.once('connect', () => resolve(true));
      device.once('error', () => resolve(false));
    });
    if (!up || plugged === null) {
      device.destroy();
      continue;
    }
    const { gateway } = plugged;
    gateway.removeAllListeners('data');
    device.on('error', () => device.destroy());
    carry(gateway, device, (count) => {
      toDevice += count;
    });
    carry(device, gateway, (count) => {
      toGateway += count;
    });
    device.on('close', () => void reconnect());
    plugged = { ...plugged, device };
    return;
  }
}

async function pull(): Promise<void> {
  if (plugged === null) return;
  const { socat, held, gateway, device } = plugged;
  plugged = null;
  const exit = once(socat, 'exit');
  socat.kill('SIGKILL');
  await exit;
  closeSync(held);
  gateway.destroy();
  device.destroy();
  rmSync(ptyPath, { force: true });
}

/** At the line's speed, counted where it leaves the cable. */
function carry(from: Socket, to: Socket, count: (bytes: number) => void): void {
  if (bytesPerMs === 0) {
    from.on('data', (bytes) => {
      count(bytes.length);
      to.write(bytes);
    });
    return;
  }
  let waiting: Buffer = Buffer.alloc(0);
  let credit = 0;
  let at = performance.now();
  from.on('data', (bytes: Buffer) => {
    waiting = Buffer.concat([waiting, bytes]);
  });
  const timer = setInterval(() => {
    const now = performance.now();
    // An idle line saves nothing up.
    credit = waiting.length === 0 ? 0 : credit + (now - at) * bytesPerMs;
    at = now;
    const piece = waiting.subarray(0, Math.floor(credit));
    if (piece.length === 0) return;
    credit -= piece.length;
    waiting = waiting.subarray(piece.length);
    count(piece.length);
    to.write(piece);
  }, TICK_MS);
  to.on('close', () => clearInterval(timer));
}
