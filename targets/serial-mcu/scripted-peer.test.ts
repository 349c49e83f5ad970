/** The client against a peer that answers what a test says, right or wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, encode } from 'cborg';
import { ConsoleReader, ConsoleWriter } from '../../core/smp/console-framing.js';
import {
  DELTA_BEGIN,
  DELTA_DATA,
  DELTA_STATUS,
  GROUP_DELTA,
  GROUP_OS,
  OS_ECHO,
  OS_PARAMS,
  RC_REFUSED,
  readSmpHeader,
  SMP_HEADER_BYTES,
  type SmpHeader,
  writeSmpHeader,
} from '../../core/smp/packet.js';
import { makePatch, noise } from '../../hil-tests/support/make-patch.js';
import { type ByteLink, LinkLost } from './byte-link.js';
import { DeltaUpdate } from './delta-update.js';
import { Refused } from './refused.js';
import { type Framing, SmpClient } from './smp-client.js';

type Fields = Readonly<Record<string, unknown>>;

interface Heard {
  readonly header: SmpHeader;
  readonly fields: Fields;
  readonly framing: Framing;
}

interface Said {
  readonly fields: Fields;
  /** In the place of those of the request. */
  readonly header?: Partial<SmpHeader>;
}

/** Takes requests and gives what `answer` says to each; ends the line at the 200th, since no sound client asks that often here. */
class Peer implements ByteLink {
  readonly baud = null;
  readonly heard: Heard[] = [];
  private readonly reader = new ConsoleReader(new Uint8Array(4096));
  private readonly answer: (request: Heard) => readonly Said[];
  private give: (bytes: Uint8Array) => void = () => {};
  private end: (reason: Error) => void = () => {};

  constructor(answer: (request: Heard) => readonly Said[]) {
    this.answer = answer;
  }

  write(bytes: Uint8Array): void {
    for (const byte of bytes) {
      const packet = this.reader.take(byte);
      if (packet !== null) this.hear(packet, this.reader.raw ? 'raw' : 'console');
    }
  }

  onBytes(take: (bytes: Uint8Array) => void): void {
    this.give = take;
  }

  onClosed(take: (reason: Error) => void): void {
    this.end = take;
  }

  async close(): Promise<void> {}

  private hear(packet: Uint8Array, framing: Framing): void {
    const header = { op: 0, version: 0, group: 0, sequence: 0, command: 0 };
    assert.ok(readSmpHeader(packet, header));
    const heard = { header, fields: decode(packet.slice(SMP_HEADER_BYTES)) as Fields, framing };
    this.heard.push(heard);
    if (this.heard.length === 200) this.end(new LinkLost('the peer has had enough'));
    for (const { fields, header: other } of this.answer(heard)) {
      const body = encode(fields);
      const answer = new Uint8Array(SMP_HEADER_BYTES + body.length);
      writeSmpHeader(answer, { ...header, op: header.op + 1, ...other }, body.length);
      answer.set(body, SMP_HEADER_BYTES);
      setImmediate(() => this.send(answer, framing));
    }
  }

  private send(answer: Uint8Array, framing: Framing): void {
    if (framing === 'raw') this.give(answer);
    else new ConsoleWriter((line) => this.give(line.slice())).send(answer);
  }
}

const OLD = noise(4000, 1);
const PATCH = makePatch(OLD, noise(4000, 2), { profile: 'mcu' });

const isData = ({ header }: Heard): boolean => header.group === GROUP_DELTA && header.command === DELTA_DATA;

function update(peer: Peer, framing: Framing): Promise<unknown> {
  const params = { bufferBytes: 640, bufferCount: 1 };
  return new DeltaUpdate({ client: new SmpClient(peer), patch: PATCH, params, framing }).run();
}

/** A device that takes what comes in order; `instead` answers data in its place, null leaves it to it. */
function device(instead: (data: Heard) => Said | null): Peer {
  let off = 0;
  let state = 'idle';
  /** What it refused, it goes on refusing until it is begun anew. */
  let refusal: Said | null = null;
  return new Peer((request) => {
    const { header, fields } = request;
    if (header.command === DELTA_BEGIN) {
      off = (fields['header'] as Uint8Array).length;
      state = 'receiving';
      refusal = null;
    } else if (header.command === DELTA_DATA) {
      const other = instead(request);
      if (other !== null) {
        if (other.fields['err'] !== undefined) refusal = other;
        return [other];
      }
      if (fields['off'] === off) off += (fields['data'] as Uint8Array).length;
      if (off === PATCH.length) state = 'staged';
    } else assert.equal(header.command, DELTA_STATUS);
    if (refusal !== null) return [refusal];
    return [{ fields: { off, applied: 0, committed: 0, state, pending: false } }];
  });
}

test('an answer counts only with sequence number, group and command of the request, in either framing', async () => {
  const wrong: readonly Partial<SmpHeader>[] = [{ group: GROUP_DELTA }, { command: OS_PARAMS }, { sequence: 99 }];
  for (const framing of ['console', 'raw'] as const) {
    for (const header of wrong) {
      const peer = new Peer(() => [{ fields: { r: 'of another' }, header }, { fields: { r: 'right' } }]);
      const request = { group: GROUP_OS, command: OS_ECHO, write: true, fields: { d: 'x' }, framing };
      assert.deepEqual(await new SmpClient(peer).request(request), { r: 'right' }, JSON.stringify({ framing, header }));
      assert.equal(peer.heard.length, 1);
    }
  }
});

test('data that is asked for again and again is given up after twelve faults, of which raw framing has three', async () => {
  for (const framing of ['console', 'raw'] as const) {
    // The same bytes, for ever.
    const peer = device(({ fields }) => ({ fields: { off: fields['off'], state: 'receiving', pending: false } }));
    await assert.rejects(update(peer, framing), /the line is too bad: 12 faults in a row/);
    const body = peer.heard.filter(isData);
    const raw = body.filter((heard) => heard.framing === 'raw').length;
    assert.deepEqual([body.length, raw], [12, framing === 'raw' ? 3 : 0]);
  }
});

for (const reason of ['BAD_FRAME', 'BAD_MAGIC', 'BAD_VERSION', 'BAD_HEADER', 'HEADER_DIGEST']) {
  test(`a refusal that damage on the line can cause (${reason}) is no last word the first time`, async () => {
    let faults = 1;
    const refusal = { fields: { err: { group: GROUP_DELTA, rc: RC_REFUSED }, rsn: reason } };
    const peer = device(() => (faults-- > 0 ? refusal : null));
    await update(peer, 'console');
    assert.equal(peer.heard.filter(({ header }) => header.command === DELTA_BEGIN).length, 2, 'it was begun anew');
    // Said again and again, it is.
    const last = update(
      device(() => refusal),
      'console',
    );
    await assert.rejects(last, (error) => error instanceof Refused && error.reason === reason);
  });
}

test('any other refusal is the last word at once', async () => {
  for (const reason of ['BAD_SIGNATURE', 'UNKNOWN_SIGNER', 'WRONG_FAMILY', 'BAD_SEGMENT', 'SOURCE_HASH_MISMATCH']) {
    const peer = device(() => ({ fields: { err: { group: GROUP_DELTA, rc: RC_REFUSED }, rsn: reason } }));
    await assert.rejects(update(peer, 'console'), (error) => error instanceof Refused && error.reason === reason);
    assert.equal(peer.heard.filter(isData).length, 1, reason);
  }
});
