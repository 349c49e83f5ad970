/** A gateway's side of the serial line: what a device answers, in either framing, with text between. */

import assert from 'node:assert/strict';
import { encode } from 'cborg';
import { DELTA_STATUS, GROUP_DELTA, SMP_HEADER_BYTES, writeSmpHeader } from '../../core/smp/packet.js';
import type { ByteLink } from '../../targets/serial-mcu/byte-link.js';
import { SmpClient } from '../../targets/serial-mcu/smp-client.js';
import { framed, withChecksums } from './smp.js';
import type { FuzzTarget, Outcome } from './target.js';

/** Of a client's first request. */
const SEQUENCE = 1;
const READ_RESPONSE = 1;
/** As a serial port gives them. */
const CHUNK_BYTES = 61;

export class AnswersTarget implements FuzzTarget {
  readonly name = 'answers';
  readonly share = 4;

  seeds(): Uint8Array[] {
    const status = {
      off: 400,
      state: 'receiving',
      received: new Uint8Array(40),
      heap: 2 ** 40,
      more: [1, null, { a: -1.5 }],
    };
    const answers = [status, { err: { group: 64, rc: 2 }, reason: 'BAD_SIGNATURE' }, { rc: 3 }].map(answer);
    const text = new TextEncoder().encode('I (31) boot: hello\r\n');
    return [
      ...answers.map((packet) => framed(packet)),
      answers[0]!,
      ...[0, 1].map((i) => new Uint8Array(Buffer.concat([text, answers[i]!, text, framed(answers[2]!), text]))),
    ];
  }

  repair(bytes: Uint8Array): Uint8Array | null {
    return withChecksums(bytes);
  }

  run(bytes: Uint8Array): Outcome {
    let take = (_: Uint8Array): void => {};
    const link: ByteLink = {
      baud: null,
      write() {},
      onBytes: (next) => {
        take = next;
      },
      onClosed() {},
      close: async () => {},
    };
    let answers = 0;
    const client = new SmpClient(link, { timers: { after: () => () => {} } });
    const exchange = client.start({ group: GROUP_DELTA, command: DELTA_STATUS }, (fields) => {
      assert.ok(typeof fields === 'object' && fields !== null && !Array.isArray(fields));
      answers++;
      return true;
    });
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) take(bytes.slice(at, at + CHUNK_BYTES));
    exchange.forget();
    return answers > 0 ? 'taken' : 'refused';
  }
}

function answer(fields: unknown): Uint8Array {
  const body = encode(fields);
  const packet = new Uint8Array(SMP_HEADER_BYTES + body.length);
  const header = { op: READ_RESPONSE, version: 1, group: GROUP_DELTA, sequence: SEQUENCE, command: DELTA_STATUS };
  writeSmpHeader(packet, header, body.length);
  packet.set(body, SMP_HEADER_BYTES);
  return packet;
}
