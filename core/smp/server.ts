/**
 * The device's side of SMP over a serial line: takes requests, answers them, and lets the update session work in between. One
 * request at a time: what arrives meanwhile waits in the line's own buffer.
 */

import type { Clock, SerialLine } from '../ports.js';
import { CborReader } from './cbor-reader.js';
import { CborWriter } from './cbor-writer.js';
import { CONSOLE_OVERHEAD_BYTES, ConsoleReader, ConsoleWriter } from './console-framing.js';
import { DeltaGroup } from './delta-group.js';
import {
  GROUP_DELTA,
  GROUP_OS,
  OS_ECHO,
  OS_PARAMS,
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
  /** Longest packet taken, in bytes; tells peers how much data fits one. */
  readonly packetBytes: number;
}

const ANSWER_BYTES = 320;
const READ_BYTES = 64;
/** Peers ask again after a second. */
const ANSWER_WITHIN_MS = 400;

export class SmpServer {
  private readonly line: SerialLine;
  private readonly clock: Clock;
  private readonly packetBytes: number;
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
  /** An answer waits for the session, until this time at the latest. */
  private due = false;
  private deadline = 0;

  constructor({ line, clock, device, packetBytes }: ServerOptions) {
    this.line = line;
    this.clock = clock;
    this.packetBytes = packetBytes;
    this.session = new UpdateSession(device);
    this.reader = new ConsoleReader(new Uint8Array(packetBytes + CONSOLE_OVERHEAD_BYTES));
    this.writer = new ConsoleWriter((bytes) => line.write(bytes));
    this.group = new DeltaGroup(device, this.session, this.request, this.answer);
  }

  /** A bounded amount of work; false when there was none. */
  step(): boolean {
    const { session } = this;
    if (session.busy) session.work();
    if (this.due) {
      if (session.unread > 0 && this.clock.now() < this.deadline) return true;
      session.forget();
      this.due = false;
      this.answer.begin();
      this.group.progress();
      this.send();
    }
    // The packet that is being taken lies in the buffer the next one would go into.
    return session.unread > 0 || this.receive() || session.busy;
  }

  private receive(): boolean {
    if (this.taken === this.received) {
      this.received = this.line.read(this.input);
      this.taken = 0;
      if (this.received === 0) return false;
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
    answer.begin();
    if (!this.request.reset(body)) this.fault(RC_INVALID);
    else if (header.group === GROUP_DELTA) {
      if (!this.group.handle(header.command)) {
        this.due = true;
        this.deadline = this.clock.now() + ANSWER_WITHIN_MS;
        return;
      }
    } else if (header.group === GROUP_OS && header.command === OS_ECHO) this.echo();
    else if (header.group === GROUP_OS && header.command === OS_PARAMS) {
      answer.putUint('buf_size', this.packetBytes);
      answer.putUint('buf_count', 1);
    } else this.fault(RC_NOT_SUPPORTED);
    this.send();
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
    header.op++;
    writeSmpHeader(packet, header, answer.length);
    this.writer.send(packet.subarray(0, SMP_HEADER_BYTES + answer.length));
  }
}
