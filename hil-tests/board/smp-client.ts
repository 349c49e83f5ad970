/** Just enough of an SMP peer to drive a device under test over any byte stream. */

import { setTimeout as sleep } from 'node:timers/promises';
import { CborWriter } from '../../core/smp/cbor-writer.js';
import { ConsoleReader, ConsoleWriter } from '../../core/smp/console-framing.js';
import {
  DELTA_BEGIN,
  DELTA_DATA,
  DELTA_KEYS,
  DELTA_STATUS,
  GROUP_DELTA,
  GROUP_OS,
  OS_ECHO,
  SMP_HEADER_BYTES,
  SMP_READ,
  SMP_WRITE,
  writeSmpHeader,
} from '../../core/smp/packet.js';
import { decodeCbor } from './decode-cbor.js';

/** What the peer needs of a socket, a serial port, or a test. */
export interface ByteStream {
  write(bytes: Uint8Array): void;
  on(event: 'data', take: (bytes: Uint8Array) => void): unknown;
}

export type Answer = Readonly<Record<string, unknown>>;
export type Fields = Readonly<Record<string, number | string | Uint8Array>>;

/** Patch bytes a packet, unless told otherwise. */
export const CHUNK_BYTES = 512;
const MAX_PACKET_BYTES = 4096;
/** A device that checks a signature answers nothing for a while. */
const TRIES = 60;
const HELLO_MS = 200;

/** The device refused: its error, and the reason it gave. */
export class Refused extends Error {
  override readonly name = 'Refused';
  readonly reason: string;
  constructor(answer: Answer) {
    super(`the device refused: ${JSON.stringify(answer)}`);
    this.reason = String(answer['rsn'] ?? '');
  }
}

export class SmpClient {
  /** Everything the device sent, log lines too. */
  log = '';
  private readonly stream: ByteStream;
  private timeoutMs: number;
  private readonly writer: ConsoleWriter;
  private readonly reader = new ConsoleReader(new Uint8Array(MAX_PACKET_BYTES));
  private sequence = 0;
  private waiting: ((packet: Uint8Array) => void) | null = null;

  constructor(stream: ByteStream, timeoutMs = 1000) {
    this.stream = stream;
    this.timeoutMs = timeoutMs;
    this.writer = new ConsoleWriter((bytes) => this.stream.write(bytes.slice()));
    stream.on('data', (bytes) => {
      for (const byte of bytes) {
        if (byte >= 0x20 && byte < 0x7f) this.log += String.fromCharCode(byte);
        else if (byte === 0x0a) this.log += '\n';
        const packet = this.reader.take(byte);
        if (packet !== null) this.waiting?.(packet.slice());
      }
    });
  }

  /** Asks until answered. @throws Refused; Error when the device stays silent. */
  async request(group: number, command: number, fields: Fields = {}, write = false): Promise<Answer> {
    const buffer = new Uint8Array(MAX_PACKET_BYTES);
    const body = new CborWriter(buffer.subarray(SMP_HEADER_BYTES));
    body.begin();
    for (const [key, value] of Object.entries(fields)) {
      if (typeof value === 'number') body.putUint(key, value);
      else if (typeof value === 'string') body.putText(key, value);
      else body.putBytes(key, value);
    }
    body.end();
    const op = write ? SMP_WRITE : SMP_READ;
    for (let tries = 0; tries < TRIES; tries++) {
      const sequence = this.sequence++ & 0xff;
      writeSmpHeader(buffer, { op, version: 1, group, sequence, command }, body.length);
      const answer = await this.exchange(buffer.subarray(0, SMP_HEADER_BYTES + body.length));
      if (answer === null) continue;
      const map = decodeCbor(answer.subarray(SMP_HEADER_BYTES)) as Answer;
      if (map['err'] !== undefined || (map['rc'] ?? 0) !== 0) throw new Refused(map);
      return map;
    }
    throw new Error(`no answer to group ${group} command ${command}; the device said: ${this.log.slice(-300)}`);
  }

  /** Waits until the device answers at all: what is sent while it starts is lost. */
  async hello(): Promise<void> {
    const { timeoutMs } = this;
    this.timeoutMs = HELLO_MS;
    await this.request(GROUP_OS, OS_ECHO, { d: 'hello' });
    this.timeoutMs = timeoutMs;
  }

  /** Sends a whole patch and waits until the model is staged. `sent` hears how many patch bytes are through. */
  async update(patch: Uint8Array, chunkBytes = CHUNK_BYTES, sent: (offset: number) => void = () => {}): Promise<void> {
    let answer = await this.request(GROUP_DELTA, DELTA_BEGIN, { header: patch.subarray(0, chunkBytes) }, true);
    while (answer['state'] !== 'staged') {
      const offset = Number(answer['off']);
      if (answer['pending'] === true) {
        await sleep(5);
        answer = await this.request(GROUP_DELTA, DELTA_STATUS);
        continue;
      }
      const data = patch.subarray(offset, offset + chunkBytes);
      if (data.length === 0) throw new Error(`the device wants byte ${offset} of a patch of ${patch.length}`);
      answer = await this.request(GROUP_DELTA, DELTA_DATA, { off: offset, data }, true);
      sent(Number(answer['off']));
    }
  }

  /** Sends a key record and waits until it is in force; its version. @throws Refused */
  async rotateKeys(record: Uint8Array): Promise<number> {
    let answer = await this.request(GROUP_DELTA, DELTA_KEYS, { record }, true);
    while (answer['pending'] === true) {
      await sleep(5);
      answer = await this.request(GROUP_DELTA, DELTA_KEYS);
    }
    return Number(answer['keys']);
  }

  private async exchange(request: Uint8Array): Promise<Uint8Array | null> {
    const answered = new Promise<Uint8Array | null>((resolve) => {
      const timer = setTimeout(() => resolve(null), this.timeoutMs);
      this.waiting = (packet) => {
        // Group, sequence and command name the request; anything else answers an earlier one.
        for (let i = 4; i < SMP_HEADER_BYTES; i++) if (packet[i] !== request[i]) return;
        clearTimeout(timer);
        resolve(packet);
      };
    });
    this.writer.send(request);
    const packet = await answered;
    this.waiting = null;
    return packet;
  }
}
