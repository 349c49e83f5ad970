/** The part of the machine in which an update waits although nothing is wrong: before the download and before the switch. */
import { type Consent, withConsent } from './consent.js';
import { type Hold, holdBeforeDownload, holdBeforeSwitch } from './holds.js';
import { ABORT_UPDATE, common, go, readSlots, startUpdate, stay } from './machine-parts.js';
import type { Effect, Job, MachineSettings, Retry, State, StateOf, Step } from './machine-types.js';
import { turnDelayMs } from './rollout.js';

/** Starts the update, or waits for what has to be so first. */
export function begin(settings: MachineSettings, state: State, retry: Retry, job: Job, ...before: Effect[]): Step {
  const hold = holdBeforeDownload(settings, state.consents, job, retry.hadTurn);
  return hold === null ? startUpdate(state, retry, job, ...before) : wait(settings, state, retry, job, hold, ...before);
}

/** As `begin`, where the slot is known to hold everything: only the switch has to wait. */
export function finish(settings: MachineSettings, state: State, retry: Retry, job: Job): Step {
  const hold = holdBeforeSwitch(settings, state.consents, job.desired);
  return hold === null ? startUpdate(state, retry, job) : waitStaged(state, retry, job, hold);
}

export function staged(settings: MachineSettings, state: StateOf<'applying'>, header: string): Step {
  const { ticket, job } = state;
  const retry = { ...state.retry, staged: { targetSha256: job.desired.targetSha256, choice: job.choice, header } };
  const hold = holdBeforeSwitch(settings, state.consents, job.desired);
  if (hold !== null) return waitStaged(state, retry, job, hold);
  return go({ ...common(state), kind: 'committing', retry, job }, { kind: 'commit', ticket, job });
}

export function conditionsChanged(settings: MachineSettings, state: State): Step {
  switch (state.kind) {
    case 'held':
    case 'staged':
      return lookAgain(settings, state, stay(state));
    case 'applying': {
      // Half of a model that is written in place serves nobody: it is brought to its end.
      if (state.retry.staged !== null || settings.inPlace) return stay(state);
      const hold = holdBeforeDownload(settings, state.consents, state.job, true);
      return hold === null
        ? stay(state)
        : wait(settings, state, { ...state.retry, again: true }, state.job, hold, ABORT_UPDATE);
    }
    default:
      return stay(state);
  }
}

/** Kept also where nothing is asked yet: the operator may be quicker than the document. */
export function consented(settings: MachineSettings, state: State, given: Consent | null): Step {
  const consent = given ?? consentAskedFor(state);
  if (consent === null || consent.targetSha256 === state.installed?.sha256) return stay(state);
  const consents = withConsent(state.consents, consent);
  if (consents === state.consents) return stay(state);
  const next = { ...state, consents };
  return next.kind === 'held' || next.kind === 'staged' ? lookAgain(settings, next, go(next)) : go(next);
}

function consentAskedFor(state: State): Consent | null {
  if ((state.kind !== 'held' && state.kind !== 'staged') || state.hold.asks.length === 0) return null;
  return { targetSha256: state.job.desired.targetSha256, for: state.hold.asks };
}

/** The slots are asked before it goes on: a wait can be long. */
function lookAgain(settings: MachineSettings, state: StateOf<'held'> | StateOf<'staged'>, unchanged: Step): Step {
  const { retry, job, consents } = state;
  const hold =
    state.kind === 'held'
      ? holdBeforeDownload(settings, consents, job, retry.hadTurn)
      : holdBeforeSwitch(settings, consents, job.desired);
  if (hold === null) return readSlots(state, retry, null);
  if (hold.for === state.hold.for && hold.asks.length === state.hold.asks.length) return unchanged;
  return state.kind === 'held' ? wait(settings, state, retry, job, hold) : waitStaged(state, retry, job, hold);
}

function wait(settings: MachineSettings, state: State, retry: Retry, job: Job, hold: Hold, ...before: Effect[]): Step {
  const ticket = state.ticket + 1;
  const delayMs = turnDelayMs(settings.device, job.desired);
  const turn: Effect[] = hold.for === 'turn' ? [{ kind: 'scheduleTurn', ticket, delayMs }] : [];
  return go({ ...common(state), kind: 'held', ticket, retry, job, hold }, ...before, ...turn);
}

function waitStaged(state: State, retry: Retry, job: Job, hold: Hold): Step {
  return go({ ...common(state), kind: 'staged', ticket: state.ticket + 1, retry, job, hold });
}
