/** The agent behind a proxy that lets nothing through but websockets, at a broker that asks for a password. */
import assert from 'node:assert/strict';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createWebSocketStream, WebSocketServer } from 'ws';
import { StreamFolder } from '../agent/streams/stream-folder.js';
import { StreamServer } from '../agent/streams/stream-server.js';
import { AgentRig, playAgentRole } from './support/agent-rig.js';
import { noise } from './support/make-patch.js';

const OLD = noise(100_000, 1);
const NEW = new Uint8Array(Buffer.concat([OLD.subarray(0, 50_000), noise(60_000, 2)]));

if (!playAgentRole()) {
  describe('the agent over websockets', { timeout: 60_000 }, () => {
    let rig: AgentRig;
    let proxy: WebSocketServer;
    const protocols: string[] = [];
    afterEach(async () => {
      await rig.stopAgent();
      for (const client of proxy.clients) client.terminate();
      await new Promise((resolve) => proxy.close(resolve));
      await rig.stop();
    });

    /** A proxy that takes websockets of MQTT (OASIS MQTT 3.1.1, 6) to the broker. Gives its URL. */
    async function startProxy(): Promise<string> {
      proxy = new WebSocketServer({ port: 0, host: '127.0.0.1' });
      proxy.on('connection', (socket) => {
        protocols.push(socket.protocol);
        const stream = createWebSocketStream(socket);
        const upstream = connect(rig.broker.port, '127.0.0.1');
        stream.on('error', () => upstream.destroy());
        upstream.on('error', () => stream.destroy());
        stream.pipe(upstream).pipe(stream);
      });
      await new Promise((resolve) => proxy.once('listening', resolve));
      return `ws://127.0.0.1:${(proxy.address() as AddressInfo).port}/mqtt`;
    }

    it('is refused with a wrong password, and with the right one updates, patch bytes included', async () => {
      rig = await AgentRig.start({ installed: OLD });
      const url = await startProxy();
      rig.broker.admits = (username, password) => username !== 'gw-1' || password === 'right';
      const mqtt = { url, username: 'gw-1', reconnectMinMs: 20, reconnectMaxMs: 50, streams: {} };
      rig.configure({ mqtt: { ...mqtt, password: 'wrong' } });
      await rig.wish(await rig.publishFiles([OLD], NEW, { baseUrl: 'mqtt:' }));
      await rig.startAgent();
      const refusals = () => rig.log.filter((line) => /not authorized/i.test(line)).length;
      for (let waitedMs = 0; refusals() < 2; waitedMs += 20) {
        assert.ok(waitedMs < 20_000, rig.log.join('\n'));
        await delay(20);
      }
      assert.ok(!rig.broker.messages.some(({ clientId }) => clientId === 'mallorn-gw-1'), 'it got to say nothing');
      await rig.stopAgent();
      rig.configure({ mqtt: { ...mqtt, password: 'right' } });
      const folder = new StreamFolder(rig.www);
      const server = new StreamServer({ folder, topicPrefix: 'mallorn/v1', url: rig.broker.url, log: () => {} });
      try {
        await rig.startAgent();
        await rig.reported('up_to_date');
      } finally {
        await server.close();
      }
      assert.deepEqual(rig.activeModel(), NEW);
      assert.equal(rig.server.gets, 0);
      assert.ok(protocols.length >= 3 && protocols.every((protocol) => protocol === 'mqtt'), `${protocols}`);
    });
  });
}
