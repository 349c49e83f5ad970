/** The gateway's SMP client (targets/serial-mcu) over any byte stream, with what the device said besides. */

import { setTimeout as sleep } from 'node:timers/promises';
import { DELTA_KEYS, GROUP_DELTA, GROUP_OS, OS_ECHO } from '../../core/smp/packet.js';
import type { ByteLink } from '../../targets/serial-mcu/byte-link.js';
import { type DeltaResult, DeltaUpdate } from '../../targets/serial-mcu/delta-update.js';
import { type Answer, type Fields, SmpClient as GatewayClient } from '../../targets/serial-mcu/smp-client.js';

export { Refused } from '../../targets/serial-mcu/refused.js';
export type { Answer, Fields };

/** What the peer needs of a socket, a serial port, or a test. */
export interface ByteStream {
  write(bytes: Uint8Array): void;
  on(event: 'data', take: (bytes: Uint8Array) => void): unknown;
}

/** Patch bytes a packet, unless told otherwise. */
export const CHUNK_BYTES = 512;
/** An emulated board checks two signatures before it says that one is bad, on a machine that may have much else to do. */
const PATIENCE_MS = 300_000;
const HELLO_MS = 200;
const HELLO_TRIES = 500;

export class SmpClient {
  /** Everything the device sent, log lines too. */
  log = '';
  private readonly client: GatewayClient;

  constructor(stream: ByteStream, timeoutMs = 1000) {
    this.client = new GatewayClient(
      linkOf(stream, (bytes) => this.hear(bytes)),
      { answerMs: timeoutMs, patienceMs: PATIENCE_MS },
    );
  }

  /** Asks until answered. @throws Refused; IoError when the device stays silent. */
  request(group: number, command: number, fields: Fields = {}, write = false): Promise<Answer> {
    return this.client.request({ group, command, fields, write });
  }

  /** Sends a request once; its answer is the one that is not pending. */
  send(command: number, fields: Fields): Promise<Answer> {
    const request = { group: GROUP_DELTA, command, fields, write: true };
    return this.client.start(request, (answer) => answer['pending'] === true).answer;
  }

  /** Waits until the device answers at all: what is sent while it starts is lost. */
  async hello(): Promise<void> {
    for (let tries = 0; tries < HELLO_TRIES; tries++) {
      const exchange = this.client.start({ group: GROUP_OS, command: OS_ECHO, fields: { d: 'hello' }, write: true });
      const isAnswered = await Promise.race([exchange.answer.then(() => true), sleep(HELLO_MS, false)]);
      exchange.forget();
      if (isAnswered) return;
    }
    throw new Error('the device does not answer');
  }

  /** Sends a key record and waits until it is in force; its version. @throws Refused */
  async rotateKeys(record: Uint8Array): Promise<number> {
    let answer = await this.request(GROUP_DELTA, DELTA_KEYS, { record }, true);
    while (answer['pending'] === true) answer = await this.request(GROUP_DELTA, DELTA_KEYS);
    return Number(answer['keys']);
  }

  /** Sends a whole patch and waits until the model is staged. `sent` hears how many patch bytes are through. */
  async update(
    patch: Uint8Array,
    chunkBytes = CHUNK_BYTES,
    sent: (offset: number) => void = () => {},
  ): Promise<DeltaResult> {
    const params = { bufferBytes: chunkBytes + PACKET_OVERHEAD_BYTES, bufferCount: 1 };
    const onProgress = ({ received }: { received: number }): void => sent(received);
    return new DeltaUpdate({ client: this.client, patch, params, onProgress }).run();
  }

  private hear(bytes: Uint8Array): void {
    for (const byte of bytes) {
      if (byte >= 0x20 && byte < 0x7f) this.log += String.fromCharCode(byte);
      else if (byte === 0x0a) this.log += '\n';
    }
  }
}

/** Length, checksum, header and what the CBOR map has beside the data. */
const PACKET_OVERHEAD_BYTES = 40;

function linkOf(stream: ByteStream, hear: (bytes: Uint8Array) => void): ByteLink {
  return {
    baud: null,
    write: (bytes) => stream.write(bytes),
    onBytes: (take) =>
      stream.on('data', (bytes) => {
        hear(bytes);
        take(bytes);
      }),
    onClosed: () => {},
    close: async () => {},
  };
}
