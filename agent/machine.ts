/**
 * The agent's state machine: `step(settings, state, event)` gives the next state and what to do about it. Pure: it
 * knows no clock, no chance, no file and no network, so that every path through it is a test that runs at once.
 */
import { choose } from './choose.js';
import { type Failure, permanent, retryable } from './failure.js';
import type {
  ActiveModel,
  Effect,
  Event,
  Job,
  MachineSettings,
  Progress,
  Refusal,
  Retry,
  RetrySettings,
  State,
  StateOf,
  Step,
  Trial,
  Wish,
} from './machine-types.js';

/** SourceHashMismatch, as failureOf spells it. */
const ROTTEN_BASE = 'source-hash-mismatch';
const TELL_COMMITTED: Effect = { kind: 'tell', what: 'committed' };
const TELL_ROLLED_BACK: Effect = { kind: 'tell', what: 'rolledBack' };
const FRESH: Retry = { attempt: 0, farthestBytes: 0, again: false };

export function initialState(): State {
  return { kind: 'starting', wish: { kind: 'none' }, installed: null, previous: null, ticket: 0 };
}

export function step(settings: MachineSettings, state: State, event: Event): Step {
  switch (event.kind) {
    case 'booted':
      return boot(settings, state);
    case 'desired':
      return wished(settings, state, event.wish);
    case 'retryAsked':
      return retryAsked(state);
    case 'rollbackAsked':
      return rollbackAsked(state);
    default:
      // Answers to work that was given up in the meantime.
      if (event.ticket !== state.ticket) return stay(state);
  }
  switch (event.kind) {
    case 'slotsRead':
      return state.kind === 'choosing' ? decide(settings, state, event) : stay(state);
    case 'advanced':
      return state.kind === 'applying' ? advanced(state, event.progress) : stay(state);
    case 'staged':
      return state.kind === 'applying' ? staged(state) : stay(state);
    case 'committed':
      return state.kind === 'committing' ? committed(settings, state, event) : stay(state);
    case 'confirmed':
      return state.kind === 'testing' ? settle(settings, state, TELL_COMMITTED) : stay(state);
    case 'rolledBack':
      return state.kind === 'rollingBack' ? rolledBack(settings, state, event.active) : stay(state);
    case 'stopped':
      return stopped(settings, state, event.failure, event.reachedBytes);
    case 'retryDue':
      return state.kind === 'waiting' ? readSlots(state, state.retry, null) : stay(state);
  }
}

function stay(state: State): Step {
  return { state, effects: [] };
}

function go(state: State, ...effects: Effect[]): Step {
  return { state, effects: [{ kind: 'persist' }, { kind: 'report' }, ...effects] };
}

function common(state: State): Pick<State, 'wish' | 'installed' | 'previous' | 'ticket'> {
  return { wish: state.wish, installed: state.installed, previous: state.previous, ticket: state.ticket };
}

/**
 * A restart believes the slots and nothing else. An update that was under way is begun again: the journal makes the
 * applier go on where it was, and a switch that had happened shows as the wished model being active.
 */
function boot(settings: MachineSettings, state: State): Step {
  const carried = 'retry' in state ? { ...state.retry, again: true } : FRESH;
  return readSlots(state, carried, remembered(settings, state));
}

/** Also what a rollback would have ended in that a restart may have cut short behind its switch. */
function remembered(settings: MachineSettings, state: State): Refusal | null {
  if (state.kind === 'refused') return state.refusal;
  if (state.kind !== 'rollingBack') return null;
  return { failure: state.failure, baseSha256: state.previous?.sha256 ?? null, policyId: settings.policyId };
}

function readSlots(state: State, retry: Retry, remembered: Refusal | null, ...before: Effect[]): Step {
  const ticket = state.ticket + 1;
  return go({ ...common(state), kind: 'choosing', ticket, retry, remembered }, ...before, {
    kind: 'readSlots',
    ticket,
  });
}

function wished(settings: MachineSettings, state: State, wish: Wish): Step {
  if (sameWish(state.wish, wish)) return stay(state);
  const next = { ...state, wish };
  switch (state.kind) {
    case 'starting':
      return stay(next);
    case 'committing':
    case 'testing':
    case 'rollingBack':
      // The slots change, and both hold what is needed: it ends, and then the new wish has its turn.
      return go(next);
    case 'applying':
      if (wish.kind === 'want' && sameWork(settings, state.job, wish.desired, state.job.choice.baseSha256)) {
        return go({ ...state, wish, job: { ...state.job, desired: wish.desired } });
      }
      return reconsider(settings, next, { kind: 'abortUpdate' });
    default:
      return reconsider(settings, next);
  }
}

