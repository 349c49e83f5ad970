/** dist/mallorn-linux.qjs.mjs in the real `qjs`, as on a Linux device: its line is a pipe or a terminal, its flash a file. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { repoRoot } from '../support/paths.js';
import { FlashImage } from './flash-image.js';
import { type ByteStream, SmpClient } from './smp-client.js';

const QJS = join(process.env['MALLORN_HIL_CACHE'] ?? join(repoRoot, '.cache/hil'), 'host/qjs');
const PROGRAM = join(repoRoot, 'dist/mallorn-linux.qjs.mjs');
const START_MS = 5000;

export class LinuxDevice {
  readonly flashPath: string;
  private readonly folder: string;
  private readonly args: readonly string[];
  private readonly processes: ChildProcess[] = [];

  /** `folder` keeps the flash, as long as `flashBytes`. */
  constructor(folder: string, flashBytes: number, kind: 'file' | 'mtd', options: readonly string[] = []) {
    this.folder = folder;
    this.flashPath = join(folder, 'mtd0');
    writeFileSync(this.flashPath, new Uint8Array(flashBytes).fill(0xff));
    const flash = kind === 'file' ? ['--file', this.flashPath] : this.mtd(flashBytes);
    this.args = [PROGRAM, ...flash, ...options];
  }

  /** In the factory. */
  format(keys: readonly Uint8Array[]): void {
    const hex = keys.map((key) => Buffer.from(key).toString('hex')).join(',');
    execFileSync(QJS, [...this.args, '--format', hex]);
  }

  /** Powers up; its line is its standard input and output. */
  onPipe(): SmpClient {
    const child = spawn(QJS, this.args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.processes.push(child);
    // What was under way when the process was killed.
    child.stdin.on('error', () => {});
    return new SmpClient({
      write: (bytes) => child.stdin.write(bytes),
      on: (event, take) => child.stdout.on(event, take),
    });
  }

  /** Powers up; its line is a terminal, of which the peer has the other end. */
  async onTerminal(openPort: (path: string) => ByteStream): Promise<SmpClient> {
    const [device, peer] = [join(this.folder, 'tty-device'), join(this.folder, 'tty-peer')];
    const link = spawn('socat', [`PTY,link=${device},rawer`, `PTY,link=${peer},rawer`], { stdio: 'ignore' });
    this.processes.push(link);
    for (const end of [device, peer]) {
      const deadline = performance.now() + START_MS;
      while (!existsSync(end)) {
        if (performance.now() > deadline) throw new Error(`socat made no ${end}`);
        await sleep(10);
      }
    }
    this.processes.push(spawn(QJS, [...this.args, '--tty', device], { stdio: ['ignore', 'ignore', 'inherit'] }));
    return new SmpClient(openPort(peer));
  }

  /** Kills it. */
  async cutPower(): Promise<void> {
    for (const child of this.processes.splice(0)) {
      const exit = once(child, 'exit');
      child.kill('SIGKILL');
      await exit;
    }
  }

  image(scratchBlocks = 0): FlashImage {
    return new FlashImage(new Uint8Array(readFileSync(this.flashPath)), scratchBlocks);
  }

  /** A folder as in /sys/class/mtd, and flash_erase as a script. */
  private mtd(flashBytes: number): string[] {
    const about = join(this.folder, 'sysfs/mtd0');
    mkdirSync(about, { recursive: true });
    const facts = { type: 'nor', size: flashBytes, erasesize: 4096, writesize: 1, numeraseregions: 0 };
    for (const [name, value] of Object.entries(facts)) writeFileSync(join(about, name), `${value}\n`);
    const eraser = join(this.folder, 'flash_erase');
    writeFileSync(
      eraser,
      '#!/bin/sh\ntr "\\0" "\\377" < /dev/zero | dd of="$2" bs=4096 seek=$(($3 / 4096)) count=$4 iflag=fullblock conv=notrunc 2> /dev/null\n',
    );
    chmodSync(eraser, 0o755);
    return ['--mtd', this.flashPath, '--sysfs', join(this.folder, 'sysfs'), '--eraser', eraser];
  }
}
