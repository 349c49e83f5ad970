/** Reads a fleet off its broker, as an operator's console would: who is there, what each runs, what was accepted. */
import { connect, type MqttClient } from 'mqtt';
import type { Reported } from '../../agent/reported.js';
import type { Access } from './brokers.js';
import { clientOptions } from './chaos.js';

const TERMINAL = ['SUCCEEDED', 'FAILED', 'REJECTED', 'TIMED_OUT', 'CANCELED'];

export class Observer {
  messages = 0;
  bytes = 0;
  readonly reported = new Map<string, Reported>();
  private readonly births = new Map<string, number>();
  private readonly states = new Map<string, { state: string; session: number }>();
  /** Distinct acceptances of a terminal status, by device and job: what is repeated has the same token. */
  private readonly accepted = new Map<string, Set<string>>();
  private readonly client: MqttClient;

  constructor(access: Access) {
    this.client = connect(access.url, clientOptions(access, 'observer'));
    this.client.on('connect', () => void this.client.subscribe('mallorn/v1/#', { qos: 1 }));
    this.client.on('message', (topic, payload) => this.receive(topic, payload.toString()));
    this.client.on('error', () => {});
  }

  /** By the rule for readers: a state whose session is older than the birth's is a dead session's will. */
  isThere(device: string): boolean {
    const state = this.states.get(device);
    const birth = this.births.get(device);
    if (birth === undefined || state === undefined) return false;
    return state.session < birth || state.state === 'ready';
  }

  terminalsOf(device: string): number {
    return this.accepted.get(device)?.size ?? 0;
  }

  async stop(): Promise<void> {
    await this.client.endAsync(true);
  }

  private receive(topic: string, text: string): void {
    this.messages++;
    this.bytes += topic.length + text.length;
    const [, , device = '', what = '', , , outcome] = topic.split('/');
    const document = JSON.parse(text);
    if (what === '$state') this.states.set(device, document);
    if (what === 'birth') this.births.set(device, document.session);
    if (what === 'reported') this.reported.set(device, document);
    if (what !== 'jobs' || outcome !== 'accepted' || !TERMINAL.includes(document.executionState?.status)) return;
    const tokens = this.accepted.get(device) ?? new Set();
    this.accepted.set(device, tokens.add(`${document.clientToken} ${topic}`));
  }
}
