/**
 * The main thread's handle on the apply thread. The worker runs the same bundle as the main program, because a single
 * file is what is installed on a device; `workerEntry` is that file's address.
 */
import { Worker } from 'node:worker_threads';
import type {
  ApplyMessage,
  ApplyReply,
  ApplyRequest,
  ApplySession,
  ApplyWorkerData,
  DoneReply,
  Failed,
  PushReply,
  SlotsReply,
} from './apply-messages.js';
import { retryable } from './failure.js';
import type { Progress } from './machine-types.js';
import type { TrustedKeys } from './trust-store.js';
import type { ApplyOrder } from './update-session.js';

export class ApplyThread implements ApplySession {
  private readonly worker: Worker;
  private readonly keys: () => TrustedKeys;
  private readonly onProgress: (progress: Progress) => void;
  private pending: ((reply: ApplyReply) => void) | null = null;
  private death: string | null = null;

  /** `keys` is asked anew for each update: which are trusted may change while the thread lives. */
  constructor(
    workerEntry: URL,
    workerData: ApplyWorkerData,
    keys: () => TrustedKeys,
    onProgress: (progress: Progress) => void,
  ) {
    this.keys = keys;
    this.onProgress = onProgress;
    this.worker = new Worker(workerEntry, { workerData, name: 'mallorn-apply' });
    this.worker.on('message', (message: ApplyMessage) => this.receive(message));
    this.worker.on('error', (error: Error) => this.die(`the apply thread failed: ${error.message}`));
    this.worker.on('exit', (code) => this.die(`the apply thread ended with code ${code}`));
  }

  readSlots(): Promise<SlotsReply | Failed> {
    return this.call<SlotsReply>({ kind: 'slots' });
  }

  begin(order: ApplyOrder): Promise<DoneReply | Failed> {
    return this.call<DoneReply>({ kind: 'begin', order, keys: this.keys() });
  }

  /** Takes `bytes` away from the caller: they move to the other thread without a copy. */
  push(bytes: Uint8Array<ArrayBuffer>): Promise<PushReply | Failed> {
    return this.call<PushReply>({ kind: 'push', bytes }, [bytes.buffer]);
  }

  end(): Promise<DoneReply | Failed> {
    return this.call<DoneReply>({ kind: 'end' });
  }

  commit(): Promise<SlotsReply | Failed> {
    return this.call<SlotsReply>({ kind: 'commit' });
  }

  confirm(): Promise<SlotsReply | Failed> {
    return this.call<SlotsReply>({ kind: 'confirm' });
  }

  rollback(always: boolean): Promise<SlotsReply | Failed> {
    return this.call<SlotsReply>({ kind: 'rollback', always });
  }

  async close(): Promise<void> {
    await this.worker.terminate();
  }

  private call<R extends ApplyReply>(request: ApplyRequest, transfer: ArrayBuffer[] = []): Promise<R | Failed> {
    return new Promise((resolve) => {
      if (this.death !== null) {
        resolve(died(this.death));
        return;
      }
      // The worker answers in order and each kind of request has one kind of reply, so the cast states the protocol.
      this.pending = (reply) => resolve(reply as R | Failed);
      this.worker.postMessage(request, transfer);
    });
  }

  private receive(message: ApplyMessage): void {
    if (message.kind === 'progress') {
      this.onProgress(message.progress);
      return;
    }
    const resolve = this.pending;
    this.pending = null;
    resolve?.(message);
  }

  private die(reason: string): void {
    this.death ??= reason;
    const resolve = this.pending;
    this.pending = null;
    resolve?.(died(this.death));
  }
}

function died(reason: string): Failed {
  return { kind: 'failed', failure: retryable('worker-died', reason), reachedBytes: 0 };
}
