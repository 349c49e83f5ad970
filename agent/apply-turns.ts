/** At most so many updates in memory at a time: each holds the buffers that its patch asks for, from `begin` to `commit`. */
import type { ApplySession, DoneReply, Failed, OpenApplySession, PushReply, SlotsReply } from './apply-messages.js';
import { retryable } from './failure.js';
import type { ApplyOrder } from './update-session.js';

export class ApplyTurns {
  private free: number;
  private readonly waiting: (() => void)[] = [];

  constructor(most: number) {
    this.free = most;
  }

  /** Sessions that wait for their turn, first come, first served. */
  taking(open: OpenApplySession): OpenApplySession {
    return (onProgress) => new TurnTaker(this, open(onProgress));
  }

  /** `come` settles when it is this one's turn, or when it was given back before. */
  take(): { readonly come: Promise<void>; giveBack(): void } {
    let isGiven = false;
    let grant = (): void => {};
    const come = new Promise<void>((resolve) => {
      grant = () => {
        isGiven = true;
        resolve();
      };
    });
    if (this.free > 0) {
      this.free--;
      grant();
    } else this.waiting.push(grant);
    let isBack = false;
    const giveBack = (): void => {
      if (isBack) return;
      isBack = true;
      if (isGiven) this.next();
      else {
        this.waiting.splice(this.waiting.indexOf(grant), 1);
        grant();
      }
    };
    return { come, giveBack };
  }

  private next(): void {
    const grant = this.waiting.shift();
    if (grant === undefined) this.free++;
    else grant();
  }
}

class TurnTaker implements ApplySession {
  private readonly turns: ApplyTurns;
  private readonly session: ApplySession;
  private turn: ReturnType<ApplyTurns['take']> | null = null;
  private closed = false;

  constructor(turns: ApplyTurns, session: ApplySession) {
    this.turns = turns;
    this.session = session;
  }

  readSlots(): Promise<SlotsReply | Failed> {
    return this.session.readSlots();
  }

  async begin(order: ApplyOrder): Promise<DoneReply | Failed> {
    this.turn ??= this.turns.take();
    await this.turn.come;
    if (!this.closed) return this.session.begin(order);
    return { kind: 'failed', failure: retryable('closed', 'given up before its turn came'), reachedBytes: 0 };
  }

  push(bytes: Uint8Array): Promise<PushReply | Failed> {
    return this.session.push(bytes);
  }

  end(): Promise<DoneReply | Failed> {
    return this.session.end();
  }

  /** A trial may take its time: nothing is held for it. */
  async commit(): Promise<SlotsReply | Failed> {
    const reply = await this.session.commit();
    this.giveBack();
    return reply;
  }

  confirm(): Promise<SlotsReply | Failed> {
    return this.session.confirm();
  }

  rollback(always: boolean): Promise<SlotsReply | Failed> {
    return this.session.rollback(always);
  }

  /** The memory is free before the next one takes its own. */
  async close(): Promise<void> {
    this.closed = true;
    await this.session.close();
    this.giveBack();
  }

  private giveBack(): void {
    this.turn?.giveBack();
    this.turn = null;
  }
}
