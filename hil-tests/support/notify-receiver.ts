/** systemd's side of sd_notify: a datagram socket, which python3 has and Node has not. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const RECEIVER = `
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
while True:
    # systemd-notify waits until the descriptor it sends along is closed (sd_notify_barrier).
    data, fds, flags, address = socket.recv_fds(s, 4096, 4)
    for fd in fds: os.close(fd)
    if not fds: print(data.decode().replace("\\n", " "), flush=True)
`;

/** Why there can be none here, or false. */
export function missingNotifyTools(): string | false {
  const has = (command: string) => spawnSync(command, ['--version']).status === 0;
  if (!has('systemd-notify')) return 'no systemd-notify here';
  return !has('python3') && 'no python3 here';
}

export class NotifyReceiver {
  readonly path: string;
  /** One message a line. */
  heard = '';
  private readonly folder: string;
  private readonly child: ChildProcess;

  private constructor(folder: string, path: string, child: ChildProcess) {
    this.folder = folder;
    this.path = path;
    this.child = child;
    child.stdout?.on('data', (chunk) => {
      this.heard += String(chunk);
    });
  }

  static async start(): Promise<NotifyReceiver> {
    const folder = mkdtempSync(join(tmpdir(), 'mallorn-notify-'));
    const path = join(folder, 'notify');
    const child = spawn('python3', ['-c', RECEIVER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    for (const until = Date.now() + 10_000; !existsSync(path); await delay(5)) assert.ok(Date.now() < until);
    return new NotifyReceiver(folder, path, child);
  }

  async hears(pattern: RegExp): Promise<void> {
    for (const until = Date.now() + 20_000; !pattern.test(this.heard); await delay(10)) {
      assert.ok(Date.now() < until, `expected ${pattern}, got ${this.heard}`);
    }
  }

  async stop(): Promise<void> {
    const gone = once(this.child, 'exit');
    this.child.kill();
    await gone;
    rmSync(this.folder, { recursive: true });
  }
}
