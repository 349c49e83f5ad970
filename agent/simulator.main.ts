/**
 * `mallorn simulate-mcu`: a microcontroller that anyone can flash with no hardware. A bundle of its own (dist/simulator.js), because
 * it carries a JavaScript engine; the device's program lies beside it. The line is a TCP port of this machine, and a PTY where
 * socat is there to make one: Node has none, and a package that has them is native code.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, existsSync, fsyncSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import wasm from '@jitl/quickjs-wasmfile-release-sync/wasm';
import { IoError } from '../core/errors.js';
import { toHex } from '../core/hex.js';
import { NodeHasher } from '../targets/node/hashing.js';
import { FLASH_BYTES, makeFlashImage } from '../targets/sim/flash-image.js';
import { SimulatedMcu } from '../targets/sim/simulated-mcu.js';
import { messageOf } from './message-of.js';

export interface SimulatorOptions {
  /** What the factory installs; absent for a device without a model. */
  readonly model?: Uint8Array;
  /** Whose patches it takes; none for the build that leaves trust to a gateway. */
  readonly keys: readonly Uint8Array[];
  /** Who may give it other keys, where it has any; absent for keys that stay. */
  readonly rootKey?: Uint8Array;
  /** Keeps the flash part's content; made where it is not there. Absent: forgotten at the end. */
  readonly flashPath?: string;
  /** Where to put the PTY; null for none. */
  readonly ptyPath: string | null;
  /** 0 for any. */
  readonly tcpPort: number;
  readonly packetBytes?: number;
  /** Above 0: room for one model only, and so many erase blocks of a scratch area. */
  readonly scratchBlocks?: number;
}

export interface RunningSimulator {
  /** null where there is no socat. */
  readonly ptyPath: string | null;
  readonly tcpUrl: string;
  /** Settles when the device does: rejects when its program failed. */
  readonly ended: Promise<void>;
  stop(): Promise<void>;
}

/** The device works for so long before the line gets a turn. */
const SLICE_MS = 4;
const IDLE_MS = 2;
const PTY_TRIES = 200;

/** @throws IoError */
export async function startSimulator(options: SimulatorOptions): Promise<RunningSimulator> {
  const { keys, flashPath, packetBytes, rootKey, scratchBlocks } = options;
  const file = flashPath === undefined ? null : openFlashFile(flashPath, options);
  let socket: Socket | null = null;
  const mcu = await SimulatedMcu.create({
    wasm,
    program: await readFile(
      new URL(keys.length > 0 ? 'mallorn.qjs.js' : 'mallorn-unsigned.qjs.js', import.meta.url),
      'utf8',
    ),
    flash: file === null ? factoryFlash(options) : file.bytes,
    hasher: new NodeHasher(),
    now: () => performance.now(),
    onSend: (bytes) => socket?.write(bytes),
    ...(file === null
      ? {}
      : { onFlash: (offset, bytes) => writeSync(file.descriptor, bytes, 0, bytes.length, offset) }),
    ...(packetBytes === undefined ? {} : { packetBytes }),
    ...(rootKey === undefined ? {} : { rootKey: toHex(rootKey) }),
    ...(scratchBlocks === undefined ? {} : { scratchBlocks }),
  });
  const server = createServer({ noDelay: true }, (found) => {
    // One line, one peer: the last one that came.
    socket?.destroy();
    socket = found;
    found.on('data', (bytes) => mcu.receive(bytes));
    found.on('error', () => found.destroy());
    found.on('close', () => {
      if (socket === found) socket = null;
    });
  });
  server.listen(options.tcpPort, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  let stopped = false;
  const running = work(mcu, () => stopped);
  running.catch(() => {});
  const pty = options.ptyPath === null ? null : await openPty(options.ptyPath, port);
  return {
    ptyPath: pty === null ? null : options.ptyPath,
    tcpUrl: `tcp://127.0.0.1:${port}`,
    ended: running,
    stop: async () => {
      stopped = true;
      await pty?.close();
      socket?.destroy();
      server.close();
      await running.catch(() => {});
      mcu.dispose();
      if (file !== null) {
        fsyncSync(file.descriptor);
        closeSync(file.descriptor);
      }
    },
  };
}

async function work(mcu: SimulatedMcu, isStopped: () => boolean): Promise<void> {
  while (!isStopped()) {
    const until = performance.now() + SLICE_MS;
    let worked = true;
    while (worked && performance.now() < until) worked = step(mcu);
    if (worked) await new Promise((resolve) => setImmediate(resolve));
    else await sleep(IDLE_MS);
  }
}

function step(mcu: SimulatedMcu): boolean {
  try {
    return mcu.step();
  } catch (error) {
    // The engine's own error holds all of the engine, which no log should show.
    throw new Error(`the device's program failed: ${messageOf(error)}`);
  }
}

function factoryFlash({ model, keys, scratchBlocks = 0 }: SimulatorOptions): Uint8Array {
  return makeFlashImage({ keys, model: model ?? null, scratchBlocks, hasher: new NodeHasher() }).bytes;
}

interface FlashFile {
  readonly descriptor: number;
  readonly bytes: Uint8Array;
}

function openFlashFile(path: string, options: SimulatorOptions): FlashFile {
  try {
    if (!existsSync(path)) {
      const bytes = factoryFlash(options);
      const descriptor = openSync(path, 'w+');
      writeSync(descriptor, bytes, 0, bytes.length, 0);
      return { descriptor, bytes };
    }
    const bytes = new Uint8Array(readFileSync(path));
    if (bytes.length !== FLASH_BYTES) throw new Error(`expected ${FLASH_BYTES} bytes of flash, got ${bytes.length}`);
    return { descriptor: openSync(path, 'r+'), bytes };
  } catch (cause) {
    throw new IoError(`${path}: ${messageOf(cause)}`, { cause });
  }
}

interface Pty {
  close(): Promise<void>;
}

/** null where there is no socat. */
async function openPty(path: string, tcpPort: number): Promise<Pty | null> {
  if (existsSync(path)) throw new IoError(`${path} is there already`);
  const child = spawn('socat', [`PTY,link=${path},rawer`, `TCP:127.0.0.1:${tcpPort},nodelay`], { stdio: 'ignore' });
  const started = await new Promise<boolean>((resolve) => {
    child.once('error', () => resolve(false));
    child.once('spawn', () => resolve(true));
  });
  if (!started) return null;
  for (let tries = 0; !existsSync(path); tries++) {
    if (tries === PTY_TRIES || child.exitCode !== null) throw new IoError(`socat made no PTY at ${path}`);
    await sleep(10);
  }
  // Held open: socat ends when nobody has the PTY any more.
  const held = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
  return {
    close: async () => {
      closeSync(held);
      if (child.exitCode === null) {
        const exit = once(child, 'exit');
        child.kill();
        await exit;
      }
      rmSync(path, { force: true });
    },
  };
}