function sameWish(a: Wish, b: Wish): boolean {
  if (a.kind === 'want' && b.kind === 'want') return a.desired.id === b.desired.id;
  if (a.kind === 'unreadable' && b.kind === 'unreadable') return a.id === b.id;
  return a.kind === 'none' && b.kind === 'none';
}

/** A document published again with more patches in it must not throw away a download that serves it as well. */
function sameWork(settings: MachineSettings, job: Job, desired: Job['desired'], baseSha256: string | null): boolean {
  if (desired.targetSha256 !== job.desired.targetSha256 || baseSha256 === null) return false;
  const verdict = choose(settings, desired, baseSha256);
  return verdict.kind === 'get' && verdict.choice.url === job.choice.url && verdict.choice.size === job.choice.size;
}

function reconsider(settings: MachineSettings, state: State, ...before: Effect[]): Step {
  switch (state.wish.kind) {
    case 'want':
      return readSlots(state, FRESH, null, ...before);
    case 'none':
      return go({ ...common(state), kind: 'idle', ticket: state.ticket + 1 }, ...before);
    case 'unreadable':
      return refuse(settings, state, permanent('bad-document', state.wish.message), null, ...before);
  }
}

function refuse(
  settings: MachineSettings,
  state: State,
  failure: Failure,
  baseSha256: string | null,
  ...before: Effect[]
): Step {
  const refusal = { failure, baseSha256, policyId: settings.policyId };
  return go({ ...common(state), kind: 'refused', ticket: state.ticket + 1, refusal }, ...before);
}

function decide(
  settings: MachineSettings,
  state: StateOf<'choosing'>,
  { active, trial }: { active: ActiveModel | null; trial: Trial | null },
): Step {
  const next = { ...state, ...installedNow(state, active) };
  if (trial !== null) {
    if (trial.boots <= settings.trialBoots) return test(next, state.retry);
    const message = `the agent started ${trial.boots} times and the model on trial was never found good`;
    return rollBack(next, state.retry, permanent('trial-boots', message), false);
  }
  const { wish } = next;
  if (wish.kind !== 'want' || wish.desired.targetSha256 === active?.sha256) {
    return wish.kind === 'unreadable' ? reconsider(settings, next) : go({ ...common(next), kind: 'idle' });
  }
  const base = active?.sha256 ?? null;
  const { remembered } = state;
  if (remembered && remembered.policyId === settings.policyId && remembered.baseSha256 === base) {
    return go({ ...common(next), kind: 'refused', refusal: remembered });
  }
  const verdict = choose(settings, wish.desired, base);
  if (verdict.kind === 'refuse') return refuse(settings, next, verdict.failure, base);
  const job = { desired: wish.desired, choice: verdict.choice };
  const ticket = state.ticket + 1;
  return go(
    { ...common(next), kind: 'applying', ticket, retry: state.retry, job, progress: null },
    { kind: 'startUpdate', ticket, job, again: state.retry.again },
  );
}

function installedNow(state: State, active: ActiveModel | null): Pick<State, 'installed' | 'previous'> {
  const { wish, installed, previous } = state;
  if (active === null) return { installed: null, previous };
  if (installed?.sha256 !== active.sha256) {
    const version = previous?.sha256 === active.sha256 ? previous.version : versionOf(wish, active.sha256);
    return { installed: { sha256: active.sha256, version }, previous: installed };
  }
  return { installed: { ...installed, version: versionOf(wish, active.sha256) ?? installed.version }, previous };
}

function versionOf(wish: Wish, sha256: string): string | null {
  return wish.kind === 'want' && wish.desired.targetSha256 === sha256 ? wish.desired.version : null;
}

/** The one change that is not persisted: it would cost the medium a write per percent, and the journal knows better. */
function advanced(state: StateOf<'applying'>, progress: Progress): Step {
  return { state: { ...state, progress }, effects: [{ kind: 'report' }] };
}

function staged(state: StateOf<'applying'>): Step {
  const { ticket, retry, job } = state;
  return go({ ...common(state), kind: 'committing', retry, job }, { kind: 'commit', ticket, job });
}

function committed(
  settings: MachineSettings,
  state: StateOf<'committing'>,
  { active, trial }: { active: ActiveModel | null; trial: Trial | null },
): Step {
  const { desired } = state.job;
  if (active?.sha256 !== desired.targetSha256) {
    const message = `after the switch the active model is ${active?.sha256 ?? 'none'}, expected ${desired.targetSha256}`;
    return stopped(settings, state, retryable('switch-lost', message), 0);
  }
  const previous = state.installed;
  const next = { ...state, installed: { sha256: active.sha256, version: desired.version }, previous };
  return trial === null ? settle(settings, next, TELL_COMMITTED) : test(next, state.retry);
}

