/**
 * The vocabulary of the agent's state machine: what it can be in, what can happen to it, what it can ask for. State is
 * plain JSON because it is persisted at each transition.
 */
import type { Choice, ChoicePolicy } from './choose.js';
import type { Desired, ParsedDesired } from './desired.js';
import type { Failure } from './failure.js';

export type Wish = ParsedDesired;

/** `version` is null for a model this agent did not install itself. */
export interface Installed {
  readonly sha256: string;
  readonly version: string | null;
}

/** One update on its way: what is wanted and the file that takes us there. */
export interface Job {
  readonly desired: Desired;
  readonly choice: Choice;
}

export interface Retry {
  /** Failures in a row that did not get further than any before. */
  readonly attempt: number;
  /** Most target bytes that an attempt at this document has reached. Only going beyond it renews the budget. */
  readonly farthestBytes: number;
  /** An earlier attempt may have left a journal to go on from. */
  readonly again: boolean;
}

/** A permanent failure and the circumstances it depends on; the wish is in the state beside it. */
export interface Refusal {
  readonly failure: Failure;
  readonly baseSha256: string | null;
  readonly policyId: string;
}

interface Common {
  readonly wish: Wish;
  readonly installed: Installed | null;
  /** What was installed before it. */
  readonly previous: Installed | null;
  /** Names the latest piece of asynchronous work. An answer with an older ticket is about work that was given up. */
  readonly ticket: number;
}

export type State = Common &
  (
    | { readonly kind: 'starting' }
    /** Nothing is wished, or it is installed. */
    | { readonly kind: 'idle' }
    /** Asking the slots what is active. `remembered` lives through a restart of the agent. */
    | { readonly kind: 'choosing'; readonly retry: Retry; readonly remembered: Refusal | null }
    /** The patch streams through the applier into the inactive slot. */
    | { readonly kind: 'applying'; readonly retry: Retry; readonly job: Job; readonly progress: Progress | null }
    /** The inactive slot was read back and is right; the switch is being made. */
    | { readonly kind: 'committing'; readonly retry: Retry; readonly job: Job }
    /** The new model is active and on trial: it has to show that it is good. */
    | { readonly kind: 'testing'; readonly retry: Retry }
    /** It is not good, or was not wanted: the model before it becomes active again. */
    | { readonly kind: 'rollingBack'; readonly retry: Retry; readonly failure: Failure; readonly always: boolean }
    | { readonly kind: 'waiting'; readonly retry: Retry; readonly failure: Failure }
    /** Permanent for this document, this base and this configuration. */
    | { readonly kind: 'refused'; readonly refusal: Refusal }
    /** The retry budget is spent. A new document or a restart of the agent gives a new one. */
    | { readonly kind: 'failed'; readonly failure: Failure }
  );

export type StateOf<K extends State['kind']> = Extract<State, { kind: K }>;

export interface Progress {
  readonly targetBytes: number;
  readonly targetSize: number;
}

export interface Trial {
  readonly boots: number;
}

export interface ActiveModel {
  readonly sha256: string;
}

export type Event =
  /** First event of a process, after the persisted state was loaded. */
  | { readonly kind: 'booted' }
  | { readonly kind: 'desired'; readonly wish: Wish }
  | {
      readonly kind: 'slotsRead';
      readonly ticket: number;
      readonly active: ActiveModel | null;
      readonly trial: Trial | null;
    }
  | { readonly kind: 'advanced'; readonly ticket: number; readonly progress: Progress }
  | { readonly kind: 'staged'; readonly ticket: number }
  | {
      readonly kind: 'committed';
      readonly ticket: number;
      readonly active: ActiveModel | null;
      readonly trial: Trial | null;
    }
  /** The model on trial was good, and the slots say so. */
  | { readonly kind: 'confirmed'; readonly ticket: number }
  | { readonly kind: 'rolledBack'; readonly ticket: number; readonly active: ActiveModel | null }
  /** The work named by the ticket ended without its result. */
  | {
      readonly kind: 'stopped';
      readonly ticket: number;
      readonly failure: Failure;
      readonly reachedBytes: number;
    }
  | { readonly kind: 'retryDue'; readonly ticket: number }
  /** A person at the device wants another attempt at what was given up. */
  | { readonly kind: 'retryAsked' }
  /** A person at the device wants the model before. */
  | { readonly kind: 'rollbackAsked' };

/** Carried out in order. `persist` is first wherever it stands, so that no work begins which a restart would not know of. */
export type Effect =
  | { readonly kind: 'persist' }
  | { readonly kind: 'report' }
  | { readonly kind: 'readSlots'; readonly ticket: number }
  | { readonly kind: 'startUpdate'; readonly ticket: number; readonly job: Job; readonly again: boolean }
  | { readonly kind: 'abortUpdate' }
  | { readonly kind: 'commit'; readonly ticket: number; readonly job: Job }
  /** Health check, then confirmation. */
  | { readonly kind: 'test'; readonly ticket: number }
  | { readonly kind: 'abortTest' }
  | { readonly kind: 'rollback'; readonly ticket: number; readonly always: boolean }
  /** A hook for the application: the slots are at rest. */
  | { readonly kind: 'tell'; readonly what: 'committed' | 'rolledBack' }
  /** The runtime adds jitter: the machine knows no randomness. */
  | { readonly kind: 'scheduleRetry'; readonly ticket: number; readonly delayMs: number };

export interface RetrySettings {
  readonly maxAttempts: number;
  readonly minDelayMs: number;
  readonly maxDelayMs: number;
}

export interface MachineSettings extends ChoicePolicy {
  /** Changes when trusted keys, limits or policies do: a refusal under other rules is looked at again. */
  readonly policyId: string;
  readonly retry: RetrySettings;
  /** Starts that a model may take while on trial; one more and it is given up. */
  readonly trialBoots: number;
}

export interface Step {
  readonly state: State;
  readonly effects: readonly Effect[];
}
