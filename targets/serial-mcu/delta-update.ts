/**
 * Sends a patch through the delta group: as many packets at a time as the device has buffers for, from where the device says it
 * wants to go on. Whatever goes wrong on the line, a question that the device answers settles where both stand.
 */

import { PreambleReader } from '../../core/apply/preamble-reader.js';
import { InvalidPatch, IoError } from '../../core/errors.js';
import { DELTA_BEGIN, DELTA_DATA, DELTA_STATUS, GROUP_DELTA } from '../../core/smp/packet.js';
import { Refused } from './refused.js';
import { type Answer, chunkBytes, type Exchange, type Framing, type Params, type SmpClient } from './smp-client.js';

export interface DeltaOptions {
  readonly client: SmpClient;
  readonly patch: Uint8Array;
  readonly params: Params;
  /** For data; all else has a checksum. Default 'console'. */
  readonly framing?: Framing;
  /** Hears how many bytes of the patch the device has, and of the target it has kept. */
  readonly onProgress?: (progress: Progress) => void;
}

export interface Progress {
  readonly received: number;
  readonly committed: number;
}

export interface DeltaResult {
  /** Bytes of the patch in the packets that were sent. */
  readonly payloadSent: number;
  /** Where the device went on after it knew the patch's header; 0 unless it had begun before. */
  readonly resumedAt: number;
}

interface Chunk {
  readonly offset: number;
  readonly end: number;
  readonly exchange: Exchange;
}

/** Faults in a row without a byte gained between them, after which the line is given up. */
const MOST_FAULTS = 12;
/** Of those, after which raw framing is. */
const RAW_FAULTS = 3;
const FIRST_POLL_MS = 10;
const MOST_POLL_MS = 500;
/** Refusals of a patch that arrived damaged; it may be begun anew. */
const DAMAGED: readonly string[] = ['BAD_FRAME', 'BAD_MAGIC', 'BAD_VERSION', 'BAD_HEADER', 'HEADER_DIGEST'];

export class DeltaUpdate {
  private readonly client: SmpClient;
  private readonly patch: Uint8Array;
  private readonly params: Params;
  private readonly preambleBytes: number;
  private readonly onProgress: (progress: Progress) => void;
  private framing: Framing;
  /** Bytes of the patch in the packets that were sent. */
  payloadSent = 0;
  private resumedAt: number | null = null;
  /** Furthest offset the device had, and faults since that moved. */
  private gained = -1;
  private faults = 0;

  /** @throws InvalidPatch when the patch has no header. */
  constructor({ client, patch, params, framing = 'console', onProgress = () => {} }: DeltaOptions) {
    this.client = client;
    this.patch = patch;
    this.params = params;
    this.framing = framing;
    this.onProgress = onProgress;
    const preamble = new PreambleReader();
    preamble.gather(patch, 0);
    this.preambleBytes = preamble.size?.preambleBytes ?? 0;
    if (this.preambleBytes === 0) throw new IoError('the patch is shorter than its header');
  }

  /** Settles when the model is staged. @throws Refused; IoError when the link fails. */
  async run(): Promise<DeltaResult> {
    let answer = await this.begin();
    while (answer['state'] !== 'staged') {
      if (answer['state'] === 'idle') answer = await this.begin();
      else answer = await this.stream(this.offsetOf(answer));
    }
    return { payloadSent: this.payloadSent, resumedAt: this.resumedAt ?? 0 };
  }

  /** Where the device stands after it was told of the patch. */
  private async begin(): Promise<Answer> {
    // What follows the header may go raw, which this does not.
    const most = this.framing === 'raw' ? this.preambleBytes : this.patch.length;
    const header = this.patch.subarray(0, Math.min(most, chunkBytes(this.params, 'header')));
    for (;;) {
      let begun = false;
      const exchange = this.client.start(
        { group: GROUP_DELTA, command: DELTA_BEGIN, write: true, fields: { header } },
        (answer) => {
          begun ||= isPending(answer);
          return isPending(answer);
        },
      );
      this.payloadSent += header.length;
      const found = await this.firstAnswer([{ offset: 0, end: header.length, exchange }]);
      exchange.forget();
      // Busy with a signature, perhaps: beginning anew would only make it check that again.
      const answer = found?.answer ?? (await this.status());
      this.note(answer);
      if (found !== null || (begun && answer['state'] !== 'idle')) return answer;
      this.countFault();
    }
  }

  /** Sends from `start` on until something has to be looked at: the end, a jump, a fault. */
  private async stream(start: number): Promise<Answer> {
    let next = start;
    const flying: Chunk[] = [];
    for (;;) {
      while (next < this.patch.length && flying.length < this.window(next)) {
        flying.push(this.send(next));
        next = flying[flying.length - 1]!.end;
      }
      if (flying.length === 0) return this.finish();
      const found = await this.firstAnswer(flying);
      if (found === null) {
        this.countFault();
        for (const { exchange } of flying) exchange.forget();
        return this.status();
      }
      const { index, answer } = found;
      // Requests are worked off in order: what was sent before and is not answered never will be.
      const [answered] = flying.splice(0, index + 1).slice(-1);
      this.note(answer);
      const offset = this.offsetOf(answer);
      const moved = offset !== answered!.end || answer['state'] !== 'receiving';
      if (!moved) continue;
      return this.drain(flying, answer);
    }
  }

