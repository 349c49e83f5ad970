/** The responder: a job board on a broker that has none. One request after another; what is answered is on disk. */
import type { MqttClient } from 'mqtt';
import { endClient } from '../end-client.js';
import { messageOf } from '../message-of.js';
import { connectServer, POLL_MS, type ServerOptions } from '../server-client.js';
import { type Answer, type ExecutionRecord, JobBoard } from './job-board.js';
import { getRequestSchema, jobTopics, NEXT, parseMessage, updateRequestSchema } from './job-messages.js';
import type { JobStore } from './job-store.js';
import { jobRootOf, requestFilters, requestOf } from './job-target.js';

export interface JobServerOptions extends ServerOptions {
  readonly store: JobStore;
  readonly protocolVersion?: 4 | 5;
}

export class JobServer {
  readonly board = new JobBoard();
  private readonly options: JobServerOptions;
  private readonly client: MqttClient;
  private readonly poller: NodeJS.Timeout;

  /** @throws IoError where the store cannot be read. */
  constructor(options: JobServerOptions) {
    this.options = options;
    for (const record of options.store.history()) this.board.replay(record);
    this.client = connectServer(options, { clientId: 'mallorn-jobs', protocolVersion: options.protocolVersion ?? 4 });
    this.client.on('connect', () => void this.listen());
    this.client.on('message', (topic, payload) => this.receive(topic, payload));
    this.poll();
    this.poller = setInterval(() => this.poll(), options.pollMs ?? POLL_MS);
  }

  async close(): Promise<void> {
    clearInterval(this.poller);
    await endClient(this.client);
    this.options.store.close();
  }

  private async listen(): Promise<void> {
    const { topicPrefix, log } = this.options;
    try {
      await this.client.subscribeAsync(requestFilters(topicPrefix), { qos: 1 });
      log('info', 'jobs: listening', { topicPrefix });
      // Whoever asked while nobody listened asks again; a hint makes it sooner.
      for (const device of new Set(this.board.all().map((record) => record.device))) this.notify(device);
    } catch (error) {
      log('warn', 'jobs: subscription interrupted', { error: messageOf(error) });
    }
  }

  private poll(): void {
    const { store, log } = this.options;
    try {
      const nowMs = Date.now();
      const changed = store.changedOrders().flatMap((order) => this.board.order(order, nowMs));
      this.keep([...changed, ...this.board.tick(nowMs)]);
    } catch (error) {
      log('error', 'jobs: cannot take orders', { error: messageOf(error) });
    }
  }

  private receive(topic: string, payload: Uint8Array): void {
    const { target, jobId, what } = requestOf(this.options.topicPrefix, topic);
    const { answer, changed } = this.answer(target, jobId, what, payload);
    const { clientToken } = parseMessage(getRequestSchema, payload) ?? {};
    try {
      this.keep(changed);
    } catch (error) {
      // Unanswered, the device asks again; answered, it would forget what we do not know.
      this.options.log('error', 'jobs: cannot keep', { error: messageOf(error) });
      return;
    }
    const body = { ...answer.body, timestamp: Math.floor(Date.now() / 1000), clientToken };
    this.publish(`${topic}/${answer.kind}`, body);
  }

  private answer(
    device: string,
    jobId: string,
    what: string,
    payload: Uint8Array,
  ): { answer: Answer; changed: ExecutionRecord[] } {
    if (what === 'get') return { answer: this.board.get(device, jobId), changed: [] };
    const request = parseMessage(updateRequestSchema, payload);
    if (request === undefined || jobId === NEXT) {
      const body = { code: 'InvalidRequest', message: 'expected status, statusDetails, expectedVersion' } as const;
      return { answer: { kind: 'rejected', body }, changed: [] };
    }
    return this.board.update(device, jobId, request, Date.now());
  }

  private keep(changed: readonly ExecutionRecord[]): void {
    this.options.store.append(changed);
    for (const { device, jobId, status, details } of changed) {
      this.options.log('info', 'job', { device, job: jobId, status, ...details });
    }
    // The device that claimed a job knows what is next for it.
    const told = changed.filter(({ status }) => status !== 'IN_PROGRESS').map(({ device }) => device);
    for (const device of new Set(told)) this.notify(device);
  }

  private notify(device: string): void {
    const root = jobRootOf(this.options.topicPrefix, device);
    this.publish(jobTopics(root).notifyNext, this.board.summaryOf(device));
  }

  private publish(topic: string, document: unknown): void {
    if (!this.client.connected) return;
    this.client.publishAsync(topic, JSON.stringify(document), { qos: 1 }).catch((error: Error) => {
      this.options.log('warn', 'mqtt publish failed', { topic, error: error.message });
    });
  }
}
