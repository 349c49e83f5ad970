/**
 * A network that misbehaves, between devices and a stream server on one broker: the server listens under a topic prefix of its own,
 * and what goes from one prefix to the other passes through here.
 */
import { connect, type MqttClient } from 'mqtt';
import type { BlockRequest } from '../../agent/streams/stream-messages.js';

export const SERVER_PREFIX = 'behind';
const DEVICE_PREFIX = 'mallorn/v1';

/** The messages that the device gets in the place of `payload`, the server's answer number `index`. */
export type Forward = (payload: Buffer, index: number) => readonly Buffer[];

export class StreamRelay {
  readonly asked: BlockRequest[] = [];
  /** Answers of the server. */
  answers = 0;
  forward: Forward = (payload) => [payload];
  private readonly client: MqttClient;

  private constructor(client: MqttClient) {
    this.client = client;
    client.on('message', (topic, payload) => {
      if (topic.startsWith(`${DEVICE_PREFIX}/`)) {
        this.asked.push(JSON.parse(payload.toString()) as BlockRequest);
        this.publish(SERVER_PREFIX + topic.slice(DEVICE_PREFIX.length), payload);
        return;
      }
      const messages = topic.endsWith('/data') ? this.forward(payload, this.answers++) : [payload];
      for (const message of messages) this.publish(DEVICE_PREFIX + topic.slice(SERVER_PREFIX.length), message);
    });
  }

  static async start(url: string): Promise<StreamRelay> {
    const client = connect(url, { clientId: 'relay', reconnectPeriod: 20 });
    const relay = new StreamRelay(client);
    const answers = ['data', 'rejected'].map((what) => `${SERVER_PREFIX}/+/streams/+/${what}`);
    await client.subscribeAsync([`${DEVICE_PREFIX}/+/streams/+/get`, ...answers], { qos: 1 });
    return relay;
  }

  async stop(): Promise<void> {
    await this.client.endAsync(true);
  }

  private publish(topic: string, payload: Buffer): void {
    this.client.publish(topic, payload, { qos: 1 });
  }
}
