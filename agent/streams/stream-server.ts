/** Serves the files of a folder to devices that pull them over MQTT, a block at a time. Holds no state about any device. */
import type { MqttClient } from 'mqtt';
import { sendAtOnce } from '../broker-access.js';
import { MAX_SERVED_BLOCKS } from '../limits.js';
import { messageOf } from '../message-of.js';
import { connectServer, POLL_MS, type ServerOptions } from '../server-client.js';
import type { StreamFolder } from './stream-folder.js';
import { encodeBlock, parseRequest, type Rejection, streamRoot } from './stream-messages.js';

export interface StreamServerOptions extends ServerOptions {
  readonly folder: StreamFolder;
}

export class StreamServer {
  private readonly options: StreamServerOptions;
  private readonly client: MqttClient;
  private readonly poller: NodeJS.Timeout;
  /** Answers that are being read, or that the broker has not taken yet. */
  private answering = 0;

  /** Begins to connect, and goes on trying. */
  constructor(options: StreamServerOptions) {
    this.options = options;
    this.client = connectServer(options, { clientId: 'mallorn-streams', queueQoSZero: false, writeCache: false });
    this.client.on('connect', () => void this.listen());
    this.client.on('message', (topic, payload, { retain }) => {
      // Nobody waits for the answer to a request that the broker kept.
      if (!retain) void this.answer(topic, payload);
    });
    this.poller = setInterval(() => this.poll(), options.pollMs ?? POLL_MS);
  }

  async close(): Promise<void> {
    clearInterval(this.poller);
    await this.client.endAsync(true);
  }

  private async listen(): Promise<void> {
    const { topicPrefix, folder, log } = this.options;
    sendAtOnce(this.client);
    try {
      await this.client.subscribeAsync(`${streamRoot(topicPrefix, '+')}/+/get`, { qos: 1 });
      log('info', 'streams: listening', { topicPrefix, files: folder.size });
    } catch (error) {
      log('warn', 'streams: subscription interrupted', { error: messageOf(error) });
    }
  }

  private poll(): void {
    try {
      this.options.folder.list();
    } catch (error) {
      this.options.log('error', 'streams: cannot list', { error: messageOf(error) });
    }
  }

  private async answer(topic: string, payload: Uint8Array): Promise<void> {
    // Devices ask again: of a flood of requests the last ones go without an answer, even a refusal.
    if (this.answering >= 2 * MAX_SERVED_BLOCKS) return;
    this.answering++;
    try {
      const [kind, message] = await this.answerTo(topic, payload);
      await this.publish(`${topic.slice(0, topic.lastIndexOf('/'))}/${kind}`, message);
    } catch (error) {
      this.options.log('warn', 'streams: answer lost', { topic, error: messageOf(error) });
    } finally {
      this.answering--;
    }
  }

  private async answerTo(topic: string, payload: Uint8Array): Promise<['data' | 'rejected', Uint8Array]> {
    const request = parseRequest(payload);
    if (request === undefined) return ['rejected', refusal({ code: 'InvalidRequest' })];
    const { offset } = request;
    if (this.answering > MAX_SERVED_BLOCKS) return ['rejected', refusal({ code: 'Busy', offset })];
    const id = topic.split('/').at(-2) ?? '';
    const read = await this.options.folder.read(id, request);
    if (read.kind === 'block') return ['data', encodeBlock(read.tag, offset, read.bytes)];
    return ['rejected', refusal({ code: read.code, offset })];
  }

  private async publish(topic: string, message: Uint8Array): Promise<void> {
    if (!this.client.connected) return;
    await this.client.publishAsync(topic, Buffer.from(message.buffer), { qos: 1 });
  }
}

function refusal(rejection: Rejection): Uint8Array {
  return Uint8Array.from(Buffer.from(JSON.stringify(rejection)));
}
