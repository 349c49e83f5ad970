/**
 * Lines to microcontrollers: serial ports, through the serialport package, and TCP for serial servers and the simulator. The
 * package is native code, and optional: loaded when a port is opened, its absence an error like any other.
 */

import { accessSync, constants, readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { delimiter, join } from 'node:path';
import type { SerialPort } from 'serialport';
import { IoError } from '../../core/errors.js';
import { type ByteLink, LinkLost } from './byte-link.js';

export interface PortInfo {
  readonly path: string;
  readonly manufacturer: string | null;
  readonly serialNumber: string | null;
}

export const DEFAULT_BAUD = 115_200;
const CONNECT_MS = 5000;
/** What serial ports are called in /dev. */
const PORT_NAME = /^(ttyUSB|ttyACM|ttyAMA|rfcomm|cu\.)/;

/** `port` is a path, COM3, or tcp://HOST:PORT. @throws IoError */
export async function openPort(port: string, baud = DEFAULT_BAUD): Promise<ByteLink> {
  return port.startsWith('tcp://') ? openTcp(port) : openSerial(port, baud);
}

/** Serial ports of this machine. */
export async function listPorts(): Promise<PortInfo[]> {
  // Without udevadm the package would end this process: an error of the child process that nobody listens for.
  if (process.platform === 'linux' && !isInPath('udevadm')) return portsInDev();
  const { SerialPort } = await loadSerialport();
  const ports = await SerialPort.list();
  return ports.map(({ path, manufacturer, serialNumber }) => ({
    path,
    manufacturer: manufacturer ?? null,
    serialNumber: serialNumber ?? null,
  }));
}

function isInPath(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function portsInDev(): PortInfo[] {
  return readdirSync('/dev')
    .filter((name) => PORT_NAME.test(name))
    .sort()
    .map((name) => ({ path: `/dev/${name}`, manufacturer: null, serialNumber: null }));
}

async function loadSerialport(): Promise<typeof import('serialport')> {
  try {
    return await import('serialport');
  } catch (cause) {
    throw new IoError('the package serialport is not installed, or not for this machine: npm install serialport', {
      cause,
    });
  }
}

async function openSerial(path: string, baudRate: number): Promise<ByteLink> {
  const { SerialPort } = await loadSerialport();
  return new Promise((resolve, reject) => {
    const port: SerialPort = new SerialPort({ path, baudRate }, (error) => {
      if (error === null) resolve(new SerialLink(port, baudRate));
      else reject(new IoError(`cannot open ${path}: ${error.message}`, { cause: error }));
    });
  });
}

class SerialLink implements ByteLink {
  readonly baud: number;
  private readonly port: SerialPort;
  private gone: Error | null = null;

  constructor(port: SerialPort, baud: number) {
    this.port = port;
    this.baud = baud;
    port.on('error', (error) => {
      this.gone ??= new LinkLost(`${port.path}: ${error.message}`, { cause: error });
    });
  }

  write(bytes: Uint8Array): void {
    this.port.write(Buffer.from(bytes));
  }

  onBytes(take: (bytes: Uint8Array) => void): void {
    this.port.on('data', take);
  }

  onClosed(take: (reason: Error) => void): void {
    this.port.once('close', () => take(this.gone ?? new LinkLost(`${this.port.path}: the port is gone`)));
    // Some systems fail each write to an adapter that was unplugged, and never close it.
    this.port.once('error', (error) => {
      if (this.port.isOpen) this.port.close(() => {});
      else take(new LinkLost(`${this.port.path}: ${error.message}`, { cause: error }));
    });
  }

  async close(): Promise<void> {
    if (!this.port.isOpen) return;
    await new Promise<void>((resolve) => this.port.close(() => resolve()));
  }
}

async function openTcp(port: string): Promise<ByteLink> {
  const { hostname, port: number } = new URL(port);
  const socket = connect({ host: hostname, port: Number(number), noDelay: true });
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => {
      socket.destroy();
      reject(new IoError(`cannot connect to ${port}: ${error.message}`, { cause: error }));
    };
    socket.setTimeout(CONNECT_MS, () => fail(new Error('timed out')));
    socket.once('error', fail);
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.off('error', fail);
      resolve(new SocketLink(socket));
    });
  });
}

/** Any socket with a device behind it. */
export class SocketLink implements ByteLink {
  readonly baud = null;
  private readonly socket: Socket;

  constructor(socket: Socket) {
    this.socket = socket;
    // The end follows, and says it.
    socket.on('error', () => {});
  }

  write(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  onBytes(take: (bytes: Uint8Array) => void): void {
    this.socket.on('data', take);
  }

  onClosed(take: (reason: Error) => void): void {
    this.socket.once('close', () => take(new LinkLost('the connection to the device ended')));
  }

  async close(): Promise<void> {
    this.socket.destroy();
  }
}
