/**
 * The device's side of the job protocol: `stepJob(state, event)` gives the next state and what to do. Pure, like the agent's
 * own machine beside which it runs: that one decides what to install, this one takes orders and answers for them.
 *
 * Exactly one terminal status an execution rests on three things. A verdict is on disk before it is sent, and never replaced.
 * After every connect the server is asked how the execution stands before anything is said about it. And each update carries
 * the version it was made for, so that whatever a network repeats or delays is refused.
 */
import {
  GONE_CODES,
  isTerminal,
  type JobExecution,
  type JobStatus,
  NEXT,
  STALE_CODES,
  type TerminalStatus,
  type VerdictStatus,
} from './job-messages.js';

export interface Verdict {
  readonly status: VerdictStatus;
  readonly details: Readonly<Record<string, string>>;
}

/** The execution in hand. */
export interface OpenJob {
  readonly jobId: string;
  readonly executionNumber: number;
  readonly document: unknown;
  /** As the server last said. */
  readonly version: number;
  /** The server has it IN_PROGRESS: only then does work begin. */
  readonly claimed: boolean;
  /** The outbox: what is to be said at last. */
  readonly verdict: Verdict | null;
}

export interface FinishedJob {
  readonly jobId: string;
  readonly executionNumber: number;
  readonly status: TerminalStatus;
  readonly details: Readonly<Record<string, string>>;
}

/** What is on disk. */
export interface JobMemory {
  readonly current: OpenJob | null;
  /** Newest first. */
  readonly done: readonly FinishedJob[];
}

export type RequestKind = 'next' | 'get' | 'claim' | 'verdict' | 'pause';

export interface JobState extends JobMemory {
  readonly connected: boolean;
  /** How the execution in hand stands was read on this connection, and nothing since made it doubtful. */
  readonly read: boolean;
  /** There may be a job for us. */
  readonly nextWanted: boolean;
  /** The request that is not answered yet; also a pause, which ends the same way. */
  readonly pending: { readonly token: string; readonly what: RequestKind } | null;
  readonly tokens: number;
  /** Requests in a row that brought no answer or none that helps. */
  readonly failures: number;
}

export type JobEvent =
  | { readonly kind: 'connected' }
  | { readonly kind: 'disconnected' }
  | { readonly kind: 'notified' }
  | { readonly kind: 'got'; readonly token: string; readonly execution: JobExecution | null }
  | { readonly kind: 'updated'; readonly token: string; readonly version: number | null }
  | { readonly kind: 'rejected'; readonly token: string; readonly code: string }
  /** No answer in time, or the pause is over. */
  | { readonly kind: 'due'; readonly token: string }
  /** The agent has come to rest with the document of the job in hand. */
  | { readonly kind: 'judged'; readonly jobId: string; readonly executionNumber: number; readonly verdict: Verdict };

export type JobEffect =
  | { readonly kind: 'persist' }
  | { readonly kind: 'get'; readonly id: string; readonly token: string }
  | {
      readonly kind: 'update';
      readonly id: string;
      readonly token: string;
      readonly status: JobStatus;
      readonly details: Readonly<Record<string, string>>;
      readonly expectedVersion: number;
      readonly executionNumber: number;
    }
  /** `due` with the token after this long, or a little more. */
  | { readonly kind: 'remind'; readonly token: string; readonly afterMs: number }
  /** The agent shall work on the job in hand; said again after every start and connect. */
  | { readonly kind: 'work'; readonly job: OpenJob }
  /** The agent shall stop working on it, where it still can. */
  | { readonly kind: 'drop'; readonly job: OpenJob };

export interface JobStep {
  readonly state: JobState;
  readonly effects: readonly JobEffect[];
}

const MAX_DONE = 32;
const ANSWER_TIMEOUT_MS = 10_000;
const MIN_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 300_000;

export const NO_JOBS: JobMemory = { current: null, done: [] };

export function initialJobState({ current, done }: JobMemory): JobState {
  return {
    current,
    done,
    connected: false,
    read: false,
    nextWanted: false,
    pending: null,
    tokens: 0,
    failures: 0,
  };
}

export function stepJob(state: JobState, event: JobEvent): JobStep {
  switch (event.kind) {
    case 'connected':
      return pump({ ...state, connected: true, read: false, nextWanted: true, pending: null, failures: 0 });
    case 'disconnected':
      return { state: { ...state, connected: false, pending: null }, effects: [] };
    case 'notified':
      // A hint: what it says may be old. It does make doubtful what we know.
      // And who gives it is there now: a question that nobody heard is asked again at once.
      return pump({ ...state, nextWanted: true, read: false, pending: isQuestion(state) ? null : state.pending });
    case 'judged':
      return judged(state, event);
    default:
      // Answered already, or on another connection.
      if (event.token !== state.pending?.token) return { state, effects: [] };
  }
  const { what } = state.pending;
  const answered = { ...state, pending: null };
  switch (event.kind) {
    case 'got':
      return what === 'next' ? gotNext(answered, event.execution) : gotCurrent(answered, event.execution);
    case 'updated':
      return updated(answered, what, event.version);
    case 'rejected':
      return rejected(answered, what, event.code);
    case 'due':
      return pump({ ...answered, read: false });
  }
}

/** Sends the one request that is next, if there is one: what is in flight is always one. */
function pump(state: JobState, ...before: JobEffect[]): JobStep {
  const request = nextRequest(state);
  if (request === null) return { state, effects: before };
  const token = `${state.tokens + 1}`;
  const { what, effect } = request(token);
  const afterMs = ANSWER_TIMEOUT_MS * 2 ** Math.min(state.failures, 5);
  const next = {
    ...state,
    tokens: state.tokens + 1,
    pending: { token, what },
    // An answer that does not come counts; one that comes sets it back.
    failures: state.failures + 1,
    nextWanted: state.nextWanted && what !== 'next',
  };
  return { state: next, effects: [...before, effect, { kind: 'remind', token, afterMs }] };
}

