/**
 * A gateway's side of SMP: sends requests, matches answers by sequence number, group and command, and asks again when none comes.
 * Knows nothing of what the groups mean.
 */

import { decode, encode } from 'cborg';
import { IoError } from '../../core/errors.js';
import { ConsoleReader, ConsoleWriter } from '../../core/smp/console-framing.js';
import {
  GROUP_OS,
  OS_ECHO,
  OS_PARAMS,
  OS_RESET,
  SMP_HEADER_BYTES,
  SMP_READ,
  SMP_WRITE,
  writeSmpHeader,
} from '../../core/smp/packet.js';
import { type ByteLink, DeviceSilent, lineMilliseconds, realTimers, type Timers } from './byte-link.js';
import { RawAnswers } from './raw-answers.js';
import { Refused } from './refused.js';

export type Answer = Readonly<Record<string, unknown>>;
export type Fields = Readonly<Record<string, number | string | boolean | Uint8Array>>;
export type Framing = 'console' | 'raw';

export interface Request {
  readonly group: number;
  readonly command: number;
  readonly write?: boolean;
  readonly fields?: Fields;
  readonly framing?: Framing;
}

export interface Params {
  /** Of the device's buffer for a packet, the console's length and checksum included. */
  readonly bufferBytes: number;
  /** Packets that may be on their way without an answer. */
  readonly bufferCount: number;
}

/** A request on its way. */
export interface Exchange {
  readonly request: Request;
  /** Settles with the answer; never, when none comes. Rejects when the link is gone or the device refuses. */
  readonly answer: Promise<Answer>;
  /** Stops listening for it. */
  forget(): void;
}

export interface ClientOptions {
  readonly timers?: Timers;
  /** How long a device may take to answer, the way there and back aside. Default 1000 ms. */
  readonly answerMs?: number;
  /** How long a device may be silent altogether: it may check a signature or erase flash. Default 60 s. */
  readonly patienceMs?: number;
  readonly signal?: AbortSignal;
}

/** The smallest buffer that SMP's own clients work with. */
const LEAST_BUFFER_BYTES = 96;
const DEFAULT_BUFFER_BYTES = 256;
const MAX_BUFFER_BYTES = 65_535;
const MAX_BUFFER_COUNT = 16;
const MAX_ANSWER_BYTES = 4096;
const DEFAULT_ANSWER_MS = 1000;
const DEFAULT_PATIENCE_MS = 60_000;
/** Tries follow each other ever more slowly, up to this: requests wait in the device's line buffer while it is busy. */
const MOST_ANSWER_MS = 8000;

interface Waiting {
  readonly key: number;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
  /** Answers that are not the last one. */
  readonly isMore: (answer: Answer) => boolean;
}

export class SmpClient {
  /** Bytes of requests written to the link, framing included. */
  bytesSent = 0;
  readonly timers: Timers;
  readonly answerMs: number;
  readonly patienceMs: number;
  private readonly link: ByteLink;
  private readonly waiting = new Map<number, Waiting>();
  private readonly consoleReader = new ConsoleReader(new Uint8Array(MAX_ANSWER_BYTES));
  private readonly rawAnswers = new RawAnswers((header) => this.waitedFor(header) !== null);
  private readonly consoleWriter: ConsoleWriter;
  private sequence = 0;
  private closed: Error | null = null;
  /** Sound packets that came. */
  private heard = 0;

  constructor(link: ByteLink, options: ClientOptions = {}) {
    this.link = link;
    this.timers = options.timers ?? realTimers;
    this.answerMs = options.answerMs ?? DEFAULT_ANSWER_MS;
    this.patienceMs = options.patienceMs ?? DEFAULT_PATIENCE_MS;
    const { signal } = options;
    this.consoleWriter = new ConsoleWriter((line) => this.write(line.slice()));
    link.onBytes((bytes) => this.take(bytes));
    link.onClosed((reason) => this.end(reason));
    signal?.addEventListener('abort', () => this.end(signal.reason), { once: true });
    if (signal?.aborted === true) this.end(signal.reason);
  }

  /** Settles when `milliseconds` have passed. @throws when the link is gone. */
  async pause(milliseconds: number): Promise<void> {
    await new Promise<void>((resolve) => this.timers.after(milliseconds, resolve));
    if (this.closed !== null) throw this.closed;
  }

  /** Sends a request once. `isMore` tells answers that another one follows. */
  start(request: Request, isMore: (answer: Answer) => boolean = () => false): Exchange {
    const packet = packetOf(request, this.nextSequence());
    const key = keyOf(packet);
    let forget = (): void => {};
    const answer = new Promise<Answer>((resolve, reject) => {
      if (this.closed !== null) {
        reject(this.closed);
        return;
      }
      const sequence = packet[6]!;
      const waiting: Waiting = { key, resolve, reject, isMore };
      this.waiting.set(sequence, waiting);
      forget = () => {
        if (this.waiting.get(sequence) === waiting) this.waiting.delete(sequence);
      };
      if (request.framing === 'raw') this.write(packet);
      else this.consoleWriter.send(packet);
    });
    // Whoever does not wait for it any more need not hear of its failure.
    answer.catch(() => {});
    return { request, answer, forget };
  }

