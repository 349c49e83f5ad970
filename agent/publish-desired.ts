/** Puts a `desired` document on the broker, for one device or many, and waits until the broker has it. */
import { connectAsync, type IClientOptions } from 'mqtt';
import { IoError } from '../core/errors.js';
import { accessOptions, type BrokerAccess, isBrokerUrl } from './broker-access.js';
import { endClient } from './end-client.js';
import { childTopics, DEFAULT_TOPIC_PREFIX, deviceTopics, isTopicLevel, modelTopics } from './topics.js';

export interface PublishDesiredOptions extends BrokerAccess {
  /** Default 4, MQTT 3.1.1. */
  readonly protocolVersion?: 4 | 5;
  readonly topicPrefix?: string;
  readonly devices: readonly string[];
  /** To devices that keep several models: of this one. */
  readonly model?: string;
  /** To a microcontroller of this name behind each of the devices. */
  readonly child?: string;
  /** Null withdraws the wish. */
  readonly document: unknown | null;
  readonly connectTimeoutMs?: number;
}

/**
 * @throws RangeError for a name that cannot be a device's or a URL that is none of a broker; IoError when the broker cannot
 * be reached or refuses: unlike an agent, a publisher has somebody who reads the error.
 */
export async function publishDesired(options: PublishDesiredOptions): Promise<void> {
  const { topicPrefix = DEFAULT_TOPIC_PREFIX, devices } = options;
  for (const device of devices) {
    if (!isTopicLevel(device)) throw new RangeError(`expected a device name, got ${JSON.stringify(device)}`);
  }
  for (const name of [options.model, options.child]) {
    if (name === undefined || isTopicLevel(name)) continue;
    throw new RangeError(`expected a name that can be part of a topic, got ${JSON.stringify(name)}`);
  }
  if (!isBrokerUrl(options.url)) {
    throw new RangeError(`expected a URL with mqtt:, mqtts:, ws: or wss:, got ${options.url}`);
  }
  try {
    await tellBroker(options, topicPrefix);
  } catch (cause) {
    // The URL may hold a password; its host is enough to find the broker.
    const { host } = new URL(options.url);
    throw new IoError(`broker ${host}: ${cause instanceof Error ? cause.message || cause.name : String(cause)}`, {
      cause,
    });
  }
}

async function tellBroker(options: PublishDesiredOptions, topicPrefix: string): Promise<void> {
  const client = await connectAsync(options.url, clientOptions(options), false);
  // To a client that does not connect again, a lost connection is no reason to let go of a publication.
  const lost = new Promise<never>((_, reject) => {
    client.once('close', () => reject(new Error('connection lost before the broker had everything')));
  });
  lost.catch(() => {});
  try {
    const payload = options.document === null ? '' : JSON.stringify(options.document);
    for (const device of options.devices) {
      const topic = desiredTopic(options, topicPrefix, device);
      await Promise.race([client.publishAsync(topic, payload, { qos: 1, retain: true }), lost]);
    }
  } finally {
    await endClient(client);
  }
}

function desiredTopic({ model, child }: PublishDesiredOptions, prefix: string, device: string): string {
  if (child !== undefined) return childTopics(prefix, device, child).desired;
  return (model === undefined ? deviceTopics(prefix, device) : modelTopics(prefix, device, model)).desired;
}

function clientOptions(options: PublishDesiredOptions): IClientOptions {
  const { protocolVersion = 4, connectTimeoutMs = 10_000 } = options;
  return { protocolVersion, connectTimeout: connectTimeoutMs, reconnectPeriod: 0, ...accessOptions(options) };
}
