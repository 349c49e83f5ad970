/** What every transition of the agent's machine is made of. */
import type { Effect, Job, Refusal, Retry, State, Step } from './machine-types.js';

export const FRESH: Retry = { attempt: 0, farthestBytes: 0, again: false, hadTurn: false, staged: null };
export const ABORT_UPDATE: Effect = { kind: 'abortUpdate' };

export function stay(state: State): Step {
  return { state, effects: [] };
}

export function go(state: State, ...effects: Effect[]): Step {
  return { state, effects: [{ kind: 'persist' }, { kind: 'report' }, ...effects] };
}

export function common(state: State): Pick<State, 'wish' | 'installed' | 'previous' | 'consents' | 'ticket'> {
  const { wish, installed, previous, consents, ticket } = state;
  return { wish, installed, previous, consents, ticket };
}

export function readSlots(state: State, retry: Retry, remembered: Refusal | null, ...before: Effect[]): Step {
  const ticket = state.ticket + 1;
  return go({ ...common(state), kind: 'choosing', ticket, retry, remembered }, ...before, {
    kind: 'readSlots',
    ticket,
  });
}

export function startUpdate(state: State, retry: Retry, job: Job, ...before: Effect[]): Step {
  const ticket = state.ticket + 1;
  const header = retry.staged?.header ?? null;
  return go(
    { ...common(state), kind: 'applying', ticket, retry: { ...retry, hadTurn: true }, job, progress: null },
    ...before,
    { kind: 'startUpdate', ticket, job, again: retry.again, header },
  );
}
