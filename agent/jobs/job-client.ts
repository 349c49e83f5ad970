/**
 * Runs the job machine on a device: events one after another, on disk before on the wire, between the link (which carries
 * messages) and the agent's runtime (which does the work).
 */
import * as z from 'zod';
import { parseDesired } from '../desired.js';
import type { Failure } from '../failure.js';
import type { StateFile } from '../json-file.js';
import type { Log } from '../log.js';
import type { State } from '../machine-types.js';
import { messageOf } from '../message-of.js';
import type { Reported } from '../reported.js';
import { initialJobState, type JobEffect, type JobEvent, type JobState, type OpenJob, stepJob } from './job-machine.js';
import { decodeJobs, encodeJobs } from './job-memory.js';
import {
  getAcceptedSchema,
  type JobTopics,
  parseMessage,
  rejectedSchema,
  updateAcceptedSchema,
} from './job-messages.js';
import { originOf, reasonOf, verdictOf } from './job-verdict.js';

export interface JobClientOptions {
  readonly topics: JobTopics;
  readonly file: StateFile;
  /** Grows with every start of the agent: answers to an earlier process are told by it. */
  readonly bootCount: number;
  readonly send: (topic: string, document: unknown, qos: 0 | 1) => void;
  readonly work: JobWork;
  /** AWS has no such topic, and ends the connection of who publishes where it may not. */
  readonly tellsProgress: boolean;
  readonly log: Log;
  readonly random?: () => number;
}

/** Who carries out what a job asks for. Documents are as on the `desired` topic. */
export interface JobWork {
  /** A failure where nobody can: the job is rejected. */
  begin(desired: Uint8Array, origin: string): Failure | null;
  /** As if it had never been asked for, where that still can be. */
  drop(desired: Uint8Array): void;
}

/** Answers come this fraction later than asked for at most. */
const JITTER = 0.5;
const documentSchema = z.object({ desired: z.unknown() });

export class JobClient {
  private readonly options: JobClientOptions;
  private state: JobState;
  private readonly queue: JobEvent[] = [];
  private busy = false;
  private draining: Promise<void> = Promise.resolve();
  private readonly timers = new Set<NodeJS.Timeout>();
  private wishId: string | null = null;
  private lastProgress = '';
  private stopped = false;

  private constructor(options: JobClientOptions, state: JobState) {
    this.options = options;
    this.state = state;
  }

  /** @throws when the file's medium fails. */
  static async load(options: JobClientOptions): Promise<JobClient> {
    return new JobClient(options, initialJobState(decodeJobs(await options.file.load())));
  }

  /** Whether an order is open: without one, what an earlier process was told to install is nobody's wish any more. */
  get hasOpenJob(): boolean {
    const { current } = this.state;
    return current !== null && current.verdict === null;
  }

  get current(): OpenJob | null {
    return this.state.current;
  }

  connected(): void {
    this.dispatch({ kind: 'connected' });
  }

  disconnected(): void {
    this.dispatch({ kind: 'disconnected' });
  }

  receive(topic: string, payload: Uint8Array): void {
    const { topics } = this.options;
    const path = topic.slice(topics.root.length + 1);
    const event: JobEvent | null = topic === topics.notifyNext ? { kind: 'notified' } : this.eventOf(path, payload);
    if (event !== null) this.dispatch(event);
  }

  /** The agent's state, after each change. */
  observe(state: State): void {
    const { current } = this.state;
    if (current === null || this.wishId === null) return;
    const verdict = verdictOf(state, this.wishId);
    if (verdict === null) return;
    const { jobId, executionNumber } = current;
    this.dispatch({ kind: 'judged', jobId, executionNumber, verdict });
  }

  tellProgress(reported: Reported): void {
    const { current } = this.state;
    if (!this.options.tellsProgress || current === null || !this.hasOpenJob || !this.state.connected) return;
    const document = { phase: reported.status, progress: reported.progress };
    const text = JSON.stringify(document);
    if (text === this.lastProgress) return;
    this.lastProgress = text;
    this.options.send(`${this.options.topics.root}/${current.jobId}/progress`, document, 0);
  }

  async stop(): Promise<void> {
    this.stopped = true;
    for (const timer of this.timers) clearTimeout(timer);
    await this.draining;
  }

