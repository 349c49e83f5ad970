/**
 * The agent's place on the broker (research/protocols.md): `$state` with a will, `birth`, and for each of its units
 * what it is told and says. Retained documents are the whole truth of this link: after each connect everything is said again, so
 * that nothing depends on messages that a broker or a broken connection swallowed.
 */
import type { IClientOptions, ISubscriptionGrant, MqttClient } from 'mqtt';
import { accessOptions, type BrokerAccess, sendAtOnce } from './broker-access.js';
import { endClient } from './end-client.js';
import { MAX_DESIRED_BYTES } from './limits.js';
import type { Log } from './log.js';
import { messageOf } from './message-of.js';
import { connectGuarded } from './packet-guard.js';
import type { Reported } from './reported.js';
import type { DeviceTopics } from './topics.js';
import { type ChannelTiming, type DeviceState, type LinkUnit, UnitChannel } from './unit-channel.js';

export interface LinkOptions extends BrokerAccess, ChannelTiming {
  readonly clientId: string;
  readonly protocolVersion: 4 | 5;
  readonly keepaliveSeconds: number;
  readonly reconnectMinMs: number;
  readonly reconnectMaxMs: number;
  readonly topics: Omit<DeviceTopics, 'desired' | 'reported'>;
  readonly units: readonly LinkUnit[];
  /** How often this agent has started. Session numbers grow from it, across reconnects and restarts. */
  readonly bootCount: number;
  readonly birth: () => Record<string, unknown>;
  readonly channels?: readonly LinkChannel[];
  /** Whether `$state`, `birth` and `reported` are published, and `cmd/rebirth` is heard. AWS allows its reserved topics alone. */
  readonly announces: boolean;
  /** Null: there is nothing to consent to, and `cmd/consent` is not listened to. */
  readonly onConsent: ((payload: Uint8Array) => void) | null;
  /** Other retained documents, told after each connect where this link announces anything; null takes one back. */
  readonly announcements?: ReadonlyMap<string, unknown>;
  /** They have all been taken by the broker. */
  readonly onAnnounced?: () => void;
  /** Other topics that are listened to then. What is retained there is no command of now. */
  readonly commands?: ReadonlyMap<string, (payload: Uint8Array) => void>;
  readonly log: Log;
  readonly random?: () => number;
}

/** What else is heard on this connection. */
export interface LinkChannel {
  /** Its topics lie under it. */
  readonly root: string;
  readonly filters: readonly string[];
  /** Subscribed, and everything retained is said. */
  connected(): void;
  disconnected(): void;
  receive(topic: string, payload: Uint8Array): void;
}

/** Connections that one boot can number before its numbers run into the next boot's. */
const SESSIONS_PER_BOOT = 2 ** 20;
const REBIRTH_INTERVAL_MS = 1000;
/** AWS ends the connection of who subscribes to more in one request (https://docs.aws.amazon.com/general/latest/gr/iot-core.html). */
const MAX_FILTERS_AT_ONCE = 8;
const FAREWELL_TIMEOUT_MS = 2000;
/** Leaves room for topic, properties and a job around the largest document; MQTT 5 brokers then drop larger ones for us. */
const MAX_PACKET_BYTES = MAX_DESIRED_BYTES + 12 * 1024;

export class MqttLink {
  private readonly options: LinkOptions;
  private readonly client: MqttClient;
  private session: number;
  private failures = 0;
  private readonly channels: readonly UnitChannel[];
  private greeted = false;
  private lastRebirthMs = Number.NEGATIVE_INFINITY;

  /** Begins to connect, and goes on trying. */
  constructor(options: LinkOptions) {
    this.options = options;
    this.channels = options.units.map((unit) => new UnitChannel(unit, options));
    this.session = options.bootCount * SESSIONS_PER_BOOT;
    this.client = connectGuarded(options.url, this.clientOptions(), MAX_PACKET_BYTES);
    this.client.on('connect', () => void this.greet());
    this.client.on('message', (topic, payload, { retain }) => this.receive(topic, payload, retain));
    this.client.on('close', () => this.lose());
    this.client.on('error', (error) => options.log('warn', 'mqtt', { error: error.message }));
  }

  get connected(): boolean {
    return this.client.connected && this.greeted;
  }

  /** Connections that were lost or not made since the agent started. */
  get reconnects(): number {
    return this.session - this.options.bootCount * SESSIONS_PER_BOOT;
  }

