/**
 * What the device says about itself in the retained `reported` document: a pure function of the machine's state. The
 * field names `installed_version` and `latest_version` are those of Home Assistant's MQTT update entity.
 */
import type { Failure } from './failure.js';
import type { State } from './machine-types.js';

export type ReportedStatus =
  | 'starting'
  | 'no_wish'
  | 'up_to_date'
  | 'choosing'
  | 'downloading'
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
  };
  const failure = failureIn(state);
  if (failure === null) return reported;
  return { ...reported, error: { reason: failure.reason, message: failure.message.slice(0, MAX_MESSAGE_LENGTH) } };
}

function statusOf(state: State): ReportedStatus {
  switch (state.kind) {
    case 'idle':
      return state.wish.kind === 'none' ? 'no_wish' : 'up_to_date';
    case 'applying':
      return 'downloading';
    case 'committing':
      return 'activating';
    case 'rollingBack':
      return 'rolling_back';
    default:
      return state.kind;
  }
}

function percentOf(state: State): number | null {
  if (state.kind === 'committing') return 100;
  if (state.kind !== 'applying') return null;
  if (state.progress === null || state.progress.targetSize === 0) return 0;
  return Math.floor((100 * state.progress.targetBytes) / state.progress.targetSize);
}

function failureIn(state: State): Failure | null {
  switch (state.kind) {
    case 'refused':
      return state.refusal.failure;
    case 'rollingBack':
    case 'waiting':
    case 'failed':
      return state.failure;
    default:
      return null;
  }
}
