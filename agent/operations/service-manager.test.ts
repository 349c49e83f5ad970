/** systemd's side of sd_notify is a datagram socket, which python3 has and Node has not. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { serviceManager, watchdogIntervalMs } from './service-manager.js';

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

function missing(): string | false {
  const has = (command: string) => spawnSync(command, ['--version']).status === 0;
  if (!has('systemd-notify')) return 'no systemd-notify here';
  return !has('python3') && 'no python3 here';
}

describe('sd_notify', () => {
  it('reaches a datagram socket: ready, status, watchdog, reload and end, in order', { skip: missing() }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'mallorn-notify-'));
    const socket = join(folder, 'notify');
    const receiver: ChildProcess = spawn('python3', ['-c', RECEIVER, socket], { stdio: ['ignore', 'pipe', 'inherit'] });
    let heard = '';
    receiver.stdout?.on('data', (chunk) => {
      heard += String(chunk);
    });
    const hears = async (pattern: RegExp): Promise<void> => {
      for (const until = Date.now() + 15_000; !pattern.test(heard); await delay(10)) {
        assert.ok(Date.now() < until, `expected ${pattern}, got ${heard}`);
      }
    };
    const before = process.env['NOTIFY_SOCKET'];
    try {
      while (!existsSync(socket)) await delay(5);
      process.env['NOTIFY_SOCKET'] = socket;
      const said: string[] = [];
      const manager = serviceManager(
        { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '400000', WATCHDOG_PID: String(process.pid) },
        (_, message) => said.push(message),
      );
      manager.ready();
      for (const step of ['one', 'two', 'three\nREADY=0']) manager.status(step);
      manager.reloading();
      manager.ready();
      await hears(/WATCHDOG=1\s[\s\S]*WATCHDOG=1\s/);
      manager.close();
      await manager.stopping();
      await hears(/STOPPING=1/);
      const lines = heard.split('\n').filter((line) => line !== '' && line !== 'WATCHDOG=1');
      assert.deepEqual(
        lines.map((line) => line.replace(/USEC=\d+/, 'USEC=n')),
        ['READY=1', 'STATUS=three READY=0', 'RELOADING=1 MONOTONIC_USEC=n', 'READY=1', 'STOPPING=1'],
      );
      assert.deepEqual(said, []);
    } finally {
      if (before === undefined) delete process.env['NOTIFY_SOCKET'];
      else process.env['NOTIFY_SOCKET'] = before;
      receiver.kill();
      rmSync(folder, { recursive: true });
    }
  });

  it('without a service manager nothing is run', async () => {
    const manager = serviceManager({}, () => assert.fail('nothing to say'));
    manager.ready();
    manager.status('x');
    await manager.stopping();
    manager.close();
  });

  it('the watchdog is fed twice in its time, and only by the process it watches', () => {
    assert.equal(watchdogIntervalMs({ WATCHDOG_USEC: '120000000' }), 60_000);
    assert.equal(watchdogIntervalMs({ WATCHDOG_USEC: '120000000', WATCHDOG_PID: '1' }), null);
    for (const usec of [undefined, '', '0', 'x', '-5']) assert.equal(watchdogIntervalMs({ WATCHDOG_USEC: usec }), null);
  });
});