  /** Keeps a unit's latest and says it now or after the next connect; older ones are never queued. */
  publishReported(unit: LinkUnit, reported: Reported): void {
    const channel = this.channels.find((candidate) => candidate.unit === unit);
    if (channel === undefined) return;
    const { isNews, isOtherModel } = channel.report(reported);
    if (!this.connected || !this.options.announces || !isNews) return;
    channel.said();
    void this.publish(unit.topics.reported, reported);
    if (isOtherModel) void this.publishBirth();
  }

  /** Says whether a unit that comes and goes is there. */
  publishPresence(unit: LinkUnit): void {
    if (!this.connected || !this.options.announces) return;
    void this.tellPresence(unit);
    void this.publishBirth();
  }

  /** What is not retained and repeated by whoever needs an answer: without a connection it is dropped. */
  send(topic: string, document: unknown, qos: 0 | 1): void {
    if (!this.client.connected) return;
    this.client.publishAsync(topic, JSON.stringify(document), { qos }).catch((error: Error) => {
      this.options.log('warn', 'mqtt publish failed', { topic, error: error.message });
    });
  }

  /** Says good-bye, so that the broker keeps the will to itself. */
  async close(): Promise<void> {
    for (const channel of this.channels) channel.clearGrace();
    // Forced where nobody acknowledged: an orderly end would wait for that acknowledgement for ever.
    const heard = this.client.connected && (await this.farewell());
    await endClient(this.client, heard);
  }

  private farewell(): Promise<boolean> {
    if (!this.options.announces) return Promise.resolve(true);
    const document = this.stateDocument('disconnected');
    // Its units' first: who hears the last word knows all of it.
    const topics = [...this.options.units.flatMap(({ presence }) => presence?.topic ?? []), this.options.topics.state];
    const said = Promise.all(topics.map((topic) => this.publish(topic, document))).then(() => true);
    return Promise.race([said, timeout(FAREWELL_TIMEOUT_MS)]);
  }

  private clientOptions(): IClientOptions {
    const { clientId, protocolVersion, keepaliveSeconds } = this.options;
    return {
      clientId,
      protocolVersion,
      keepalive: keepaliveSeconds,
      clean: true,
      // Subscribing and publishing are ours to repeat, in our order, at each connect.
      resubscribe: false,
      queueQoSZero: false,
      reconnectPeriod: this.reconnectDelayMs(),
      // Credentials are put right at the broker while devices keep knocking.
      reconnectOnConnackError: true,
      // The library otherwise keeps a buffer ready for each of 65,536 numbers: 8 MB.
      writeCache: false,
      connectTimeout: 30_000,
      ...(this.options.announces ? { will: this.will() } : {}),
      ...(protocolVersion === 5 ? { properties: { maximumPacketSize: MAX_PACKET_BYTES } } : {}),
      ...accessOptions(this.options),
    };
  }

  private will(): NonNullable<IClientOptions['will']> {
    const payload = Buffer.from(JSON.stringify(this.stateDocument('lost')));
    return { topic: this.options.topics.state, payload, qos: 1, retain: true };
  }

  /** Will, state and birth carry one number: a will of an older session that arrives late can be told from today's. */
  private stateDocument(state: DeviceState): { state: DeviceState; session: number } {
    return { state, session: this.session };
  }

  private async greet(): Promise<void> {
    const { topics, log, announces, channels = [] } = this.options;
    const session = this.session;
    this.failures = 0;
    sendAtOnce(this.client);
    log('info', 'mqtt connected', { session });
    try {
      if (announces) {
        await this.publish(topics.state, this.stateDocument('init'));
        await this.publishBirth();
      }
      const granted = await this.subscribe(this.filters());
      // The connection may have been replaced while we waited; the new one has its own greeting.
      if (session !== this.session) return;
      this.greeted = true;
      const denied = granted.filter(({ qos }) => qos > 2).map(({ topic }) => topic);
      if (denied.length > 0) log('error', 'the broker does not let us listen', { topics: denied });
      // Silence on a topic that is closed to us says nothing about wishes.
      for (const channel of this.channels) if (!denied.includes(channel.unit.topics.desired)) channel.listening();
      if (announces) {
        for (const { unit, reported } of this.channels) {
          if (reported !== null) await this.publish(unit.topics.reported, reported);
          await this.tellPresence(unit);
        }
        await this.announce();
        await this.publish(topics.state, this.stateDocument('ready'));
      }
      if (session === this.session) for (const channel of channels) channel.connected();
    } catch (error) {
      // The library reconnects by itself, and `connect` brings us here again.
      log('warn', 'mqtt greeting interrupted', { error: messageOf(error) });
    }
  }

