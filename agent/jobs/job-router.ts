/** Which unit a job is for: the one that keeps the model its document names. A device takes one job at a time. */
import { parseDesired } from '../desired.js';
import { type Failure, permanent } from '../failure.js';
import type { Reported } from '../reported.js';
import { desiredOf, type JobClient, type JobWork } from './job-client.js';

/** What a job can be given to. */
export interface JobUnit {
  readonly name: string;
  readonly runtime: { desired(payload: Uint8Array, origin?: string): void };
}

export class JobRouter implements JobWork {
  private readonly units: () => readonly JobUnit[];

  constructor(units: () => readonly JobUnit[]) {
    this.units = units;
  }

  begin(desired: Uint8Array, origin: string): Failure | null {
    const unit = this.unitOf(desired);
    unit?.runtime.desired(desired, origin);
    return unit === null ? this.refusal(desired) : null;
  }

  drop(desired: Uint8Array): void {
    this.unitOf(desired)?.runtime.desired(new Uint8Array(0));
  }

  /** Whether the open job is this unit's; with none open it is nobody's. */
  isBusyFor(client: JobClient, name: string): boolean {
    const { current } = client;
    return current !== null && client.hasOpenJob && this.unitOf(desiredOf(current))?.name === name;
  }

  tellProgress(client: JobClient, name: string, reported: Reported): void {
    if (this.isBusyFor(client, name)) client.tellProgress(reported);
  }

  /** An only unit gets them all and judges for itself. */
  private unitOf(desired: Uint8Array): JobUnit | null {
    const units = this.units();
    if (units.length === 1) return units[0]!;
    const wish = parseDesired(desired);
    return wish.kind === 'want' ? (units.find(({ name }) => name === wish.desired.model) ?? null) : null;
  }

  private refusal(desired: Uint8Array): Failure {
    const wish = parseDesired(desired);
    if (wish.kind !== 'want')
      return permanent('bad-document', wish.kind === 'unreadable' ? wish.message : 'no document');
    const names = this.units().map(({ name }) => name);
    const message = `this device keeps models ${names.join(', ')}, the document is about ${wish.desired.model}`;
    return permanent('wrong-model', message);
  }
}
