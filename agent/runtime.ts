/**
 * Runs the state machine: feeds it events one after another, persists, and carries out effects over ports. Everything
 * that can be decided is decided in machine.ts; here is only order: a state is on disk before its work begins, and one
 * piece of work has ended before the next touches the slots.
 */
import { type Application, SILENT_APPLICATION } from './application.js';
import type { ApplySession, Failed, OpenApplySession } from './apply-messages.js';
import type { Consent } from './consent.js';
import { parseDesired } from './desired.js';
import type { DownloadLimits } from './download.js';
import { type Failure, retryable } from './failure.js';
import type { StateFile } from './json-file.js';
import type { Log } from './log.js';
import { initialState, step } from './machine.js';
import type { Effect, Event, MachineSettings, Progress, State } from './machine-types.js';
import { messageOf } from './message-of.js';
import { type Reported, reportOf } from './reported.js';
import { decodeState, encodeState } from './state-schema.js';
import type { StreamPort } from './streams/stream-hub.js';
import { runUpdate } from './update-run.js';

export interface RuntimeOptions {
  readonly settings: MachineSettings;
  readonly limits: DownloadLimits;
  /** See UpdateRunOptions. */
  readonly streams?: StreamPort | undefined;
  readonly stateFile: StateFile;
  readonly openSession: OpenApplySession;
  /** Default: one that is content with everything. */
  readonly application?: Application;
  /** Called when the machine has changed and all it asked for has begun. */
  readonly onState?: (state: State) => void;
  /** Called whenever what there is to say has changed; delivery is the link's business. */
  readonly publish: (reported: Reported) => void;
  readonly log: Log;
  /** Told of the trust files a document brings, before the document counts. */
  readonly onTrust?: (chain: readonly string[]) => void;
  /** In [0, 1): spreads the retries of a fleet. */
  readonly random?: () => number;
}

/** Retries come up to this fraction later than the machine says: never sooner, a server may have asked for the wait. */
const JITTER = 0.5;

const RESTING: ReadonlySet<State['kind']> = new Set(['idle', 'refused', 'failed', 'waiting', 'held', 'staged']);

export class AgentRuntime {
  private readonly options: RuntimeOptions;
  private current: State = initialState();
  private readonly queue: Event[] = [];
  private draining: Promise<void> | null = null;
  private busy = false;
  private session: ApplySession | null = null;
  /** An update or a trial, whichever runs. */
  private update: { readonly abort: AbortController; readonly ended: Promise<void> } | null = null;
  /** Ends the questions of a trial; null where there is none. */
  private vouched: AbortController | null = null;
  private retryTimer: NodeJS.Timeout | null = null;
  private readonly application: Application;
  /** Aborted at the end: hooks that only tell run beside everything. */
  private readonly ending = new AbortController();
  private told: Promise<void> = Promise.resolve();
  private lastReported = '';
  private lastPercent = -1;
  private stopped = false;

  constructor(options: RuntimeOptions) {
    this.options = options;
    this.application = options.application ?? SILENT_APPLICATION;
  }

  get state(): State {
    return this.current;
  }

  /**
   * Loads what an earlier process knew and goes on from there; when it returns, the slots were asked what is installed.
   * `forgetWish`: whoever gave it has no open order for it any more; `always`: also where it was fulfilled, for slots that may be
   * another device's by now.
   * @throws when the state file's medium fails.
   */
  async start({ forgetWish = false }: { forgetWish?: boolean | 'always' } = {}): Promise<void> {
    const saved = await this.options.stateFile.load();
    const state = saved === undefined ? null : decodeState(saved);
    if (saved !== undefined && state === null) this.options.log('warn', 'saved state is of another version, forgotten');
    this.current = state ?? initialState();
    // One that is fulfilled does no harm, and tells what is installed.
    const forgets = forgetWish === 'always' || (forgetWish && this.current.kind !== 'idle');
    if (forgets) this.dispatch({ kind: 'desired', wish: { kind: 'none' } });
    this.dispatch({ kind: 'booted' });
    await this.draining;
  }

  /** A payload of the `desired` topic; empty means no wish. */
  desired(payload: Uint8Array, origin?: string): void {
    const wish = parseDesired(payload, origin);
    if (wish.kind === 'unreadable') this.options.log('warn', wish.message);
    if (wish.kind === 'want' && wish.desired.trust !== undefined) this.options.onTrust?.(wish.desired.trust);
    this.dispatch({ kind: 'desired', wish });
  }

  /** Another attempt at what was given up. */
  retry(): void {
    this.dispatch({ kind: 'retryAsked' });
  }

