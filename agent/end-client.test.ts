import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { connect, type MqttClient } from 'mqtt';
import { endClient } from './end-client.js';

const CONNACK = Uint8Array.of(0x20, 2, 0, 0);
const DISCONNECT = 0xe0;

/** Lets everybody in and acknowledges nothing. */
class DeafBroker {
  readonly sockets: Socket[] = [];
  heard = Buffer.alloc(0);
  private readonly server = createServer((socket) => {
    this.sockets.push(socket);
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      this.heard = Buffer.concat([this.heard, bytes]);
    });
    socket.once('data', () => socket.write(CONNACK));
  });

  async connect(): Promise<MqttClient> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    const { port } = this.server.address() as AddressInfo;
    const client = connect(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 20 });
    client.on('error', () => {});
    await new Promise<void>((resolve) => client.once('connect', () => resolve()));
    return client;
  }

  stop(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }
}

describe('the end of a connection', { timeout: 10_000 }, () => {
  let broker: DeafBroker;
  afterEach(() => broker.stop());

  it('is orderly where nothing is open', async () => {
    broker = new DeafBroker();
    const client = await broker.connect();
    await endClient(client);
    assert.equal(broker.heard.at(-2), DISCONNECT);
  });

  it('does not wait for ever for an acknowledgement', async () => {
    broker = new DeafBroker();
    const client = await broker.connect();
    client.publish('topic', 'text', { qos: 1 }, () => {});
    await endClient(client);
    assert.equal(client.connected, false);
  });

  it('comes in the middle of repeating what a lost connection left', async () => {
    broker = new DeafBroker();
    const client = await broker.connect();
    for (const text of ['one', 'two', 'three']) client.publish('topic', text, { qos: 1 }, () => {});
    await once(broker.sockets[0]!, 'data');
    broker.sockets[0]!.destroy();
    await new Promise<void>((resolve) => client.once('close', () => resolve()));
    while (broker.sockets.length < 2 || !client.connected) await new Promise((resolve) => setTimeout(resolve, 5));
    await endClient(client);
    assert.equal(client.connected, false);
    assert.equal(broker.sockets.length, 2, 'nobody comes back');
  });
});
