/**
 * The agent's state machine: `step(settings, state, event)` gives the next state and what to do about it. Pure: it
 * knows no clock, no chance, no file and no network, so that every path through it is a test that runs at once.
 */
import { choose } from './choose.js';
import { withoutConsent } from './consent.js';
import { type Failure, permanent, retryable } from './failure.js';
import { begin, conditionsChanged, consented, finish, staged } from './machine-holds.js';
import { ABORT_UPDATE, common, FRESH, go, readSlots, stay } from './machine-parts.js';
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
  StagedWork,
  State,
  StateOf,
  Step,
  Trial,
  Wish,
} from './machine-types.js';
import { takesPart } from './rollout.js';

/** SourceHashMismatch, as failureOf spells it. */
const ROTTEN_BASE = 'source-hash-mismatch';
const TELL_COMMITTED: Effect = { kind: 'tell', what: 'committed' };
const TELL_ROLLED_BACK: Effect = { kind: 'tell', what: 'rolledBack' };
/** Of the apply thread: there is no model to go back to. */
const NO_PREVIOUS = 'no-previous';
/** No work is under way that could end. */
const WAITING: readonly State['kind'][] = ['waiting', 'held', 'staged'];

export function initialState(): State {
  return { kind: 'starting', wish: { kind: 'none' }, installed: null, previous: null, consents: [], ticket: 0 };
}

export function step(settings: MachineSettings, state: State, event: Event): Step {
  switch (event.kind) {
    case 'booted':
      return boot(settings, state);
    case 'desired':
      return wished(settings, state, event.wish);
    case 'retryAsked':
      return retryAsked(state);
    case 'returned':
      return returned(state);
    case 'rollbackAsked':
      return rollbackAsked(state);
    case 'conditionsChanged':
      return conditionsChanged(settings, state);
    case 'consented':
      return consented(settings, state, event.consent);
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
      return state.kind === 'applying' ? staged(settings, state, event.header) : stay(state);
    case 'committed':
      return state.kind === 'committing' ? committed(settings, state, event) : stay(state);
    case 'confirmed':
      return state.kind === 'testing' ? settle(settings, state, TELL_COMMITTED) : stay(state);
    case 'rolledBack':
      return state.kind === 'rollingBack' ? rolledBack(settings, state, event.active) : stay(state);
    case 'stopped':
      return stopped(settings, state, event.failure, event.reachedBytes);
    case 'retryDue':
      if (state.kind === 'waiting') return readSlots(state, state.retry, null);
      return isTurn(state) ? readSlots(state, { ...state.retry, hadTurn: true }, null) : stay(state);
  }
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

function wished(settings: MachineSettings, state: State, wish: Wish): Step {
  if (sameWish(state.wish, wish)) return stay(state);
  const next = { ...state, wish };
  const isSameOrder =
    wish.kind === 'want' && state.wish.kind === 'want' && wish.desired.orderId === state.wish.desired.orderId;
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
      if (isSameOrder) return readSlots(next, { ...state.retry, again: true }, null, ABORT_UPDATE);
      return reconsider(settings, next, ABORT_UPDATE);
    case 'held':
      return isSameOrder ? readSlots(next, state.retry, null) : reconsider(settings, next);
    case 'staged': {
      const isSameTarget = wish.kind === 'want' && wish.desired.targetSha256 === state.job.desired.targetSha256;
      return isSameTarget ? readSlots(next, state.retry, null) : reconsider(settings, next);
    }
    default:
      // More devices are let in, or fewer: it changes nothing about what failed here, or is done.
      return isSameOrder ? go(next) : reconsider(settings, next);
  }
}

function isTurn(state: State): state is StateOf<'held'> {
  return state.kind === 'held' && state.hold.for === 'turn';
}

function sameWish(a: Wish, b: Wish): boolean {
  if (a.kind === 'want' && b.kind === 'want') return a.desired.id === b.desired.id;
  if (a.kind === 'unreadable' && b.kind === 'unreadable') return a.id === b.id;
  return a.kind === 'none' && b.kind === 'none';
}

/** A document published again with more patches in it must not throw away a download that serves it as well; one with a smaller fraction may. */
function sameWork(settings: MachineSettings, job: Job, desired: Job['desired'], baseSha256: string | null): boolean {
  if (desired.targetSha256 !== job.desired.targetSha256 || baseSha256 === null) return false;
  if (!takesPart(settings.device, desired)) return false;
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
  const { retry } = state;
  if (retry.staged !== null && serves(retry.staged, wish.desired, base)) {
    return finish(settings, next, retry, { desired: wish.desired, choice: retry.staged.choice });
  }
  const verdict = choose(settings, wish.desired, base);
  if (verdict.kind === 'refuse') return refuse(settings, next, verdict.failure, base);
  return begin(settings, next, { ...retry, staged: null }, { desired: wish.desired, choice: verdict.choice });
}

