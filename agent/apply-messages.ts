/**
 * What the agent's main thread and its apply thread say to each other. Strictly one request at a time, each with one
 * reply; `progress` alone comes unasked.
 */
import type { Failure } from './failure.js';
import type { ActiveModel, Progress, Trial } from './machine-types.js';
import type { TrustedKeys } from './trust-store.js';
import type { ApplyOrder, SessionRules, SessionStep } from './update-session.js';

/** Tells the agent's apply worker from other workers that run the same bundle. */
export const APPLY_ROLE = 'mallorn-agent-apply';

export interface ApplyWorkerData {
  readonly role: typeof APPLY_ROLE;
  readonly slotsFolder: string;
  readonly minFreeBytes: number;
  readonly rules: Omit<SessionRules, keyof TrustedKeys>;
}

export type ApplyRequest =
  | { readonly kind: 'slots' }
  | { readonly kind: 'begin'; readonly order: ApplyOrder; readonly keys: TrustedKeys }
  | { readonly kind: 'push'; readonly bytes: Uint8Array }
  | { readonly kind: 'end' }
  | { readonly kind: 'commit' }
  /** The model on trial is good. */
  | { readonly kind: 'confirm' }
  /** Back to the model before; where nothing is on trial only if `always`. */
  | { readonly kind: 'rollback'; readonly always: boolean };

/** `reachedBytes` of the target had been produced when it failed. */
export type Failed = { readonly kind: 'failed'; readonly failure: Failure; readonly reachedBytes: number };

export type SlotsReply = {
  readonly kind: 'slots';
  readonly active: ActiveModel | null;
  readonly trial: Trial | null;
};
export type PushReply = { readonly kind: 'pushed'; readonly step: SessionStep; readonly progress: Progress };
export type DoneReply = { readonly kind: 'ok' };

export type ApplyReply = SlotsReply | PushReply | DoneReply | Failed;
export type ApplyMessage = ApplyReply | { readonly kind: 'progress'; readonly progress: Progress };

/**
 * The apply side as the runtime sees it. Nothing throws: what goes wrong is a reply. `close` is a power cut to it, which
 * it must survive anyway, so that giving up an update needs no protocol.
 */
export interface ApplySession {
  readSlots(): Promise<SlotsReply | Failed>;
  begin(order: ApplyOrder): Promise<DoneReply | Failed>;
  push(bytes: Uint8Array): Promise<PushReply | Failed>;
  end(): Promise<DoneReply | Failed>;
  /** The reply tells what is active afterwards. */
  commit(): Promise<SlotsReply | Failed>;
  confirm(): Promise<SlotsReply | Failed>;
  rollback(always: boolean): Promise<SlotsReply | Failed>;
  close(): Promise<void>;
}

export type OpenApplySession = (onProgress: (progress: Progress) => void) => ApplySession;
