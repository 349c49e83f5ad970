/** The built agent as a service: ended, reloaded, and watched by systemd's protocol. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { AgentRig, STRANGER, TOPICS, TRUSTED } from './support/agent-rig.js';
import { noise, sha256Hex } from './support/make-patch.js';
import { missingNotifyTools, NotifyReceiver } from './support/notify-receiver.js';
import { builtCli } from './support/run-mallorn.js';

const OLD = noise(900_000, 1);
const NEW = new Uint8Array([...OLD.subarray(200_000, 600_000), ...noise(450_000, 2), ...OLD.subarray(0, 50_000)]);

describe('the agent as a service', { timeout: 300_000, skip: process.platform === 'win32' && 'has no signals' }, () => {
  let rig: AgentRig;
  let between: BrokerGate | null = null;
  afterEach(async () => {
    await rig.stop();
    await between?.close();
    between = null;
  });

  async function start(env: Record<string, string> = {}, config: Record<string, unknown> = {}): Promise<void> {
    rig = await AgentRig.start({ installed: OLD, config });
    rig.startChild(builtCli, env);
    await rig.reported('no_wish');
    await rig.broker.waitFor(TOPICS.state, (payload) => JSON.parse(payload).state === 'ready');
  }

  async function until(reached: () => boolean): Promise<void> {
    for (const deadline = Date.now() + 30_000; !reached(); await delay(5)) {
      assert.ok(Date.now() < deadline, rig.log.join('\n'));
    }
  }

  /** An update that is slow enough to be met when most of it is applied, by a patch of some 450 KB. */
  async function beginUpdate(): Promise<void> {
    const patch = { profile: 'mcu', privateKey: TRUSTED.privateKey, versionCounter: 2 } as const;
    const document = await rig.publishFiles([OLD], NEW, { patch });
    rig.server.fault = () => ({ kind: 'slow', blockDelayMs: 80 });
    await rig.wish(document);
    await rig.broker.waitFor(TOPICS.reported, (payload) => JSON.parse(payload).progress >= 75);
  }

  /** The patch was asked for from where the journal vouches for it, but for its header. */
  function assertResumed(requests: AgentRig['server']['requests']): void {
    assert.deepEqual(requests[0]?.range, 'bytes=0-2047');
    const from = Number(/^bytes=(\d+)-$/.exec(requests[1]?.range ?? '')?.[1]);
    assert.ok(from > 100_000, JSON.stringify(requests));
  }

  const states = () =>
    rig.broker.messages.filter(({ topic }) => topic === TOPICS.state).map(({ payload }) => JSON.parse(payload));

  it('SIGTERM in the middle of a download parks it: code 0, in time, good-bye said, nothing fetched twice', async () => {
    await start();
    await beginUpdate();
    const startedMs = performance.now();
    rig.signalChild('SIGTERM');
    assert.equal(await rig.childExit(), 0);
    const tookMs = performance.now() - startedMs;
    assert.ok(tookMs < 5000, `${tookMs} ms`);
    assert.equal(states().at(-1).state, 'disconnected');
    assert.equal(rig.activeSha256(), sha256Hex(OLD));
    rig.server.fault = () => null;
    rig.server.resetCounters();
    rig.startChild(builtCli);
    await rig.reported('up_to_date');
    assert.deepEqual(rig.activeModel(), NEW);
    assertResumed(rig.server.requests);
  });

  for (const second of ['SIGTERM', 'SIGINT'] as const) {
    it(`${second} after SIGTERM ends it at once, also where the broker answers no more`, async () => {
      rig = await AgentRig.start({ installed: OLD });
      between = await BrokerGate.open(rig.broker.port);
      rig.configure({ mqtt: { url: `mqtt://127.0.0.1:${between.port}` } });
      rig.startChild(builtCli);
      await rig.broker.waitFor(TOPICS.state, (payload) => JSON.parse(payload).state === 'ready');
      between.freeze();
      rig.signalChild('SIGTERM');
      await delay(300);
      const startedMs = performance.now();
      rig.signalChild(second);
      assert.equal(await rig.childExit(), null, 'the signal ended it');
      assert.ok(performance.now() - startedMs < 1000);
    });
  }

  it('SIGTERM ends it in time where the broker answers no more', async () => {
    rig = await AgentRig.start({ installed: OLD });
    between = await BrokerGate.open(rig.broker.port);
    rig.configure({ mqtt: { url: `mqtt://127.0.0.1:${between.port}` } });
    rig.startChild(builtCli);
    await rig.broker.waitFor(TOPICS.state, (payload) => JSON.parse(payload).state === 'ready');
    between.freeze();
    const startedMs = performance.now();
    rig.signalChild('SIGTERM');
    assert.equal(await rig.childExit(), 0);
    assert.ok(performance.now() - startedMs < 5000);
  });

  it('SIGHUP with a bad configuration names every problem and changes nothing', async () => {
    await start();
    const { length } = states();
    rig.configure({ trustedKeys: undefined, limits: { maxTargetBytes: -1 }, speling: 1 });
    rig.signalChild('SIGHUP');
    await until(() => rig.log.join('\n').includes('the old one stays'));
    const line =
      rig.log
        .join('\n')
        .split('\n')
        .find((text) => text.includes('the old one stays')) ?? '';
    const { problems } = JSON.parse(line) as { problems: string[] };
    assert.match(problems.join('\n'), /limits.maxTargetBytes: .*\n?.*speling: unknown key/);
    rig.configure({ trustedKeys: ['gone.pub'] });
    rig.signalChild('SIGHUP');
    await until(() => /gone.pub: ENOENT/.test(rig.log.join('\n')));
    assert.equal(states().length, length, 'the connection was not touched');
    await rig.wish(await rig.publishFiles([OLD], NEW));
    await rig.reported('up_to_date');
  });

  it('SIGHUP with a good one takes its keys and limits, in the same process, and goes on with the update under way', async () => {
    await start();
    const pid = rig.childPid;
    await beginUpdate();
    writeFileSync(join(rig.folder, 'other.pub'), STRANGER.publicKey);
    rig.configure({ trustedKeys: ['trusted.pub', 'other.pub'], topicPrefix: 'mallorn/v1' });
    const { length } = rig.server.requests;
    rig.signalChild('SIGHUP');
    await until(() => rig.log.join('\n').includes('configuration reloaded'));
    rig.server.fault = () => null;
    await rig.reported('up_to_date');
    assert.deepEqual(rig.activeModel(), NEW);
    assertResumed(rig.server.requests.slice(length));
    assert.equal(rig.childPid, pid);
    const sessions = states().map(({ session }) => session as number);
    assert.ok((sessions.at(-1) ?? 0) > (sessions[0] ?? 0));
    await rig.wish(await rig.publishFiles([NEW], OLD, { version: '3', patch: { privateKey: STRANGER.privateKey } }));
    await rig.broker.waitFor(TOPICS.reported, (payload) => JSON.parse(payload).installed_version === '3');
  });

  it('a configuration that reads well and cannot start gives way to the one before', async () => {
    await start();
    rig.configure({ model: { name: 'pose', slots: 'no-such-folder' } });
    rig.signalChild('SIGHUP');
    await until(() => rig.log.join('\n').includes('going back'));
    await rig.wish(await rig.publishFiles([OLD], NEW));
    await rig.reported('up_to_date');
    rig.signalChild('SIGTERM');
    assert.equal(await rig.childExit(), 0);
  });

  it('a reload is no start that a model on trial has to answer for', async () => {
    await start({}, { health: { command: ['/bin/false'], intervalMs: 50, timeoutMs: 60_000, trialBoots: 0 } });
    await rig.wish(await rig.publishFiles([OLD], NEW));
    await rig.reported('testing');
    rig.configure({ health: { command: ['/bin/true'], intervalMs: 50, timeoutMs: 60_000, trialBoots: 0 } });
    rig.signalChild('SIGHUP');
    await rig.reported('up_to_date');
    assert.equal(rig.activeSha256(), sha256Hex(NEW));
  });

  it('systemd hears that it is ready, what it does, that it reloads and that it ends', {
    skip: missingNotifyTools(),
  }, async () => {
    const receiver = await NotifyReceiver.start();
    try {
      await start({ NOTIFY_SOCKET: receiver.path, WATCHDOG_USEC: '1000000' });
      await receiver.hears(/STATUS=pose \?: no_wish\n(.*\n)*READY=1\n/);
      await receiver.hears(/WATCHDOG=1\n(.*\n)*WATCHDOG=1\n/);
      await rig.wish(await rig.publishFiles([OLD], NEW));
      await receiver.hears(/STATUS=pose 2\.0: up_to_date\n/);
      rig.signalChild('SIGHUP');
      await receiver.hears(/RELOADING=1 MONOTONIC_USEC=\d+\n(.*\n)*READY=1\n/);
      rig.signalChild('SIGTERM');
      assert.equal(await rig.childExit(), 0);
      await receiver.hears(/STOPPING=1\n/);
    } finally {
      await receiver.stop();
    }
  });
});

/** Between agent and broker, until it lets nothing through any more and says nothing about it. */
class BrokerGate {
  readonly port: number;
  private readonly server: Server;
  private readonly sockets: Socket[] = [];

  private constructor(server: Server) {
    this.server = server;
    this.port = (server.address() as { port: number }).port;
  }

  static async open(brokerPort: number): Promise<BrokerGate> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const gate = new BrokerGate(server);
    server.on('connection', (socket) => {
      const onward = connect(brokerPort, '127.0.0.1');
      gate.sockets.push(socket, onward);
      for (const end of [socket, onward]) end.on('error', () => {});
      socket.pipe(onward).pipe(socket);
    });
    return gate;
  }

  freeze(): void {
    for (const socket of this.sockets) {
      socket.unpipe();
      socket.pause();
    }
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}