/** Not where the wish has changed during a switch that a restart cut short, nor where another model is active by now. */
function serves({ targetSha256, choice }: StagedWork, desired: Job['desired'], baseSha256: string | null): boolean {
  return targetSha256 === desired.targetSha256 && (choice.baseSha256 === null || choice.baseSha256 === baseSha256);
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
  // The switch uses a consent up: whoever wants the same model again later is asked again.
  const consents = withoutConsent(state.consents, active.sha256);
  const next = { ...state, installed: { sha256: active.sha256, version: desired.version }, previous, consents };
  return trial === null ? settle(settings, next, TELL_COMMITTED) : test(next, { ...state.retry, staged: null });
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
  const rests =
    state.kind === 'idle' || state.kind === 'refused' || state.kind === 'failed' || state.kind === 'waiting';
  return rests ? readSlots(state, FRESH, null) : stay(state);
}

/** No new retry budget where one is being spent: what comes and goes must not keep a connection busy for ever. */
function returned(state: State): Step {
  return WAITING.includes(state.kind) && 'retry' in state ? readSlots(state, state.retry, null) : retryAsked(state);
}

function rollbackAsked(state: State): Step {
  const failure = permanent('rollback-asked', 'rolled back because a person at the device asked for it');
  if (state.kind === 'testing') return rollBack(state, state.retry, failure, false, { kind: 'abortTest' });
  return state.kind === 'idle' ? rollBack(state, FRESH, failure, true) : stay(state);
}

function stopped(settings: MachineSettings, state: State, failure: Failure, reachedBytes: number): Step {
  if (!('retry' in state) || WAITING.includes(state.kind)) return stay(state);
  // A wish that changed during the switch must not inherit the old document's failure.
  if (state.kind === 'committing' && !(state.wish.kind === 'want' && state.wish.desired.id === state.job.desired.id)) {
    return reconsider(settings, state);
  }
  if (failure.reason === ROTTEN_BASE && state.kind === 'applying' && state.job.choice.kind === 'patch') {
    const whole = wholeImage(settings, state);
    if (whole !== null) return whole;
  }
  if (failure.reason === NO_PREVIOUS && state.kind === 'rollingBack') return noWayBack(settings, state, failure);
  if (failure.kind === 'permanent' && state.kind === 'testing') return rollBack(state, state.retry, failure, false);
  if (failure.kind === 'permanent') {
    return refuse(settings, state, failure, state.installed?.sha256 ?? null);
  }
  const { staged } = state.retry;
  // What was only to be finished and could not be is begun from its journal.
  const retry = { ...nextRetry(state.retry, reachedBytes), staged: state.kind === 'applying' ? null : staged };
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
  const retry = { ...state.retry, again: true, staged: null };
  return begin(settings, state, retry, { ...state.job, choice: verdict.choice });
}

/** There is no model to go back to: the one that is active stays, and the report says why. */
function noWayBack(settings: MachineSettings, state: StateOf<'rollingBack'>, failure: Failure): Step {
  const { wish, installed, always } = state;
  // Nobody asked for it: what made it necessary is what there is to say.
  if (!always) {
    const ailment = permanent(state.failure.reason, `${state.failure.message}; ${failure.message}`);
    return refuse(settings, state, ailment, installed?.sha256 ?? null);
  }
  const isAtRest = wish.kind === 'none' || (wish.kind === 'want' && wish.desired.targetSha256 === installed?.sha256);
  return isAtRest
    ? go({ ...common(state), kind: 'idle', ticket: state.ticket + 1, failure })
    : reconsider(settings, state);
}

/** A link that breaks every ten megabytes still brings a big model home; a server that always fails at the same byte does not. */
function nextRetry(retry: Retry, reachedBytes: number): Retry {
  return reachedBytes > retry.farthestBytes
    ? { ...retry, attempt: 1, farthestBytes: reachedBytes, again: true }
    : { ...retry, attempt: retry.attempt + 1, again: true };
}

function delayOf(settings: RetrySettings, attempt: number, failure: Failure): number {
  const asked = failure.kind === 'retryable' ? failure.retryAfterMs : undefined;
  // 2^30 is beyond any maxDelayMs that makes sense and far from overflow.
  const backoff = settings.minDelayMs * 2 ** Math.min(attempt - 1, 30);
  return Math.min(asked ?? backoff, settings.maxDelayMs);
}
