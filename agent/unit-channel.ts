/**
 * One unit's two topics on the link: what it is told to be and what it says it is. Retained documents are the whole truth,
 * so both are told anew on each connection.
 */
import type { Reported } from './reported.js';
import type { UnitTopics } from './topics.js';

export interface LinkUnit {
  readonly topics: UnitTopics;
  /** Null: wishes come as jobs, and the retained document is not listened to. */
  readonly onDesired: ((payload: Uint8Array) => void) | null;
  /** Of a unit that comes and goes by itself. */
  readonly presence?: Presence;
}

export interface Presence {
  /** Topic of its `$state`. */
  readonly topic: string;
  readonly state: () => DeviceState;
}

export type DeviceState = 'init' | 'ready' | 'disconnected' | 'lost';

export interface ChannelTiming {
  /** After this long without a retained `desired`, there is none: MQTT has no message that says so. Default 10 s. */
  readonly desiredGraceMs?: number;
  /** Progress is told at most this often; everything else at once. Default 1 s. */
  readonly progressIntervalMs?: number;
}

const DEFAULT_GRACE_MS = 10_000;
const PROGRESS_INTERVAL_MS = 1000;

export class UnitChannel {
  readonly unit: LinkUnit;
  private readonly timing: ChannelTiming;
  private latest: Reported | null = null;
  private lastReportMs = Number.NEGATIVE_INFINITY;
  /** On this connection: the retained document may overtake the acknowledgement of our subscription. */
  private desiredSeen = false;
  private graceTimer: NodeJS.Timeout | null = null;

  constructor(unit: LinkUnit, timing: ChannelTiming) {
    this.unit = unit;
    this.timing = timing;
  }

  /** What there is to say after a connect. */
  get reported(): Reported | null {
    return this.latest;
  }

  /** Keeps it. Whether it is worth a message now, and whether another model is installed than before. */
  report(reported: Reported): { readonly isNews: boolean; readonly isOtherModel: boolean } {
    const before = this.latest;
    this.latest = reported;
    return {
      isNews: !isMereProgress(before, reported) || !this.saidLately(),
      isOtherModel: before?.sha256 !== reported.sha256,
    };
  }

  /** The latest is on its way to the broker. */
  said(): void {
    this.lastReportMs = performance.now();
  }

  receive(payload: Uint8Array): void {
    this.desiredSeen = true;
    this.clearGrace();
    this.unit.onDesired?.(payload);
  }

  /** Subscribed: from now on silence means something. */
  listening(): void {
    this.clearGrace();
    const { onDesired } = this.unit;
    if (this.desiredSeen || onDesired === null) return;
    const { desiredGraceMs = DEFAULT_GRACE_MS } = this.timing;
    this.graceTimer = setTimeout(() => onDesired(new Uint8Array(0)), desiredGraceMs);
  }

  disconnected(): void {
    this.desiredSeen = false;
    this.clearGrace();
  }

  clearGrace(): void {
    if (this.graceTimer !== null) clearTimeout(this.graceTimer);
    this.graceTimer = null;
  }

  private saidLately(): boolean {
    const { progressIntervalMs = PROGRESS_INTERVAL_MS } = this.timing;
    return performance.now() - this.lastReportMs < progressIntervalMs;
  }
}

function isMereProgress(before: Reported | null, after: Reported): boolean {
  return before !== null && after.progress !== null && before.status === after.status;
}
