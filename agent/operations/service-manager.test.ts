import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { missingNotifyTools, NotifyReceiver } from '../../hil-tests/support/notify-receiver.js';
import { serviceManager, watchdogIntervalMs } from './service-manager.js';

describe('sd_notify', () => {
  it('reaches a datagram socket: ready, status, watchdog, reload and end, in order', {
    skip: missingNotifyTools(),
  }, async () => {
    const receiver = await NotifyReceiver.start();
    try {
      const said: string[] = [];
      const env = {
        ...process.env,
        NOTIFY_SOCKET: receiver.path,
        WATCHDOG_USEC: '400000',
        WATCHDOG_PID: `${process.pid}`,
      };
      const manager = serviceManager(env, (_, message) => said.push(message));
      manager.ready();
      for (const step of ['one', 'two', 'three\nREADY=0']) manager.status(step);
      manager.reloading();
      manager.ready();
      await receiver.hears(/WATCHDOG=1\s[\s\S]*WATCHDOG=1\s/);
      manager.close();
      await manager.stopping();
      await receiver.hears(/STOPPING=1/);
      const lines = receiver.heard.split('\n').filter((line) => line !== '' && line !== 'WATCHDOG=1');
      assert.deepEqual(
        lines.map((line) => line.replace(/USEC=\d+/, 'USEC=n')),
        ['READY=1', 'STATUS=three READY=0', 'RELOADING=1 MONOTONIC_USEC=n', 'READY=1', 'STOPPING=1'],
      );
      assert.deepEqual(said, []);
    } finally {
      await receiver.stop();
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
