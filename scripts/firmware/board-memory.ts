/** Runs a firmware on the emulated board until it says that it is done, and takes what its RAM holds then. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSocket, tell } from '../../hil-tests/board/qemu-socket.js';

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
    const qmp = await openSocket(socketPath, child);
    await tell(qmp, 'qmp_capabilities');
    await tell(qmp, 'pmemsave', { val: 0, size: length, filename: image });
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