  /** The device wants other bytes than those still on their way: waits until it has said so of each, lest they meet new ones. */
  private async drain(flying: Chunk[], last: Answer): Promise<Answer> {
    let answer = last;
    while (flying.length > 0) {
      const found = await this.firstAnswer(flying);
      if (found === null) {
        for (const { exchange } of flying) exchange.forget();
        return this.status();
      }
      flying.splice(0, found.index + 1);
      answer = found.answer;
    }
    this.note(answer);
    // A frame that is asked for again is noise, not progress.
    if (this.offsetOf(answer) <= this.gained) this.countFault();
    return answer;
  }

  /** All is sent: the device decodes the last of it and checks the whole. */
  private async finish(): Promise<Answer> {
    for (let pollMs = FIRST_POLL_MS; ; pollMs = Math.min(2 * pollMs, MOST_POLL_MS)) {
      const answer = await this.status();
      if (answer['state'] !== 'receiving' || this.offsetOf(answer) < this.patch.length) return answer;
      if (!isPending(answer)) throw new InvalidPatch('TRUNCATED', 'the device wants more than the patch has');
      await this.client.pause(pollMs);
    }
  }

  /** Until the device has read the header it may want to go on anywhere. */
  private window(offset: number): number {
    return offset < this.preambleBytes ? 1 : this.params.bufferCount;
  }

  private send(offset: number): Chunk {
    const size = chunkBytes(this.params, 'data', { off: offset });
    const data = this.patch.subarray(offset, offset + size);
    this.payloadSent += data.length;
    // A signature that noise damaged would look like another signer's: the header comes with a checksum.
    const framing = offset < this.preambleBytes ? 'console' : this.framing;
    const exchange = this.client.start(
      { group: GROUP_DELTA, command: DELTA_DATA, write: true, fields: { off: offset, data }, framing },
      isPending,
    );
    return { offset, end: offset + data.length, exchange };
  }

  /** null when none came, or the device could not make sense of one: that is noise. */
  private async firstAnswer(flying: readonly Chunk[]): Promise<{ index: number; answer: Answer } | null> {
    const bytes = flying.reduce((sum, { offset, end }) => sum + end - offset, 0);
    const answers = flying.map(({ exchange }, index) => exchange.answer.then((answer) => ({ index, answer })));
    // Base64, markers and headers make at most twice of it.
    const silenceMs = this.client.answerMs + this.client.lineMs(2 * bytes + 200 * flying.length);
    return this.damagedIsNull(this.client.listen(silenceMs, answers));
  }

  private async damagedIsNull<T>(answer: Promise<T | null>): Promise<T | null> {
    try {
      return await answer;
    } catch (error) {
      if (error instanceof Refused && (error.isMalformed || error.reason === 'idle')) return null;
      if (!(error instanceof Refused) || !DAMAGED.includes(error.reason)) throw error;
      this.countFault(error);
      return null;
    }
  }

  private async status(): Promise<Answer> {
    try {
      const answer = await this.client.request({ group: GROUP_DELTA, command: DELTA_STATUS });
      this.note(answer);
      return answer;
    } catch (error) {
      if (!(error instanceof Refused) || !DAMAGED.includes(error.reason)) throw error;
      this.countFault(error);
      return { state: 'idle' };
    }
  }

  private offsetOf(answer: Answer): number {
    const offset = answer['off'];
    // Only noise in raw framing, or a device that is not what it says, asks for what is not there.
    if (Number.isSafeInteger(offset) && (offset as number) >= 0 && (offset as number) <= this.patch.length) {
      return offset as number;
    }
    this.countFault();
    return 0;
  }

  private note(answer: Answer): void {
    if (answer['state'] !== 'receiving' && answer['state'] !== 'staged') return;
    const received = this.offsetOf(answer);
    if (this.resumedAt === null && received >= this.preambleBytes) {
      const first = chunkBytes(this.params, 'header');
      this.resumedAt = received > Math.max(first, this.preambleBytes + first) ? received : 0;
    }
    if (received > this.gained) {
      this.gained = received;
      this.faults = 0;
    }
    this.onProgress({ received, committed: Number(answer['committed'] ?? 0) });
  }

  private countFault(cause?: Error): void {
    this.faults++;
    if (this.faults >= RAW_FAULTS) this.framing = 'console';
    if (this.faults < MOST_FAULTS) return;
    throw cause ?? new IoError(`the line is too bad: ${MOST_FAULTS} faults in a row, and none of the data through`);
  }
}

function isPending(answer: Answer): boolean {
  return answer['pending'] === true;
}
