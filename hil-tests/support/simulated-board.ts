/** `mallorn simulate-mcu` as a process of its own, with a flash part that outlives it. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { toHex } from '../../core/hex.js';
import { FlashImage } from '../../targets/sim/flash-image.js';
import { sha256Hex } from './make-patch.js';
import { repoRoot } from './paths.js';

export interface BoardOptions {
  /** Its files go there; one board a folder. */
  readonly folder: string;
  readonly model: Uint8Array;
  /** Whose patches it takes; absent for the build that checks no signatures. */
  readonly publicKey?: Uint8Array;
  readonly packetBytes?: number;
  /** Above 0 for a device with one slot. */
  readonly scratchBlocks?: number;
}

export class SimulatedBoard {
  /** The same after each `powerUp`. */
  tcpPort = 0;
  private readonly options: BoardOptions;
  private readonly flashPath: string;
  private process: ChildProcess | null = null;

  constructor(options: BoardOptions) {
    const { folder, model, publicKey } = options;
    this.options = options;
    this.flashPath = join(folder, 'flash.img');
    writeFileSync(join(folder, 'old.bin'), model);
    if (publicKey !== undefined) writeFileSync(join(folder, 'key.pub'), publicKey);
  }

  get url(): string {
    return `tcp://127.0.0.1:${this.tcpPort}`;
  }

  async powerUp(): Promise<void> {
    const { folder, publicKey, packetBytes, scratchBlocks } = this.options;
    const args = ['simulate-mcu', '--json', '--no-pty', '--tcp-port', String(this.tcpPort), '--flash', this.flashPath];
    args.push('--model', join(folder, 'old.bin'));
    if (publicKey !== undefined) args.push('--pubkey', join(folder, 'key.pub'));
    if (packetBytes !== undefined) args.push('--packet-bytes', String(packetBytes));
    if (scratchBlocks !== undefined) args.push('--one-slot', String(scratchBlocks));
    const child = spawn(process.execPath, [join(repoRoot, 'dist/cli.js'), ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.process = child;
    child.stderr?.pipe(process.stderr);
    let text = '';
    for await (const piece of child.stdout!) {
      text += piece;
      if (text.trimEnd().endsWith('}')) break;
    }
    this.tcpPort = Number(new URL((JSON.parse(text) as { tcp: string }).tcp).port);
  }

  /** As a power cut: the process is killed, the flash part keeps what was written. */
  async cutPower(): Promise<void> {
    await end(this.process, 'SIGKILL');
    this.process = null;
  }

  async stop(): Promise<void> {
    await end(this.process, 'SIGTERM');
    this.process = null;
  }

  /** Of the model that boots; of no bytes where one slot is half-way through an update. */
  activeHash(): string {
    return sha256Hex(this.flash.activeModel());
  }

  /** 'trial', 'good', or 'bad' for one slot half-way through an update. */
  activeState(): string {
    const { flash } = this;
    return (flash.scratchBlocks > 0 ? flash.oneSlot() : flash.slots()).activeState();
  }

  /** Of the model that only has to be switched to; null where there is none. */
  stagedHash(): string | null {
    const slots = this.flash.slots();
    const contents = slots.inactiveContents();
    return slots.inactiveState() === 'staged' && contents !== null ? toHex(contents.sha256) : null;
  }

  private get flash(): FlashImage {
    return new FlashImage(new Uint8Array(readFileSync(this.flashPath)), this.options.scratchBlocks);
  }
}

async function end(child: ChildProcess | null, signal: NodeJS.Signals): Promise<void> {
  if (child === null || child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill(signal);
  await exit;
}