/** The slots are at rest: is what they hold what is wished? */
function settle(settings: MachineSettings, state: State, ...before: Effect[]): Step {
  const { wish, installed } = state;
  if (wish.kind === 'want' && wish.desired.targetSha256 === installed?.sha256) {
    return go({ ...common(state), kind: 'idle' }, ...before);
  }
  return reconsider(settings, state, ...before);
}

function test(state: State, retry: Retry): Step {
  const ticket = state.ticket + 1;
  return go({ ...common(state), kind: 'testing', ticket, retry }, { kind: 'test', ticket });
}

function rollBack(state: State, retry: Retry, failure: Failure, always: boolean, ...before: Effect[]): Step {
  const ticket = state.ticket + 1;
  const next = { ...common(state), kind: 'rollingBack', ticket, retry, failure, always } as const;
  return go(next, ...before, { kind: 'rollback', ticket, always });
}

function rolledBack(settings: MachineSettings, state: StateOf<'rollingBack'>, active: ActiveModel | null): Step {
  const { wish, installed } = state;
  const next = { ...state, ...installedNow(state, active) };
  const isWishedStill = wish.kind === 'want' && wish.desired.targetSha256 === installed?.sha256;
  return isWishedStill
    ? refuse(settings, next, state.failure, active?.sha256 ?? null, TELL_ROLLED_BACK)
    : reconsider(settings, next, TELL_ROLLED_BACK);
}

function retryAsked(state: State): Step {
  if (state.kind !== 'refused' && state.kind !== 'failed' && state.kind !== 'waiting') return stay(state);
  return readSlots(state, FRESH, null);
}

function rollbackAsked(state: State): Step {
  const failure = permanent('rollback-asked', 'rolled back because a person at the device asked for it');
  if (state.kind === 'testing') return rollBack(state, state.retry, failure, false, { kind: 'abortTest' });
  return state.kind === 'idle' ? rollBack(state, FRESH, failure, true) : stay(state);
}

function stopped(settings: MachineSettings, state: State, failure: Failure, reachedBytes: number): Step {
  if (!('retry' in state) || state.kind === 'waiting') return stay(state);
  // A wish that changed during the switch must not inherit the old document's failure.
  if (state.kind === 'committing' && !(state.wish.kind === 'want' && state.wish.desired.id === state.job.desired.id)) {
    return reconsider(settings, state);
  }
  if (failure.reason === ROTTEN_BASE && state.kind === 'applying' && state.job.choice.kind === 'patch') {
    const whole = wholeImage(settings, state);
    if (whole !== null) return whole;
  }
  if (failure.kind === 'permanent' && state.kind === 'testing') return rollBack(state, state.retry, failure, false);
  if (failure.kind === 'permanent') {
    return refuse(settings, state, failure, state.installed?.sha256 ?? null);
  }
  const retry = nextRetry(state.retry, reachedBytes);
  if (retry.attempt >= settings.retry.maxAttempts) {
    return go({ ...common(state), kind: 'failed', ticket: state.ticket + 1, failure });
  }
  const ticket = state.ticket + 1;
  const delayMs = delayOf(settings.retry, retry.attempt, failure);
  return go({ ...common(state), kind: 'waiting', ticket, retry, failure }, { kind: 'scheduleRetry', ticket, delayMs });
}

/** No patch helps a device whose model has rotted: every one starts from it. */
function wholeImage(settings: MachineSettings, state: StateOf<'applying'>): Step | null {
  const verdict = choose(settings, state.job.desired, null);
  if (verdict.kind === 'refuse') return null;
  const ticket = state.ticket + 1;
  const job = { ...state.job, choice: verdict.choice };
  const next = { ...state, ticket, job, progress: null };
  return go(next, { kind: 'startUpdate', ticket, job, again: true });
}

/** A link that breaks every ten megabytes still brings a big model home; a server that always fails at the same byte does not. */
function nextRetry(retry: Retry, reachedBytes: number): Retry {
  return reachedBytes > retry.farthestBytes
    ? { attempt: 1, farthestBytes: reachedBytes, again: true }
    : { attempt: retry.attempt + 1, farthestBytes: retry.farthestBytes, again: true };
}

function delayOf(settings: RetrySettings, attempt: number, failure: Failure): number {
  const asked = failure.kind === 'retryable' ? failure.retryAfterMs : undefined;
  // 2^30 is beyond any maxDelayMs that makes sense and far from overflow.
  const backoff = settings.minDelayMs * 2 ** Math.min(attempt - 1, 30);
  return Math.min(asked ?? backoff, settings.maxDelayMs);
}
