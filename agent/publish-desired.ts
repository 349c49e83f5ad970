/** Puts a `desired` document on the broker, for one device or many, and waits until the broker has it. */
import { connectAsync, type IClientOptions } from 'mqtt';
import { DEFAULT_TOPIC_PREFIX, deviceTopics, isTopicLevel } from './topics.js';

export interface PublishDesiredOptions {
  readonly url: string;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** PEM bytes. */
  readonly ca?: Uint8Array | undefined;
  readonly cert?: Uint8Array | undefined;
  readonly key?: Uint8Array | undefined;
  /** Default 4, MQTT 3.1.1. */
  readonly protocolVersion?: 4 | 5;
  readonly topicPrefix?: string;
  readonly devices: readonly string[];
  /** Null withdraws the wish. */
  readonly document: unknown | null;
  readonly connectTimeoutMs?: number;
}

/** @throws RangeError for a name that cannot be a device's, and when the broker cannot be reached or refuses: unlike an agent, a publisher has somebody who reads the error. */
export async function publishDesired(options: PublishDesiredOptions): Promise<void> {
  const { topicPrefix = DEFAULT_TOPIC_PREFIX, devices } = options;
  for (const device of devices) {
    if (!isTopicLevel(device)) throw new RangeError(`expected a device name, got ${JSON.stringify(device)}`);
  }
  const client = await connectAsync(options.url, clientOptions(options), false);
  try {
    const payload = options.document === null ? '' : JSON.stringify(options.document);
    for (const device of devices) {
      await client.publishAsync(deviceTopics(topicPrefix, device).desired, payload, { qos: 1, retain: true });
    }
  } finally {
    await client.endAsync();
  }
}

function clientOptions(options: PublishDesiredOptions): IClientOptions {
  const { username, password, ca, cert, key, protocolVersion = 4, connectTimeoutMs = 10_000 } = options;
  return {
    protocolVersion,
    connectTimeout: connectTimeoutMs,
    reconnectPeriod: 0,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(ca === undefined ? {} : { ca: Buffer.from(ca) }),
    ...(cert === undefined ? {} : { cert: Buffer.from(cert) }),
    ...(key === undefined ? {} : { key: Buffer.from(key) }),
  };
}
