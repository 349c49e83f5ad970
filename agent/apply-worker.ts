/** The apply thread's side: answers requests with the synchronous session. Runs where blocking on files harms nobody. */

import { IoError, invariant } from '../core/errors.js';
import { toHex } from '../core/hex.js';
import type { SlotContents } from '../core/ports.js';
import type { ApplyMessage, ApplyReply, ApplyRequest, ApplyWorkerData, SlotsReply } from './apply-messages.js';
import { failureOf, permanent } from './failure.js';
import type { ActiveModel, Progress } from './machine-types.js';
import { type SessionPorts, type TrialSlots, UpdateSession } from './update-session.js';

/** `openPorts` is called at the first request: a damaged slot folder is then a reply and not a dead thread. */
export class ApplyServer {
  private readonly openPorts: () => SessionPorts;
  private readonly rules: ApplyWorkerData['rules'];
  private readonly send: (message: ApplyMessage) => void;
  private ports: SessionPorts | null = null;
  private session: UpdateSession | null = null;
  private lastPercent = -1;

  constructor(openPorts: () => SessionPorts, rules: ApplyWorkerData['rules'], send: (message: ApplyMessage) => void) {
    this.openPorts = openPorts;
    this.rules = rules;
    this.send = send;
  }

  handle(request: ApplyRequest): void {
    let reply: ApplyReply;
    try {
      this.ports ??= this.openPorts();
      reply = this.answer(request, this.ports);
    } catch (error) {
      const reachedBytes = this.session?.targetBytes ?? 0;
      this.session = null;
      reply = { kind: 'failed', failure: failureOf(error), reachedBytes };
    }
    this.send(reply);
  }

  private answer(request: ApplyRequest, ports: SessionPorts): ApplyReply {
    switch (request.kind) {
      case 'slots':
        return slotsReply(ports.slots);
      case 'begin':
        this.lastPercent = -1;
        this.session = new UpdateSession(ports, { ...this.rules, ...request.keys }, request.order, () =>
          this.tellProgress(),
        );
        return { kind: 'ok' };
      case 'push': {
        const step = this.current().push(request.bytes);
        return { kind: 'pushed', step, progress: this.progress() };
      }
      case 'end':
        this.current().end();
        return { kind: 'ok' };
      case 'commit':
        this.current().commit();
        this.giveUpPrevious(ports.slots);
        return slotsReply(ports.slots);
      case 'confirm':
        ports.slots.confirm();
        this.giveUpPrevious(ports.slots);
        return slotsReply(ports.slots);
      case 'rollback':
        // A rollback that was cut short after its switch has nothing left to do.
        if (ports.slots.trial() === null && !request.always) return slotsReply(ports.slots);
        if (ports.slots.previous() === null) return noPrevious(this.rules.keepPrevious !== false);
        ports.slots.rollback();
        return slotsReply(ports.slots);
    }
  }

  /** The switch has been made: a disk that does not forget its loser now does so at the next start. */
  private giveUpPrevious(slots: TrialSlots): void {
    if (this.rules.keepPrevious !== false) return;
    try {
      slots.dropPrevious();
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
    }
  }

  private current(): UpdateSession {
    invariant(this.session !== null, 'an update was begun');
    return this.session;
  }

  private progress(): Progress {
    return { targetBytes: this.session?.targetBytes ?? 0, targetSize: this.session?.targetSize ?? 0 };
  }

  /** One push can be minutes of work: a copy of a gigabyte is a few bytes of patch. */
  private tellProgress(): void {
    const progress = this.progress();
    const percent = progress.targetSize === 0 ? 0 : Math.floor((100 * progress.targetBytes) / progress.targetSize);
    if (percent === this.lastPercent) return;
    this.lastPercent = percent;
    this.send({ kind: 'progress', progress });
  }
}

function noPrevious(keepPrevious: boolean): ApplyReply {
  const why = keepPrevious ? 'none was installed before, or an update has begun in its slot' : 'keepPrevious is false';
  const failure = permanent('no-previous', `there is no previous model to go back to: ${why}`);
  return { kind: 'failed', failure, reachedBytes: 0 };
}

function slotsReply(slots: TrialSlots): SlotsReply {
  return { kind: 'slots', active: described(slots.active()), trial: slots.trial() };
}

function described(contents: SlotContents | null): ActiveModel | null {
  return contents === null ? null : { sha256: toHex(contents.sha256) };
}
