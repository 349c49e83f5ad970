/**
 * What a network and dead sessions do to a fleet, done on purpose by a client that may say everything: messages come twice and
 * late, out of their order, and wills of sessions long gone overwrite the state of devices that live.
 */
import { readFileSync } from 'node:fs';
import { connect, type MqttClient } from 'mqtt';
import { Prng } from '../../targets/sim/prng.js';
import type { Access } from './brokers.js';

const REPEAT_ONE_IN = 5;
const MAX_LATE_MS = 3000;
const WILL_EVERY_MS = 50;

export class Chaos {
  repeated = 0;
  staleWills = 0;
  private readonly client: MqttClient;
  private readonly random: Prng;
  private readonly repeatedOnce = new Set<string>();
  private readonly sessions = new Map<string, number>();
  private readonly timers = new Set<NodeJS.Timeout>();
  private readonly wills: NodeJS.Timeout;

  constructor(access: Access, seed: number) {
    this.random = new Prng(seed);
    this.client = connect(access.url, clientOptions(access, 'chaos'));
    this.client.on(
      'connect',
      () => void this.client.subscribe(['mallorn/v1/+/jobs/#', 'mallorn/v1/+/birth'], { qos: 1 }),
    );
    this.client.on('message', (topic, payload) => this.receive(topic, payload.toString()));
    this.client.on('error', () => {});
    this.wills = setInterval(() => this.staleWill(), WILL_EVERY_MS);
  }

  async stop(): Promise<void> {
    clearInterval(this.wills);
    for (const timer of this.timers) clearTimeout(timer);
    await this.client.endAsync(true);
  }

  /** The message as it was, once more, some time later. */
  private receive(topic: string, text: string): void {
    if (topic.endsWith('/birth')) {
      this.sessions.set(topic.split('/')[2]!, (JSON.parse(text) as { session: number }).session);
      return;
    }
    const key = `${topic} ${text}`;
    if (topic.endsWith('/progress') || this.repeatedOnce.has(key) || this.random.below(REPEAT_ONE_IN) > 0) return;
    this.repeatedOnce.add(key);
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      if (!this.client.connected) return;
      this.repeated++;
      this.client.publish(topic, text, { qos: 1 });
    }, this.random.below(MAX_LATE_MS));
    this.timers.add(timer);
  }

  private staleWill(): void {
    const devices = [...this.sessions.keys()];
    const device = devices[this.random.below(Math.max(1, devices.length))];
    if (device === undefined || !this.client.connected) return;
    const will = { state: 'lost', session: this.sessions.get(device)! - 1 };
    this.staleWills++;
    this.client.publish(`mallorn/v1/${device}/$state`, JSON.stringify(will), { qos: 1, retain: true });
  }
}

export function clientOptions({ caPath, certPath, keyPath }: Access, clientId: string) {
  return {
    clientId,
    reconnectPeriod: 100,
    ...(caPath === undefined ? {} : { ca: readFileSync(caPath) }),
    ...(certPath === undefined ? {} : { cert: readFileSync(certPath) }),
    ...(keyPath === undefined ? {} : { key: readFileSync(keyPath) }),
  };
}
