/**
 * The device's side of SMP over a serial line: takes requests, answers each in the framing it came in, and lets the update session
 * work in between. One request at a time, in order: what arrives meanwhile waits in the line's own buffer, which holds as many
 * packets as `params` says. Data is answered when it is worked off; until then the peer hears from time to time that it is pending.
 */

import type { Clock, SerialLine } from '../ports.js';
import { CborReader } from './cbor-reader.js';
import { CborWriter } from './cbor-writer.js';
import { ConsoleReader, ConsoleWriter } from './console-framing.js';
import { DeltaGroup } from './delta-group.js';
import {
  DELTA_BEGIN,
  DELTA_KEYS,
  DELTA_STATUS,
  GROUP_DELTA,
  GROUP_IMAGE,
  GROUP_OS,
  IMAGE_UPLOAD,
  OS_ECHO,
  OS_PARAMS,
  OS_RESET,
  RC_INVALID,
  RC_NOT_SUPPORTED,
  readSmpHeader,
  SMP_HEADER_BYTES,
  type SmpHeader,
  writeSmpHeader,
} from './packet.js';
import { type DeviceOptions, UpdateSession } from './update-session.js';

export interface ServerOptions {
  readonly line: SerialLine;
  readonly clock: Clock;
  readonly device: DeviceOptions;
  /** Of the buffer a packet is put together in, the console's length and checksum included; tells peers how much data fits one. */
  readonly packetBytes: number;
  /** How many packets in console framing the line's own buffer holds: peers send no more than that without an answer. */
  readonly packetCount: number;
  /** Starts the device anew; null where it cannot. */
  readonly reset: (() => void) | null;
}

const ANSWER_BYTES = 320;
const READ_BYTES = 64;
/** Longer than any work takes. */
const UNTIL_DONE_MS = 2 ** 31;
/** Peers ask again after a second. */
const ANSWER_WITHIN_MS = 400;
/** Bytes of a packet follow each other closely: after such a silence a new one begins. */
const SILENCE_MS = 250;

export class SmpServer {
  private readonly line: SerialLine;
  private readonly clock: Clock;
  private readonly packetBytes: number;
  private readonly packetCount: number;
  private readonly reset: (() => void) | null;
  private readonly session: UpdateSession;
  private readonly reader: ConsoleReader;
  private readonly writer: ConsoleWriter;
  private readonly request = new CborReader();
  private readonly packet = new Uint8Array(ANSWER_BYTES);
  private readonly answer = new CborWriter(this.packet.subarray(SMP_HEADER_BYTES));
  private readonly group: DeltaGroup;
  private readonly header: SmpHeader = { op: 0, version: 0, group: 0, sequence: 0, command: 0 };
  private readonly input = new Uint8Array(READ_BYTES);
  private received = 0;
  private taken = 0;
  private heardAt = 0;
  /** An answer waits for the session; at this time the peer is told so. */
  private due = false;
  private deadline = 0;

  constructor({ line, clock, device, packetBytes, packetCount, reset }: ServerOptions) {
    this.line = line;
    this.clock = clock;
    this.packetBytes = packetBytes;
    this.packetCount = packetCount;
    this.reset = reset;
    this.session = new UpdateSession(device);
    this.reader = new ConsoleReader(new Uint8Array(packetBytes));
    this.writer = new ConsoleWriter((bytes) => line.write(bytes));
    this.group = new DeltaGroup(device, this.session, this.request, this.answer);
  }

  /** A bounded amount of work; false when there was none. */
  step(): boolean {
    const { session } = this;
    if (!this.due) return this.receive();
    if (session.busy && this.clock.now() < this.deadline) session.work();
    else {
      this.answer.begin();
      this.group.progress(this.header.group, this.header.command);
      this.send();
      if (session.busy) this.wait(ANSWER_WITHIN_MS);
      else this.due = false;
    }
    return true;
  }

  private receive(): boolean {
    if (this.taken === this.received) {
      this.received = this.line.read(this.input);
      this.taken = 0;
      const now = this.clock.now();
      if (this.received === 0) {
        if (now - this.heardAt >= SILENCE_MS) this.reader.restart();
        return false;
      }
      this.heardAt = now;
    }
    while (this.taken < this.received) {
      const packet = this.reader.take(this.input[this.taken++]!);
      if (packet !== null) {
        if (readSmpHeader(packet, this.header)) this.handle(packet.subarray(SMP_HEADER_BYTES));
        break;
      }
    }
    return true;
  }

  private handle(body: Uint8Array): void {
    const { header, answer } = this;
    const { group, command } = header;
    header.op++;
    answer.begin();
    if (!this.request.reset(body)) this.fault(RC_INVALID);
    else if (group === GROUP_DELTA) {
      // No patch's hashes protect what changes the slots, so a damaged packet must not be taken for such a command.
      if (this.reader.raw && command > DELTA_STATUS) this.fault(RC_NOT_SUPPORTED);
      else if (!this.group.handle(command)) {
        // A signature takes seconds on a slow part: that it is looked at is told before.
        this.wait(command === DELTA_BEGIN || command === DELTA_KEYS ? 0 : ANSWER_WITHIN_MS);
        return;
      }
    } else if (group === GROUP_IMAGE && command === IMAGE_UPLOAD) {
      if (!this.group.upload()) {
        // Peers that upload images expect one answer a request.
        this.wait(UNTIL_DONE_MS);
        return;
      }
    } else if (group !== GROUP_OS || !this.handleOs(command)) this.fault(RC_NOT_SUPPORTED);
    this.send();
    if (group === GROUP_OS && command === OS_RESET) this.reset?.();
  }

  private wait(answerWithinMs: number): void {
    this.due = true;
    this.deadline = this.clock.now() + answerWithinMs;
  }

  private handleOs(command: number): boolean {
    if (command === OS_ECHO) this.echo();
    else if (command === OS_PARAMS) {
      this.answer.putUint('buf_size', this.packetBytes);
      this.answer.putUint('buf_count', this.packetCount);
    } else return command === OS_RESET && this.reset !== null;
    return true;
  }

  private echo(): void {
    const text = this.request.text('d');
    if (text === null || text.length > ANSWER_BYTES / 2) this.fault(RC_INVALID);
    else this.answer.putUtf8('r', text);
  }

  private fault(code: number): void {
    this.answer.putUint('rc', code);
  }

  private send(): void {
    const { header, answer, packet } = this;
    answer.end();
    writeSmpHeader(packet, header, answer.length);
    const whole = packet.subarray(0, SMP_HEADER_BYTES + answer.length);
    if (this.reader.raw) this.line.write(whole);
    else this.writer.send(whole);
  }
}
