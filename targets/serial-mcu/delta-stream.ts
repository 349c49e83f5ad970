/**
 * Sends a patch through the delta group, piece by piece as it comes: as many packets at a time as the device has buffers for, from
 * where the device says it wants to go on. Whatever goes wrong on the line, a question that the device answers settles where both
 * stand.
 */

import { PreambleReader } from '../../core/apply/preamble-reader.js';
import { IoError } from '../../core/errors.js';
import { DELTA_BEGIN, DELTA_DATA, DELTA_STATUS, GROUP_DELTA } from '../../core/smp/packet.js';
import { Refused } from './refused.js';
import { type Answer, chunkBytes, type Exchange, type Framing, type Params, type SmpClient } from './smp-client.js';

export interface StreamOptions {
  readonly client: SmpClient;
  /** Of the whole patch, in bytes. */
  readonly patchBytes: number;
  readonly params: Params;
  /** For data; all else has a checksum. Default 'console'. */
  readonly framing?: Framing;
  /** Hears of the patch's first bytes, as soon as header and signatures are whole, before the device does. What it throws ends the update. */
  readonly onPreamble?: (preamble: PreambleReader) => void;
  readonly onProgress?: (progress: Progress) => void;
}

export interface Progress {
  /** Bytes of the patch that the device has. */
  readonly received: number;
  /** Bytes of the target that it has decoded, and that a power cut does not take from it. */
  readonly applied: number;
  readonly committed: number;
}

export type DeltaStep =
  /** It has all there is, and wants what follows. */
  | { readonly kind: 'input' }
  /** It wants the bytes from this offset of the patch on. */
  | { readonly kind: 'seek'; readonly offset: number }
  /** The model is staged. */
  | { readonly kind: 'done' };

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

const NOTHING = new Uint8Array(0);

export class DeltaStream {
  private readonly client: SmpClient;
  private readonly patchBytes: number;
  private readonly params: Params;
  private readonly preamble = new PreambleReader();
  /** Of header and signatures; 0 until they are there. */
  preambleBytes = 0;
  private readonly onPreamble: (preamble: PreambleReader) => void;
  private readonly onProgress: (progress: Progress) => void;
  private framing: Framing;
  /** Bytes of the patch in the packets that were sent. */
  payloadSent = 0;
  /** Where the device went on after it knew the patch's header; 0 unless it had begun before. */
  resumedAt: number | null = null;
  /** What there is of the patch now: the bytes that lie at `start`. */
  private piece: { readonly start: number; readonly bytes: Uint8Array } = { start: 0, bytes: NOTHING };
  /** The patch's first bytes, once the preamble is among them. */
  private head: Uint8Array | null = null;
  /** The last answer was none that was expected. */
  private isDoubtful = false;
  /** Furthest offset the device had, and faults since that moved. */
  private gained = -1;
  private faults = 0;
  /** What the last fault was, where the device said it. */
  private refusal: Error | null = null;

  constructor({ client, patchBytes, params, framing = 'console', onPreamble, onProgress }: StreamOptions) {
    this.client = client;
    this.patchBytes = patchBytes;
    this.params = params;
    this.framing = framing;
    this.onPreamble = onPreamble ?? (() => {});
    this.onProgress = onProgress ?? (() => {});
  }

  /**
   * Takes the bytes that lie at `offset` of the patch: the first ones, those that follow, or those that a `seek` asked for.
   * Settles when the device has worked them off or wants others. @throws Refused; InvalidPatch for a header that cannot be read;
   * IoError when the link fails.
   */
  async push(bytes: Uint8Array, offset: number): Promise<DeltaStep> {
    this.piece = this.head === null ? { start: 0, bytes: joined(this.piece.bytes, bytes) } : { start: offset, bytes };
    const isFirst = this.head === null;
    if (isFirst && !this.readPreamble()) return { kind: 'input' };
    let answer = isFirst ? await this.begin() : await this.stream(offset);
    for (;;) {
      if (answer['state'] === 'staged') return { kind: 'done' };
      const wanted = this.offsetOf(answer);
      const isHere = wanted >= this.piece.start && wanted < this.end;
      if (answer['state'] === 'idle') {
        answer = await this.begin();
        this.isDoubtful = false;
      } else if (isHere || (wanted === this.end && isPending(answer))) {
        answer = await this.stream(wanted);
      } else if (this.isDoubtful) {
        // In raw framing it may be noise, and to fetch other bytes costs more than to ask.
        answer = await this.status();
        this.isDoubtful = false;
      } else {
        return wanted === this.end ? { kind: 'input' } : { kind: 'seek', offset: wanted };
      }
    }
  }