  private async subscribe(filters: readonly string[]): Promise<ISubscriptionGrant[]> {
    const granted: ISubscriptionGrant[] = [];
    for (let at = 0; at < filters.length; at += MAX_FILTERS_AT_ONCE) {
      granted.push(...(await this.client.subscribeAsync(filters.slice(at, at + MAX_FILTERS_AT_ONCE), { qos: 1 })));
    }
    return granted;
  }

  private async announce(): Promise<void> {
    const { announcements = new Map(), onAnnounced } = this.options;
    let isSaid = true;
    for (const [topic, document] of announcements) isSaid = (await this.publish(topic, document)) && isSaid;
    if (isSaid) onAnnounced?.();
  }

  private filters(): string[] {
    const { topics, units, announces, onConsent, commands, channels = [] } = this.options;
    return [
      ...units.filter(({ onDesired }) => onDesired !== null).map(({ topics }) => topics.desired),
      ...(announces ? [topics.rebirth, ...(commands?.keys() ?? [])] : []),
      ...(announces && onConsent !== null ? [topics.consent] : []),
      ...channels.flatMap(({ filters }) => filters),
    ];
  }

  private async tellPresence({ presence }: LinkUnit): Promise<void> {
    if (presence !== undefined) await this.publish(presence.topic, this.stateDocument(presence.state()));
  }

  private async publishBirth(): Promise<void> {
    await this.publish(this.options.topics.birth, { session: this.session, ...this.options.birth() });
  }

  /** Whether the broker has taken it. */
  private async publish(topic: string, document: unknown): Promise<boolean> {
    try {
      const payload = document === null ? '' : JSON.stringify(document);
      await this.client.publishAsync(topic, payload, { qos: 1, retain: true });
      return true;
    } catch (error) {
      // Said again after the next connect.
      const message = messageOf(error);
      this.options.log('warn', 'mqtt publish failed', { topic, error: message });
      return false;
    }
  }

  private receive(topic: string, payload: Uint8Array, retained: boolean): void {
    const { topics, channels = [], onConsent, commands } = this.options;
    const channel = this.channels.find(({ unit }) => unit.topics.desired === topic && unit.onDesired !== null);
    if (channel !== undefined) {
      channel.receive(payload);
    } else if (topic === topics.rebirth) {
      const nowMs = performance.now();
      // Anybody may ask; nobody may make us flood the broker.
      if (nowMs - this.lastRebirthMs < REBIRTH_INTERVAL_MS) return;
      this.lastRebirthMs = nowMs;
      void this.publishBirth();
    } else if (topic === topics.consent) {
      // An empty one is how a retained message is taken back.
      if (payload.length > 0) onConsent?.(payload);
    } else if (commands?.has(topic)) {
      if (!retained) commands.get(topic)?.(payload);
    } else {
      channels.find(({ root }) => topic.startsWith(`${root}/`))?.receive(topic, payload);
    }
  }

  /** Prepares what the library reads at its next attempt: a new session number in the will, a longer pause after it. */
  private lose(): void {
    this.greeted = false;
    for (const channel of this.options.channels ?? []) channel.disconnected();
    for (const channel of this.channels) channel.disconnected();
    this.failures++;
    this.session++;
    if (this.options.announces) this.client.options.will = this.will();
    this.client.options.reconnectPeriod = this.reconnectDelayMs();
  }

  /** Exponential with full spread over its upper half: a broker that restarts meets its fleet one by one. */
  private reconnectDelayMs(): number {
    const { reconnectMinMs, reconnectMaxMs, random = Math.random } = this.options;
    const ceiling = Math.min(reconnectMaxMs, reconnectMinMs * 2 ** Math.min(this.failures, 30));
    return Math.max(1, Math.round(ceiling * (0.5 + random() / 2)));
  }
}

function timeout(ms: number): Promise<false> {
  return new Promise((resolve) => setTimeout(() => resolve(false), ms).unref());
}
