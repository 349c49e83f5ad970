/**
 * What the device says about itself in the retained `reported` document: a pure function of the machine's state. The
 * field names `installed_version` and `latest_version` are those of Home Assistant's MQTT update entity.
 */
import type { Choice } from './choose.js';
import type { ConsentScope } from './consent.js';
import type { Failure } from './failure.js';
import type { HoldReason } from './holds.js';
import type { State } from './machine-types.js';

export type ReportedStatus =
  | 'starting'
  | 'no_wish'
  | 'up_to_date'
  | 'choosing'
  | 'wait_rollout'
  | 'wait_confirmation'
  | 'wait_unmetered'
  | 'wait_window'
  | 'downloading'
  /** Whole in the other slot; `waits_for` says what the switch waits for. */
  | 'staged'
  | 'activating'
  | 'testing'
  | 'rolling_back'
  | 'waiting'
  | 'refused'
  | 'failed';

export interface Reported {
  model: string;
  /** Null when this agent did not install the model itself, or there is none. */
  installed_version: string | null;
  /** The version that is wished for; null without a wish. */
  latest_version: string | null;
  /** Of the active slot, hex; null when there is none. */
  sha256: string | null;
  status: ReportedStatus;
  /** Whole percent while an update runs, else null. */
  progress: number | null;
  /** The file that an update takes, or would take: whether a whole model is downloaded is never a secret. */
  download?: { kind: Choice['kind']; size: number };
  waits_for?: HoldReason;
  /** What an operator is asked: the content of `cmd/consent` that would let the update go on. */
  asks?: { targetSha256: string; for: readonly ConsentScope[] };
  error?: { reason: string; message: string };
}

const MAX_MESSAGE_LENGTH = 500;

export function reportOf(model: string, state: State): Reported {
  const reported: Reported = {
    model,
    installed_version: state.installed?.version ?? null,
    latest_version: state.wish.kind === 'want' ? state.wish.desired.version : null,
    sha256: state.installed?.sha256 ?? null,
    status: statusOf(state),
    progress: percentOf(state),
    ...onTheWay(state),
  };
  const failure = failureIn(state);
  if (failure === null) return reported;
  return { ...reported, error: { reason: failure.reason, message: failure.message.slice(0, MAX_MESSAGE_LENGTH) } };
}

function onTheWay(state: State): Pick<Reported, 'download' | 'waits_for' | 'asks'> {
  if (!('job' in state)) return {};
  const { choice, desired } = state.job;
  const download = { kind: choice.kind, size: choice.size };
  if (!('hold' in state)) return { download };
  const { for: reason, asks } = state.hold;
  const question = asks.length === 0 ? {} : { asks: { targetSha256: desired.targetSha256, for: asks } };
  return { download, waits_for: reason, ...question };
}

/** A turn is part of the rollout that gives it. */
const HOLD_STATUS: Record<HoldReason, ReportedStatus> = {
  rollout: 'wait_rollout',
  turn: 'wait_rollout',
  confirmation: 'wait_confirmation',
  unmetered: 'wait_unmetered',
  window: 'wait_window',
};

function statusOf(state: State): ReportedStatus {
  switch (state.kind) {
    case 'held':
      return HOLD_STATUS[state.hold.for];
    case 'idle':
      return state.wish.kind === 'none' ? 'no_wish' : 'up_to_date';
    case 'applying':
      return state.retry.staged === null ? 'downloading' : 'activating';
    case 'committing':
      return 'activating';
    case 'rollingBack':
      return 'rolling_back';
    default:
      return state.kind;
  }
}

function percentOf(state: State): number | null {
  if (state.kind === 'committing' || state.kind === 'staged') return 100;
  if (state.kind !== 'applying') return null;
  if (state.retry.staged !== null) return 100;
  if (state.progress === null || state.progress.targetSize === 0) return 0;
  return Math.floor((100 * state.progress.targetBytes) / state.progress.targetSize);
}

function failureIn(state: State): Failure | null {
  switch (state.kind) {
    case 'refused':
      return state.refusal.failure;
    case 'idle':
      return state.failure ?? null;
    case 'rollingBack':
    case 'waiting':
    case 'failed':
      return state.failure;
    default:
      return null;
  }
}