  /** Offset behind the last byte there is. */
  private get end(): number {
    return this.piece.start + this.piece.bytes.length;
  }

  private slice(from: number, to: number): Uint8Array {
    return this.piece.bytes.subarray(from - this.piece.start, to - this.piece.start);
  }

  /** False where bytes are missing. */
  private readPreamble(): boolean {
    const { preamble, piece } = this;
    preamble.gather(piece.bytes, preamble.filled);
    if (preamble.size === null) return false;
    this.preambleBytes = preamble.size.preambleBytes;
    this.onPreamble(preamble);
    this.head = piece.bytes.slice(0, Math.max(this.preambleBytes, chunkBytes(this.params, 'header')));
    return true;
  }

  /** Where the device stands after it was told of the patch. */
  private async begin(): Promise<Answer> {
    // What follows the header may go raw, which this does not.
    const head = this.head ?? NOTHING;
    const most = this.framing === 'raw' ? this.preambleBytes : head.length;
    const header = head.subarray(0, Math.min(most, chunkBytes(this.params, 'header')));
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

  /** Sends from `start` on until something has to be looked at: no more bytes, a jump, a fault. */
  private async stream(start: number): Promise<Answer> {
    this.isDoubtful = false;
    let next = start;
    let last: Answer | null = null;
    const flying: Chunk[] = [];
    for (;;) {
      while (next < this.end && flying.length < this.window(next)) {
        flying.push(this.send(next));
        next = flying[flying.length - 1]!.end;
      }
      // The last word on the patch counts, and may be noise in raw framing: it is asked for again.
      if (flying.length === 0) return last === null || this.end === this.patchBytes ? this.finish() : last;
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
      last = answer;
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
    this.isDoubtful = true;
    // A frame that is asked for again is noise, not progress.
    if (this.offsetOf(answer) <= this.gained) this.countFault();
    return answer;
  }

  /** All there is was sent: the device decodes the last of it, and checks the whole where that was the patch's end. */
  private async finish(): Promise<Answer> {
    for (let pollMs = FIRST_POLL_MS; ; pollMs = Math.min(2 * pollMs, MOST_POLL_MS)) {
      const answer = await this.status();
      if (answer['state'] !== 'receiving' || this.offsetOf(answer) !== this.end || !isPending(answer)) return answer;
      await this.client.pause(pollMs);
    }
  }

  /** Until the device has read the header it may want to go on anywhere. */
  private window(offset: number): number {
    return offset < this.preambleBytes ? 1 : this.params.bufferCount;
  }

  private send(offset: number): Chunk {
    const size = chunkBytes(this.params, 'data', { off: offset });
    const data = this.slice(offset, Math.min(offset + size, this.end));
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
    if (Number.isSafeInteger(offset) && (offset as number) >= 0 && (offset as number) <= this.patchBytes) {
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
    const numberOf = (key: string): number => (Number.isSafeInteger(answer[key]) ? (answer[key] as number) : 0);
    this.onProgress({ received, applied: numberOf('applied'), committed: numberOf('committed') });
  }

  private countFault(cause?: Error): void {
    this.faults++;
    // A refusal is heard of, and then that nothing came of what was sent.
    const reason = cause ?? this.refusal;
    this.refusal = cause ?? null;
    if (this.faults >= RAW_FAULTS) this.framing = 'console';
    if (this.faults < MOST_FAULTS) return;
    throw reason ?? new IoError(`the line is too bad: ${MOST_FAULTS} faults in a row, and none of the data through`);
  }
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  if (first.length === 0) return second;
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

function isPending(answer: Answer): boolean {
  return answer['pending'] === true;
}