interface Request {
  readonly what: RequestKind;
  readonly effect: JobEffect;
}

function nextRequest({ connected, pending, current, read, nextWanted }: JobState): ((token: string) => Request) | null {
  if (!connected || pending !== null) return null;
  if (current === null)
    return nextWanted ? (token) => ({ what: 'next', effect: { kind: 'get', id: NEXT, token } }) : null;
  if (!read) return (token) => ({ what: 'get', effect: { kind: 'get', id: current.jobId, token } });
  const { jobId: id, version: expectedVersion, executionNumber, verdict, claimed } = current;
  const update = { kind: 'update', id, expectedVersion, executionNumber } as const;
  if (verdict !== null) return (token) => ({ what: 'verdict', effect: { ...update, token, ...verdict } });
  if (claimed) return null;
  return (token) => ({ what: 'claim', effect: { ...update, token, status: 'IN_PROGRESS', details: {} } });
}

function isQuestion({ pending }: JobState): boolean {
  return pending?.what === 'next' || pending?.what === 'get';
}

function pause(state: JobState): JobStep {
  const token = `${state.tokens + 1}`;
  const afterMs = Math.min(MAX_PAUSE_MS, MIN_PAUSE_MS * 2 ** Math.min(state.failures, 20));
  const pending = { token, what: 'pause' } as const;
  const next = { ...state, tokens: state.tokens + 1, pending, failures: state.failures + 1, read: false };
  return { state: next, effects: [{ kind: 'remind', token, afterMs }] };
}

function gotNext(state: JobState, execution: JobExecution | null): JobStep {
  if (state.current !== null) return pump(state);
  if (execution === null || isTerminal(execution.status)) return pump({ ...state, failures: 0 });
  const { jobId, executionNumber, versionNumber: version, jobDocument: document } = execution;
  const finished = state.done.find((job) => job.jobId === jobId && job.executionNumber === executionNumber);
  const verdict = finished === undefined ? null : verdictOf(finished);
  // Ended by the server, which now says otherwise: nothing is left to be said by us.
  if (finished !== undefined && verdict === null) return pump({ ...state, failures: 0 });
  const claimed = execution.status === 'IN_PROGRESS';
  const current: OpenJob = { jobId, executionNumber, document, version, claimed, verdict };
  return goOn({ ...state, current, read: true, failures: 0 }, { kind: 'persist' });
}

function verdictOf({ status, details }: FinishedJob): Verdict | null {
  return status === 'SUCCEEDED' || status === 'FAILED' || status === 'REJECTED' ? { status, details } : null;
}

function gotCurrent(state: JobState, execution: JobExecution | null): JobStep {
  const { current } = state;
  if (current === null) return pump(state);
  if (execution === null || execution.executionNumber !== current.executionNumber) return ended(state, 'REMOVED');
  if (execution.jobId !== current.jobId) return pause(state);
  if (isTerminal(execution.status)) return ended(state, execution.status);
  const claimed = execution.status === 'IN_PROGRESS';
  const next = { ...current, version: execution.versionNumber, claimed };
  return goOn({ ...state, current: next, read: true, failures: 0 }, { kind: 'persist' });
}

/** The job in hand is open on both sides. */
function goOn(state: JobState, ...before: JobEffect[]): JobStep {
  const { current } = state;
  const works = current?.claimed && current.verdict === null;
  return pump(state, ...before, ...(works ? [{ kind: 'work', job: current } as const] : []));
}

function updated(state: JobState, what: RequestKind, version: number | null): JobStep {
  const { current } = state;
  if (current === null) return pump(state);
  if (what === 'verdict' && current.verdict !== null) return ended(state, current.verdict.status);
  const claimed = { ...current, claimed: true, version: version ?? current.version + 1 };
  return goOn({ ...state, current: claimed, failures: 0 }, { kind: 'persist' });
}

function rejected(state: JobState, what: RequestKind, code: string): JobStep {
  const { current } = state;
  if (current === null) return pause({ ...state, nextWanted: true });
  // Asked by its name, it is not there any more.
  if (what === 'get' && GONE_CODES.includes(code)) return ended(state, 'REMOVED');
  return what !== 'get' && STALE_CODES.includes(code) ? pump({ ...state, read: false }) : pause(state);
}

/** The execution is over on the server, by our word or by another's. */
function ended(state: JobState, status: TerminalStatus): JobStep {
  const { current } = state;
  if (current === null) return pump(state);
  const { jobId, executionNumber, verdict } = current;
  const details = verdict?.status === status ? verdict.details : {};
  const done = [{ jobId, executionNumber, status, details }, ...state.done].slice(0, MAX_DONE);
  const next = { ...state, current: null, done, read: false, nextWanted: true, failures: 0 };
  // With a verdict the agent is at rest already.
  return pump(next, { kind: 'persist' }, ...(verdict === null ? [{ kind: 'drop', job: current } as const] : []));
}

function judged(state: JobState, { jobId, executionNumber, verdict }: Extract<JobEvent, { kind: 'judged' }>): JobStep {
  const { current } = state;
  const isOurs = current?.jobId === jobId && current.executionNumber === executionNumber;
  if (current === null || !isOurs || current.verdict !== null) return { state, effects: [] };
  return pump({ ...state, current: { ...current, verdict } }, { kind: 'persist' });
}