  /** Asks until answered. A late answer to an earlier try counts too. @throws Refused, IoError when the device stays silent. */
  async request(request: Request): Promise<Answer> {
    const tries: Exchange[] = [];
    let silentMs = 0;
    try {
      for (let waitMs = this.answerMs; silentMs < this.patienceMs; waitMs = Math.min(2 * waitMs, MOST_ANSWER_MS)) {
        const { heard } = this;
        const sentBefore = this.bytesSent;
        tries.push(this.start(request));
        const withinMs = waitMs + this.lineMs(this.bytesSent - sentBefore);
        const answer = await this.within(
          withinMs,
          tries.map((exchange) => exchange.answer),
        );
        if (answer !== null) return answer;
        silentMs = this.heard === heard ? silentMs + withinMs : 0;
      }
    } finally {
      for (const exchange of tries) exchange.forget();
    }
    throw new DeviceSilent(`the device does not answer to group ${request.group} command ${request.command}`);
  }

  /** The first of the answers; null when the device is silent for so long. */
  async listen<T>(silenceMs: number, answers: readonly Promise<T>[]): Promise<T | null> {
    for (;;) {
      const { heard } = this;
      const answer = await this.within(silenceMs, answers);
      if (answer !== null || this.heard === heard) return answer;
    }
  }

  /** The first of the answers; null when none comes in time. */
  private async within<T>(milliseconds: number, answers: readonly Promise<T>[]): Promise<T | null> {
    let cancel = (): void => {};
    const timeout = new Promise<null>((resolve) => {
      cancel = this.timers.after(milliseconds, () => {
        this.rawAnswers.restart();
        this.consoleReader.restart();
        resolve(null);
      });
    });
    try {
      return await Promise.race([...answers, timeout]);
    } finally {
      cancel();
    }
  }

  /** How long so many bytes are on the line. */
  lineMs(bytes: number): number {
    return lineMilliseconds(bytes, this.link.baud);
  }

  async echo(text: string): Promise<string> {
    return String((await this.request({ group: GROUP_OS, command: OS_ECHO, write: true, fields: { d: text } }))['r']);
  }

  async reset(): Promise<void> {
    await this.request({ group: GROUP_OS, command: OS_RESET, write: true });
  }

  /** What the device can take at a time; small where it does not say. */
  async params(): Promise<Params> {
    const answer = await this.request({ group: GROUP_OS, command: OS_PARAMS }).catch((error): Answer => {
      if (error instanceof Refused) return {};
      throw error;
    });
    return {
      bufferBytes: within(answer['buf_size'], LEAST_BUFFER_BYTES, MAX_BUFFER_BYTES) ?? DEFAULT_BUFFER_BYTES,
      bufferCount: within(answer['buf_count'], 1, MAX_BUFFER_COUNT) ?? 1,
    };
  }

  close(): Promise<void> {
    this.end(new IoError('the link was closed'));
    return this.link.close();
  }

  private nextSequence(): number {
    do this.sequence = (this.sequence + 1) & 0xff;
    while (this.waiting.has(this.sequence) && this.waiting.size < 256);
    return this.sequence;
  }

  private write(bytes: Uint8Array): void {
    this.bytesSent += bytes.length;
    this.link.write(bytes);
  }

  private take(bytes: Uint8Array): void {
    for (const byte of bytes) {
      const packet = this.consoleReader.take(byte);
      if (packet !== null && !this.consoleReader.raw) this.deliver(packet.slice());
    }
    for (const packet of this.rawAnswers.take(bytes)) this.deliver(packet);
  }

  private waitedFor(header: Uint8Array): Waiting | null {
    const waiting = this.waiting.get(header[6]!);
    return waiting !== undefined && waiting.key === keyOf(header) ? waiting : null;
  }

  private deliver(packet: Uint8Array): void {
    this.heard++;
    const waiting = packet.length < SMP_HEADER_BYTES ? null : this.waitedFor(packet);
    const answer = waiting === null ? null : decodeBody(packet.subarray(SMP_HEADER_BYTES));
    if (waiting === null || answer === null) return;
    if (waiting.isMore(answer)) return;
    this.waiting.delete(packet[6]!);
    if (answer['err'] === undefined && (answer['rc'] ?? 0) === 0) waiting.resolve(answer);
    else waiting.reject(new Refused(answer));
  }

  private end(reason: unknown): void {
    if (this.closed !== null) return;
    this.closed = reason instanceof Error ? reason : new IoError(String(reason));
    for (const { reject } of this.waiting.values()) reject(this.closed);
    this.waiting.clear();
  }
}

/** The largest multiple of 16 bytes that fits a packet in the field `field` beside `others`. */
export function chunkBytes({ bufferBytes }: Params, field: string, others: Fields = {}): number {
  // The head of a byte string of up to 65,535 bytes.
  const head = 3;
  const around = encode({ ...others, [field]: new Uint8Array(0) }).length - 1 + head;
  const room = bufferBytes - CONSOLE_BYTES - SMP_HEADER_BYTES - around;
  return Math.max(16, room - (room % 16));
}

/** Length and checksum share the device's buffer with the packet. */
const CONSOLE_BYTES = 4;

function packetOf({ group, command, write = false, fields = {} }: Request, sequence: number): Uint8Array {
  const body = encode(fields);
  const packet = new Uint8Array(SMP_HEADER_BYTES + body.length);
  writeSmpHeader(packet, { op: write ? SMP_WRITE : SMP_READ, version: 1, group, sequence, command }, body.length);
  packet.set(body, SMP_HEADER_BYTES);
  return packet;
}

/** Group and command as one number. */
function keyOf(header: Uint8Array): number {
  return (header[4]! << 16) | (header[5]! << 8) | header[7]!;
}

/** null for what is no CBOR map: noise, in raw framing. */
function decodeBody(body: Uint8Array): Answer | null {
  try {
    const value: unknown = decode(body);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Answer) : null;
  } catch {
    return null;
  }
}

function within(value: unknown, least: number, most: number): number | null {
  return Number.isSafeInteger(value) && (value as number) >= least ? Math.min(value as number, most) : null;
}