  /** What was away is back, or another is in its place: looks at the slots now, and goes on from what they say. */
  lookAgain(): void {
    this.dispatch({ kind: 'returned' });
  }

  /** Back to the model before, also where nothing is on trial. */
  rollBack(): void {
    this.dispatch({ kind: 'rollbackAsked' });
  }

  /** An operator's word; without it, a yes to whatever is asked for at the moment. */
  consent(consent: Consent | null = null): void {
    this.dispatch({ kind: 'consented', consent });
  }

  /** What the settings' `conditions` say has changed. */
  conditionsChanged(): void {
    this.dispatch({ kind: 'conditionsChanged' });
  }

  /** A person says that the model on trial is good: it need not be asked any longer. False where none is on trial. */
  vouch(): boolean {
    this.vouched?.abort();
    return this.vouched !== null;
  }

  reported(): Reported {
    return reportOf(this.options.settings.model, this.current);
  }

  /** Parks: what is under way goes on at the next start. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.clearRetry();
    this.ending.abort(new Error('the agent ends'));
    await this.abandonUpdate();
    await this.draining;
    await this.told;
    await this.closeSession();
  }

  private dispatch(event: Event): void {
    if (this.stopped) return;
    this.queue.push(event);
    if (this.busy) return;
    this.busy = true;
    this.draining = this.drain();
  }

  private async drain(): Promise<void> {
    for (let event = this.queue.shift(); event !== undefined && !this.stopped; event = this.queue.shift()) {
      const before = this.current.kind;
      const { state, effects } = step(this.options.settings, this.current, event);
      this.current = state;
      if (state.kind !== before) this.options.log('info', `${before} -> ${state.kind}`, this.describe(state));
      for (const effect of effects) await this.carryOut(effect);
      this.options.onState?.(state);
      if (RESTING.has(state.kind)) {
        // A thread costs some ten megabytes, and these states can last for months.
        await this.closeSession();
      }
    }
    this.busy = false;
  }

  private describe(state: State): Record<string, unknown> {
    const { status, latest_version, sha256, error } = reportOf(this.options.settings.model, state);
    return { status, latest_version, sha256, ...(error === undefined ? {} : { error }) };
  }

  private async carryOut(effect: Effect): Promise<void> {
    switch (effect.kind) {
      case 'persist':
        return this.persist();
      case 'report':
        return this.report();
      case 'readSlots':
        await this.abandonUpdate();
        return this.spawn(effect.ticket, () => this.readSlots(effect.ticket));
      case 'startUpdate':
        return this.startUpdate(effect);
      case 'abortUpdate':
      case 'abortTest':
        return this.abandonUpdate();
      case 'test':
        return this.startTest(effect.ticket);
      case 'rollback':
        return this.spawn(effect.ticket, () => this.rollback(effect.ticket, effect.always));
      case 'commit':
        return this.spawn(effect.ticket, () => this.commit(effect.ticket));
      case 'tell':
        return this.tell(effect.what);
      case 'scheduleRetry':
        return this.scheduleRetry(effect.ticket, effect.delayMs);
      case 'scheduleTurn':
        return this.wake(effect.ticket, effect.delayMs);
    }
  }

  /** A medium that takes no state must not stop updates: what is lost can be learnt again from slots and broker. */
  private async persist(): Promise<void> {
    try {
      await this.options.stateFile.save(encodeState(this.current));
    } catch (error) {
      this.options.log('error', 'cannot save state', { error: messageOf(error) });
    }
  }

  private report(): void {
    const reported = this.reported();
    const text = JSON.stringify(reported);
    if (text === this.lastReported) return;
    this.lastReported = text;
    this.options.publish(reported);
  }

  private startUpdate({ ticket, job, again, header }: Extract<Effect, { kind: 'startUpdate' }>): void {
    this.lastPercent = -1;
    this.begin(ticket, async (abort) => {
      const unready = await this.application.prepare(this.current, abort.signal);
      if (abort.signal.aborted) return;
      if (unready !== null) return this.fail(ticket, { failure: unready, reachedBytes: 0 });
      const result = await runUpdate({
        session: this.openedSession(),
        job,
        again,
        header: header === null ? null : new Uint8Array(Buffer.from(header, 'base64')),
        policy: this.options.settings,
        limits: this.options.limits,
        streams: this.options.streams,
        signal: abort.signal,
      });
      // Over: from here on nothing may cut the thread short, for it is about to switch the slots.
      if (this.update?.abort === abort) this.update = null;
      if (result.kind === 'staged') {
        this.dispatch({ kind: 'staged', ticket, header: Buffer.from(result.header).toString('base64') });
      }
      if (result.kind === 'failed') this.fail(ticket, result);
    });
  }

