/**
 * The other side of the job protocol, for brokers that have none: what is to be done by whom, and how far it is. Pure; the
 * rules are AWS IoT Jobs' own, so that a device cannot tell the two apart.
 */
import { isTerminal, type JobStatus, NEXT, type RejectionCode, type UpdateRequest } from './job-messages.js';

export interface JobOrder {
  readonly jobId: string;
  readonly document: unknown;
  /** As in job-target.ts. */
  readonly devices: readonly string[];
  /** From IN_PROGRESS on; null for ever. */
  readonly timeoutMs: number | null;
  readonly canceled: boolean;
}

/** One line of the log: how an execution stands from then on. */
export interface ExecutionRecord {
  readonly device: string;
  readonly jobId: string;
  readonly executionNumber: number;
  readonly status: JobStatus;
  readonly version: number;
  readonly details: Readonly<Record<string, string>>;
  /** Milliseconds since 1970. */
  readonly atMs: number;
}

export type Answer =
  | { readonly kind: 'accepted'; readonly body: Record<string, unknown> }
  | { readonly kind: 'rejected'; readonly body: { code: RejectionCode; message: string } & Record<string, unknown> };

export class JobBoard {
  private readonly orders = new Map<string, JobOrder>();
  /** By device, then by job, in the order they were queued. */
  private readonly executions = new Map<string, Map<string, ExecutionRecord>>();

  /** Takes up what the log says. */
  replay(record: ExecutionRecord): void {
    this.put(record);
  }

  /** New, changed or withdrawn. Gives what changed by it. */
  order(order: JobOrder, atMs: number): ExecutionRecord[] {
    this.orders.set(order.jobId, order);
    const changed: ExecutionRecord[] = [];
    for (const device of order.devices) {
      const known = this.executions.get(device)?.get(order.jobId);
      if (known === undefined && !order.canceled) {
        const fresh = { executionNumber: 1, status: 'QUEUED', version: 1, details: {} } as const;
        changed.push({ device, jobId: order.jobId, atMs, ...fresh });
      } else if (known !== undefined && order.canceled && !isTerminal(known.status)) {
        changed.push(after(known, { status: 'CANCELED', details: {}, atMs }));
      }
    }
    return this.putAll(changed);
  }

  /** Ends what has taken too long. */
  tick(atMs: number): ExecutionRecord[] {
    const late = this.all().filter((record) => {
      const timeoutMs = this.orders.get(record.jobId)?.timeoutMs ?? null;
      return record.status === 'IN_PROGRESS' && timeoutMs !== null && atMs - record.atMs >= timeoutMs;
    });
    return this.putAll(late.map((record) => after(record, { status: 'TIMED_OUT', details: {}, atMs })));
  }

  get(device: string, jobId: string): Answer {
    const record = jobId === NEXT ? this.next(device) : this.executions.get(device)?.get(jobId);
    if (record !== undefined && record !== null)
      return { kind: 'accepted', body: { execution: this.describe(record) } };
    if (jobId === NEXT) return { kind: 'accepted', body: {} };
    return rejected('ResourceNotFound', `${device} has no job ${jobId}`);
  }

  update(
    device: string,
    jobId: string,
    request: UpdateRequest,
    atMs: number,
  ): { answer: Answer; changed: ExecutionRecord[] } {
    const record = this.executions.get(device)?.get(jobId);
    const refuse = (code: RejectionCode, message: string) => ({
      answer: rejected(code, message, record === undefined ? {} : { executionState: stateOf(record) }),
      changed: [],
    });
    if (record === undefined) return refuse('ResourceNotFound', `${device} has no job ${jobId}`);
    if (request.executionNumber !== undefined && request.executionNumber !== record.executionNumber) {
      return refuse('ResourceNotFound', `expected execution ${record.executionNumber}, got ${request.executionNumber}`);
    }
    if (isTerminal(record.status)) return refuse('InvalidStateTransition', `the execution is ${record.status}`);
    if (request.expectedVersion !== undefined && request.expectedVersion !== record.version) {
      return refuse('VersionMismatch', `expected version ${record.version}, got ${request.expectedVersion}`);
    }
    const next = after(record, { status: request.status, details: request.statusDetails ?? {}, atMs });
    this.put(next);
    return { answer: { kind: 'accepted', body: { executionState: stateOf(next) } }, changed: [next] };
  }

  /** What the device is to do: first what it has begun, then the oldest. */
  next(device: string): ExecutionRecord | null {
    const records = [...(this.executions.get(device)?.values() ?? [])];
    return (
      records.find(({ status }) => status === 'IN_PROGRESS') ??
      records.find(({ status }) => status === 'QUEUED') ??
      null
    );
  }

  summaryOf(device: string): Record<string, unknown> {
    const record = this.next(device);
    if (record === null) return {};
    const { jobId, status, version: versionNumber, executionNumber } = record;
    return { execution: { jobId, status, versionNumber, executionNumber } };
  }

  all(): ExecutionRecord[] {
    return [...this.executions.values()].flatMap((records) => [...records.values()]);
  }

  private describe(record: ExecutionRecord): Record<string, unknown> {
    const { device, jobId, status, version: versionNumber, executionNumber, details: statusDetails } = record;
    const jobDocument = this.orders.get(jobId)?.document;
    return { jobId, thingName: device, status, versionNumber, executionNumber, statusDetails, jobDocument };
  }

  private putAll(records: ExecutionRecord[]): ExecutionRecord[] {
    for (const record of records) this.put(record);
    return records;
  }

  private put(record: ExecutionRecord): void {
    let records = this.executions.get(record.device);
    if (records === undefined) {
      records = new Map();
      this.executions.set(record.device, records);
    }
    records.set(record.jobId, record);
  }
}

function after(record: ExecutionRecord, change: Pick<ExecutionRecord, 'status' | 'details' | 'atMs'>): ExecutionRecord {
  return { ...record, ...change, version: record.version + 1 };
}

function stateOf({ status, version, details }: ExecutionRecord): Record<string, unknown> {
  return { status, versionNumber: version, statusDetails: details };
}

function rejected(code: RejectionCode, message: string, more: Record<string, unknown> = {}): Answer {
  return { kind: 'rejected', body: { code, message, ...more } };
}
