/** Runs a firmware on the emulated board until it says that it is done, and takes what its RAM holds then. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const TRIES = 200;

/** @returns the board's memory from address 0 on. @throws when the firmware says anything but `done` first */
export async function memoryAfter(firmware: string, done: string, length: number): Promise<Uint8Array> {
  const folder = mkdtempSync(join(tmpdir(), 'mallorn-freeze-'));
  const socketPath = join(folder, 'qmp');
  const image = join(folder, 'memory');
  const child = spawn(
    'qemu-system-arm',
    [
      ...['-M', 'ast1030-evb', '-kernel', firmware, '-display', 'none', '-monitor', 'none', '-nodefaults'],
      ...['-serial', 'stdio', '-qmp', `unix:${socketPath},server=on,wait=off`],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  try {
    const said = await firstLine(child.stdout);
    if (said !== done) throw new Error(`expected the firmware to say ${done}, got ${said}`);
    const qmp = await open(socketPath);
    for (const command of [
      { execute: 'qmp_capabilities' },
      { execute: 'pmemsave', arguments: { val: 0, size: length, filename: image } },
    ]) {
      qmp.write(`${JSON.stringify(command)}\n`);
      await answered(qmp);
    }
    qmp.destroy();
    return new Uint8Array(readFileSync(image));
  } finally {
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
    rmSync(folder, { recursive: true });
  }
}

async function firstLine(output: NodeJS.ReadableStream): Promise<string> {
  let text = '';
  for await (const data of output) {
    text += String(data);
    const [line, rest] = text.split('\n');
    if (rest !== undefined) return line!;
  }
  return text;
}

async function open(path: string): Promise<import('node:net').Socket> {
  for (let tries = 0; ; tries++) {
    const socket = connect(path);
    try {
      await once(socket, 'connect');
      return socket;
    } catch (error) {
      socket.destroy();
      if (tries === TRIES) throw error;
      await sleep(10);
    }
  }
}

async function answered(socket: NodeJS.ReadableStream): Promise<void> {
  let text = '';
  while (!/"(return|error)"/.test(text)) text += String((await once(socket as never, 'data'))[0]);
  if (text.includes('"error"')) throw new Error(`QMP: ${text}`);
}