  private startTest(ticket: number): void {
    this.begin(ticket, async (abort) => {
      const ailment = await this.judge(abort.signal);
      if (abort.signal.aborted) return;
      if (ailment !== null) return this.fail(ticket, { failure: ailment, reachedBytes: 0 });
      const reply = await this.openedSession().confirm();
      if (abort.signal.aborted) return;
      if (reply.kind === 'failed') return this.fail(ticket, reply);
      this.dispatch({ kind: 'confirmed', ticket });
    });
  }

  /** Null where the model is good, or a person vouches for it. */
  private async judge(signal: AbortSignal): Promise<Failure | null> {
    const vouched = new AbortController();
    this.vouched = vouched;
    try {
      const ailment = await this.application.judge(this.current, AbortSignal.any([signal, vouched.signal]));
      return vouched.signal.aborted ? null : ailment;
    } catch (error) {
      if (vouched.signal.aborted) return null;
      throw error;
    } finally {
      this.vouched = null;
    }
  }

  private begin(ticket: number, work: (abort: AbortController) => Promise<void>): void {
    const abort = new AbortController();
    const ended = this.spawn(ticket, async () => {
      try {
        await work(abort);
      } catch (error) {
        if (!abort.signal.aborted) throw error;
      }
    });
    this.update = { abort, ended };
  }

  private async rollback(ticket: number, always: boolean): Promise<void> {
    const reply = await this.openedSession().rollback(always);
    if (reply.kind === 'failed') this.fail(ticket, reply);
    else this.dispatch({ kind: 'rolledBack', ticket, active: reply.active });
  }

  /** In order, and never in the way of what comes next. */
  private tell(what: 'committed' | 'rolledBack'): void {
    const model = this.current;
    this.told = this.told
      .then(() => this.application[what](model, this.ending.signal))
      .catch((error: unknown) => this.options.log('error', 'hook', { error: messageOf(error) }));
  }

  private async readSlots(ticket: number): Promise<void> {
    const reply = await this.openedSession().readSlots();
    if (reply.kind === 'failed') this.fail(ticket, reply);
    else this.dispatch({ kind: 'slotsRead', ticket, active: reply.active, trial: reply.trial });
  }

  private async commit(ticket: number): Promise<void> {
    const reply = await this.openedSession().commit();
    if (reply.kind === 'failed') this.fail(ticket, reply);
    else this.dispatch({ kind: 'committed', ticket, active: reply.active, trial: reply.trial });
  }

  private fail(ticket: number, { failure, reachedBytes }: Omit<Failed, 'kind'>): void {
    this.options.log('warn', 'stopped', { ...failure, reachedBytes });
    this.dispatch({ kind: 'stopped', ticket, failure, reachedBytes });
  }

  /** Runs beside the queue; its result comes back as an event. A bug in it is a failure of this attempt, not of the agent. */
  private async spawn(ticket: number, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const failure: Failure = retryable('internal', messageOf(error));
      this.options.log('error', 'unexpected error', { error: error instanceof Error ? error.stack : String(error) });
      this.dispatch({ kind: 'stopped', ticket, failure, reachedBytes: 0 });
    }
  }

  private scheduleRetry(ticket: number, delayMs: number): void {
    const random = this.options.random ?? Math.random;
    this.wake(ticket, Math.round(delayMs * (1 + JITTER * random())));
  }

  private wake(ticket: number, waitMs: number): void {
    this.clearRetry();
    this.retryTimer = setTimeout(() => this.dispatch({ kind: 'retryDue', ticket }), waitMs);
    this.options.log('info', 'retry scheduled', { waitMs });
  }

  private clearRetry(): void {
    if (this.retryTimer !== null) clearTimeout(this.retryTimer);
    this.retryTimer = null;
  }

  private openedSession(): ApplySession {
    this.session ??= this.options.openSession((progress) => this.advance(progress));
    return this.session;
  }

  private advance(progress: Progress): void {
    const percent = progress.targetSize === 0 ? 0 : Math.floor((100 * progress.targetBytes) / progress.targetSize);
    if (percent === this.lastPercent) return;
    this.lastPercent = percent;
    this.dispatch({ kind: 'advanced', ticket: this.current.ticket, progress });
  }

  /** The thread ends before this returns: two of them must never write one slot. */
  private async abandonUpdate(): Promise<void> {
    const { update } = this;
    if (update === null) return;
    this.update = null;
    update.abort.abort();
    await this.closeSession();
    await update.ended;
  }

  private async closeSession(): Promise<void> {
    const { session } = this;
    this.session = null;
    await session?.close();
  }
}
