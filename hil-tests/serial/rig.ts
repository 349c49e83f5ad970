/** A simulated device, a cable and a gateway: a process each, as in the field. */

import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repoRoot } from '../support/paths.js';
import { SimulatedBoard } from '../support/simulated-board.js';
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
  /** Of a device with one slot. */
  readonly scratchBlocks?: number;
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
  readonly board: SimulatedBoard;
  private readonly options: RigOptions;
  private cable: ChildProcess | null = null;

  private constructor(of: Update, options: RigOptions) {
    this.options = options;
    const { baud: _, ...parts } = options;
    this.board = new SimulatedBoard({ folder: this.folder, model: of.old, publicKey: key.publicKey, ...parts });
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

  async powerUp(): Promise<void> {
    await this.board.powerUp();
  }

  async cutPower(): Promise<void> {
    await this.board.cutPower();
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
    return this.board.activeHash();
  }

  private async plugCable(): Promise<void> {
    const { baud = 0 } = this.options;
    this.cable = fork(MALLORN_CABLE, [this.pty, String(this.board.tcpPort), String(baud)]);
    await once(this.cable, 'message');
  }

  private async tell(request: CableRequest): Promise<CableReport> {
    const answered = once(this.cable!, 'message') as Promise<[CableReport]>;
    this.cable!.send(request);
    return (await answered)[0];
  }

  private async takeDown(): Promise<void> {
    const { cable } = this;
    if (cable !== null && cable.exitCode === null && cable.signalCode === null) {
      const exit = once(cable, 'exit');
      cable.send('end');
      await exit;
    }
    await this.board.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
