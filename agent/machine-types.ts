/**
 * The vocabulary of the agent's state machine: what it can be in, what can happen to it, what it can ask for. State is
 * plain JSON because it is persisted at each transition.
 */
import type { Choice, ChoicePolicy } from './choose.js';
import type { Consent } from './consent.js';
import type { Desired, ParsedDesired } from './desired.js';
import type { Failure } from './failure.js';
import type { Hold, HoldPolicy } from './holds.js';

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

/** An update whose bytes are all in the inactive slot: its header is enough to finish it, without the network. */
export interface StagedWork {
  readonly targetSha256: string;
  readonly choice: Choice;
  /** First bytes of the patch file, base64. */
  readonly header: string;
}

export interface Retry {
  /** Failures in a row that did not get further than any before. */
  readonly attempt: number;
  /** Most target bytes that an attempt at this document has reached. Only going beyond it renews the budget. */
  readonly farthestBytes: number;
  /** An earlier attempt may have left a journal to go on from. */
  readonly again: boolean;
  /** Its turn in a rollout has come, and is not waited for again. */
  readonly hadTurn: boolean;
  /** What the next attempt has only to finish. It is looked at byte by byte before it counts. */
  readonly staged: StagedWork | null;
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
  /** Given by operators for targets that are not active yet, newest first. */
  readonly consents: readonly Consent[];
  /** Names the latest piece of asynchronous work. An answer with an older ticket is about work that was given up. */
  readonly ticket: number;
}

export type State = Common &
  (
    | { readonly kind: 'starting' }
    /** Nothing is wished, or it is installed. With a failure: of what a person asked for. */
    | { readonly kind: 'idle'; readonly failure?: Failure | undefined }
    /** Asking the slots what is active. `remembered` lives through a restart of the agent. */
    | { readonly kind: 'choosing'; readonly retry: Retry; readonly remembered: Refusal | null }
    /** An update is known, not begun or parked, and something has to be so before it goes on. */
    | { readonly kind: 'held'; readonly retry: Retry; readonly job: Job; readonly hold: Hold }
    /** The patch streams through the applier into the inactive slot. */
    | { readonly kind: 'applying'; readonly retry: Retry; readonly job: Job; readonly progress: Progress | null }
    /** The inactive slot holds the new model, and something has to be so before the switch. */
    | { readonly kind: 'staged'; readonly retry: Retry; readonly job: Job; readonly hold: Hold }
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
  | {
      readonly kind: 'staged';
      readonly ticket: number;
      /** As in StagedWork. */
      readonly header: string;
    }
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
  /** What holds the slots was away and is back, or another is in its place. */
  | { readonly kind: 'returned' }
  /** Windows opened or closed, or the connection became another: the settings say how it is. */
  | { readonly kind: 'conditionsChanged' }
  /** Null: to what is asked for at the moment. */
  | { readonly kind: 'consented'; readonly consent: Consent | null }
  /** A person at the device wants the model before. */
  | { readonly kind: 'rollbackAsked' };

/** Carried out in order. `persist` is first wherever it stands, so that no work begins which a restart would not know of. */
export type Effect =
  | { readonly kind: 'persist' }
  | { readonly kind: 'report' }
  | { readonly kind: 'readSlots'; readonly ticket: number }
  | {
      readonly kind: 'startUpdate';
      readonly ticket: number;
      readonly job: Job;
      readonly again: boolean;
      /** Not null: nothing may be downloaded, see StagedWork. */
      readonly header: string | null;
    }
  | { readonly kind: 'abortUpdate' }
  | { readonly kind: 'commit'; readonly ticket: number; readonly job: Job }
  /** Health check, then confirmation. */
  | { readonly kind: 'test'; readonly ticket: number }
  | { readonly kind: 'abortTest' }
  | { readonly kind: 'rollback'; readonly ticket: number; readonly always: boolean }
  /** A hook for the application: the slots are at rest. */
  | { readonly kind: 'tell'; readonly what: 'committed' | 'rolledBack' }
  /** The runtime adds jitter: the machine knows no randomness. */
  | { readonly kind: 'scheduleRetry'; readonly ticket: number; readonly delayMs: number }
  /** `retryDue` after just this long: the turn of this device among others. */
  | { readonly kind: 'scheduleTurn'; readonly ticket: number; readonly delayMs: number };

export interface RetrySettings {
  readonly maxAttempts: number;
  readonly minDelayMs: number;
  readonly maxDelayMs: number;
}

export interface MachineSettings extends ChoicePolicy, HoldPolicy {
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