  private dispatch(event: JobEvent): void {
    if (this.stopped) return;
    this.queue.push(event);
    if (this.busy) return;
    this.busy = true;
    this.draining = this.drain();
  }

  private async drain(): Promise<void> {
    for (let event = this.queue.shift(); event !== undefined; event = this.queue.shift()) {
      const before = this.state;
      const { state, effects } = stepJob(before, event);
      this.state = state;
      this.logChange(before, state);
      for (const effect of effects) await this.carryOut(effect);
    }
    this.busy = false;
  }

  private logChange(before: JobState, { current, done }: JobState): void {
    const { log } = this.options;
    if (current !== null && before.current === null) {
      log('info', 'job taken', { job: current.jobId, execution: current.executionNumber });
    }
    if (done !== before.done) log('info', 'job over', { job: done[0]?.jobId, status: done[0]?.status });
  }

  private async carryOut(effect: JobEffect): Promise<void> {
    const { topics, send, bootCount } = this.options;
    switch (effect.kind) {
      case 'persist':
        return this.persist();
      case 'get':
        return send(`${topics.root}/${effect.id}/get`, { clientToken: `${bootCount}-${effect.token}` }, 1);
      case 'update': {
        const { kind: _, id, token, details: statusDetails, ...rest } = effect;
        const message = { clientToken: `${bootCount}-${token}`, statusDetails, ...rest };
        return send(`${topics.root}/${id}/update`, message, 1);
      }
      case 'remind':
        return this.remind(effect.token, effect.afterMs);
      case 'work':
        return this.work(effect.job);
      case 'drop':
        this.wishId = null;
        return this.options.work.drop(desiredOf(effect.job));
    }
  }

  /** A verdict that cannot be saved is sent nevertheless: it is what happened. */
  private async persist(): Promise<void> {
    try {
      await this.options.file.save(encodeJobs(this.state));
    } catch (error) {
      this.options.log('error', 'cannot save jobs', { error: messageOf(error) });
    }
  }

  private remind(token: string, afterMs: number): void {
    const random = this.options.random ?? Math.random;
    const timer = setTimeout(
      () => {
        this.timers.delete(timer);
        this.dispatch({ kind: 'due', token });
      },
      Math.round(afterMs * (1 + JITTER * random())),
    );
    this.timers.add(timer);
  }

  private work(job: OpenJob): void {
    const payload = desiredOf(job);
    const wish = parseDesired(payload, originOf(job));
    this.wishId = wish.kind === 'want' ? wish.desired.id : wish.kind === 'unreadable' ? wish.id : null;
    const failure = this.options.work.begin(payload, originOf(job));
    if (failure === null) return;
    const { jobId, executionNumber } = job;
    const verdict = { status: 'REJECTED', details: reasonOf(failure) } as const;
    this.dispatch({ kind: 'judged', jobId, executionNumber, verdict });
  }

  private eventOf(path: string, payload: Uint8Array): JobEvent | null {
    const [, what, outcome] = path.split('/');
    if (outcome === 'rejected') {
      const message = parseMessage(rejectedSchema, payload);
      const token = this.ownToken(message?.clientToken);
      return message === undefined || token === null ? null : { kind: 'rejected', token, code: message.code };
    }
    if (what === 'get') {
      const message = parseMessage(getAcceptedSchema, payload);
      const token = this.ownToken(message?.clientToken);
      return message === undefined || token === null
        ? null
        : { kind: 'got', token, execution: message.execution ?? null };
    }
    const message = parseMessage(updateAcceptedSchema, payload);
    const token = this.ownToken(message?.clientToken);
    const version = message?.executionState?.versionNumber ?? null;
    return token === null ? null : { kind: 'updated', token, version };
  }

  /** Null for an answer to another process of this device. */
  private ownToken(clientToken: string | undefined): string | null {
    const [boot, token] = (clientToken ?? '').split('-');
    return boot === `${this.options.bootCount}` && token !== undefined ? token : null;
  }
}

/** The document that a job carries, as it would lie on the `desired` topic; of a job that carries none it cannot be read. */
export function desiredOf({ document }: Pick<OpenJob, 'document'>): Uint8Array {
  const parsed = documentSchema.safeParse(document);
  return new TextEncoder().encode(JSON.stringify(parsed.success ? (parsed.data.desired ?? {}) : {}));
}
