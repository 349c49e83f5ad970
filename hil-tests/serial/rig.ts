/** A simulated device, a cable and a gateway: a process each, as in the field. */

import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FlashImage } from '../../targets/sim/flash-image.js';
import { sha256Hex } from '../support/make-patch.js';
import { repoRoot } from '../support/paths.js';
import type { CableReport, CableRequest } from './cable.main.js';
import { key, type Update } from './models.js';

/** The cable's bundle; set by the bundler (scripts/test-serial.ts). */
declare const MALLORN_CABLE: string;

const CLI = join(repoRoot, 'dist/cli.js');

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RigOptions {
  readonly packetBytes?: number;
  /** 0 for as fast as it goes. */
  readonly baud?: number;
}

/** Runs `mallorn`; `change` may end it early. */
export async function mallorn(args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Ended> {
  return ended(startMallorn(args, env));
}

export function startMallorn(args: readonly string[], env: NodeJS.ProcessEnv = process.env): ChildProcess {
  return spawn(process.execPath, [CLI, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env });
}

export async function ended(child: ChildProcess): Promise<Ended> {
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (text) => {
    stdout += text;
  });
  child.stderr?.on('data', (text) => {
    stderr += text;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

export class Rig {
  readonly folder = mkdtempSync(join(tmpdir(), 'mallorn-serial-'));
  readonly pty = join(this.folder, 'tty');
  readonly patch = join(this.folder, 'patch.mlrn');
  private readonly flashPath = join(this.folder, 'flash.img');
  private readonly options: RigOptions;
  private simulator: ChildProcess | null = null;
  private cable: ChildProcess | null = null;
  private tcpPort = 0;

  private constructor(of: Update, options: RigOptions) {
    this.options = options;
    writeFileSync(join(this.folder, 'old.bin'), of.old);
    writeFileSync(join(this.folder, 'key.pub'), key.publicKey);
    writeFileSync(this.patch, of.patch);
  }

  /** Lets `use` work with a rig, and takes it down. */
  static async with<T>(of: Update, options: RigOptions, use: (rig: Rig) => Promise<T>): Promise<T> {
    const rig = new Rig(of, options);
    try {
      await rig.powerUp();
      await rig.plugCable();
      return await use(rig);
    } finally {
      await rig.takeDown();
    }
  }

  /** Where the device listens, without the cable. */
  get tcpUrl(): string {
    return `tcp://127.0.0.1:${this.tcpPort}`;
  }

  async powerUp(): Promise<void> {
    const { packetBytes } = this.options;
    const args = ['simulate-mcu', '--json', '--no-pty', '--tcp-port', String(this.tcpPort), '--flash', this.flashPath];
    const model = ['--model', join(this.folder, 'old.bin'), '--pubkey', join(this.folder, 'key.pub')];
    const packets = packetBytes === undefined ? [] : ['--packet-bytes', String(packetBytes)];
    this.simulator = startMallorn([...args, ...model, ...packets]);
    this.simulator.stderr?.pipe(process.stderr);
    let text = '';
    for await (const piece of this.simulator.stdout!) {
      text += piece;
      if (text.trimEnd().endsWith('}')) break;
    }
    this.tcpPort = Number(new URL((JSON.parse(text) as { tcp: string }).tcp).port);
  }

  /** As a power cut: the process is killed, the flash part keeps what was written. */
  async cutPower(): Promise<void> {
    await end(this.simulator, 'SIGKILL');
    this.simulator = null;
  }

  async count(): Promise<CableReport> {
    return this.tell('count');
  }

  async pull(): Promise<void> {
    await this.tell('pull');
  }

  async plug(): Promise<void> {
    await this.tell('plug');
  }

  flashArgs(...more: string[]): string[] {
    const { baud = 0 } = this.options;
    const speed = baud === 0 ? [] : ['--baud', String(baud)];
    return ['flash', '--json', '--port', this.pty, '--patch', this.patch, ...speed, ...more];
  }

  /** Of the model that boots. */
  activeHash(): string {
    return sha256Hex(new FlashImage(new Uint8Array(readFileSync(this.flashPath))).activeModel());
  }

  private async plugCable(): Promise<void> {
    const { baud = 0 } = this.options;
    this.cable = fork(MALLORN_CABLE, [this.pty, String(this.tcpPort), String(baud)]);
    await once(this.cable, 'message');
  }

  private async tell(request: CableRequest): Promise<CableReport> {
    const answered = once(this.cable!, 'message') as Promise<[CableReport]>;
    this.cable!.send(request);
    return (await answered)[0];
  }

  private async takeDown(): Promise<void> {
    await end(this.cable, 'SIGTERM', () => this.cable?.send('end'));
    await end(this.simulator, 'SIGTERM');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function end(child: ChildProcess | null, signal: NodeJS.Signals, ask?: () => void): Promise<void> {
  if (child === null || child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  if (ask === undefined) child.kill(signal);
  else ask();
  await exit;
}
