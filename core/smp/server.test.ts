import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeCbor } from '../../hil-tests/board/decode-cbor.js';
import { type FlashImage, makeImage } from '../../hil-tests/board/flash-image.js';
import { type Answer, CHUNK_BYTES, Refused, SmpClient } from '../../hil-tests/board/smp-client.js';
import { makePatch, noise, type PatchOptions, sha256Hex, testKeypair } from '../../hil-tests/support/make-patch.js';
import { testDevice } from '../../hil-tests/support/test-device.js';
import { NodeSignatureVerifier } from '../../targets/node/hashing.js';
import { InvalidPatch } from '../errors.js';
import { ConsoleReader, ConsoleWriter } from './console-framing.js';
import {
  DELTA_ABORT,
  DELTA_ACTIVATE,
  DELTA_BEGIN,
  DELTA_CONFIRM,
  DELTA_DATA,
  DELTA_INFO,
  DELTA_KEYS,
  DELTA_ROLLBACK,
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
  SMP_HEADER_BYTES,
  SMP_READ,
  SMP_WRITE,
  writeSmpHeader,
} from './packet.js';
import { SmpServer } from './server.js';
import type { DeviceOptions } from './update-session.js';

const PACKET_BYTES = 640;
const key = testKeypair(7);
const OLD = noise(80_000, 5);
const NEXT = changed(OLD);
const OPTIONS: PatchOptions = { neural: true, profile: 'mcu', privateKey: key.privateKey, versionCounter: 5 };
const PATCH = makePatch(OLD, NEXT, OPTIONS);

function changed(old: Uint8Array): Uint8Array {
  const next = old.slice();
  for (let i = 3000; i < 60_000; i += 9) next[i] = next[i]! + 1;
  next.set(noise(500, 6), 70_000);
  return next;
}

/** A device on one end of a line and a peer on the other, in one thread: the device works until it has answered. */
class Bench {
  readonly client: SmpClient;
  readonly image: FlashImage;
  /** Milliseconds, and by how much each look at the clock moves it. */
  now = 0;
  tick = 0;
  resets = 0;
  /** Steps the device does after its answer, before the peer hears it. */
  stepsAfter = Number.POSITIVE_INFINITY;
  private readonly server: SmpServer;
  private inbox: number[] = [];
  private answers = 0;
  /** Takes what the device says. */
  heard: (bytes: Uint8Array) => void = () => {};

  constructor(image = makeImage({ keys: [key.publicKey], model: OLD }), change: Partial<DeviceOptions> = {}) {
    this.image = image;
    this.server = new SmpServer({
      line: { read: (into) => this.take(into), write: (bytes) => this.say(bytes.slice()) },
      clock: { now: () => (this.now += this.tick) },
      packetBytes: PACKET_BYTES,
      packetCount: 2,
      reset: () => this.resets++,
      device: { ...testDevice(image, [key.publicKey]), ...change },
    });
    this.client = new SmpClient({
      write: (bytes) => this.run(bytes),
      on: (_event, take) => {
        this.heard = take;
      },
    });
  }

  ask(command: number, fields: Parameters<SmpClient['request']>[2] = {}): Promise<Answer> {
    return this.client.request(GROUP_DELTA, command, fields, true);
  }

  /** How the device refuses. */
  async refusal(command: number, fields: Parameters<SmpClient['request']>[2] = {}): Promise<string> {
    return this.ask(command, fields).then(
      () => 'accepted',
      (error) => (error instanceof Refused ? error.reason : String(error)),
    );
  }

  /** Sends raw bytes down the line. */
  run(bytes: Uint8Array): void {
    for (const byte of bytes) this.inbox.push(byte);
    const { answers } = this;
    while (this.server.step() && this.answers === answers);
    for (let step = 0; step < this.stepsAfter && this.server.step(); step++);
  }

  private take(into: Uint8Array): number {
    const taken = this.inbox.splice(0, into.length);
    into.set(taken);
    return taken.length;
  }

  private say(line: Uint8Array): void {
    this.answers++;
    this.heard(line);
  }
}

test('an SMP server echoes text, and says how large a packet may be', async () => {
  const { client } = new Bench();
  assert.deepEqual(await client.request(GROUP_OS, OS_ECHO, { d: 'hello' }), { r: 'hello' });
  assert.deepEqual(await client.request(GROUP_OS, OS_PARAMS), { buf_size: PACKET_BYTES, buf_count: 2 });
});

test('a reset is answered before it happens', async () => {
  const bench = new Bench();
  assert.deepEqual(await bench.client.request(GROUP_OS, OS_RESET, {}, true), {});
  assert.equal(bench.resets, 1);
});

test('a patch uploaded as an image is staged, and each answer has nothing but the offset wanted next', async () => {
  const bench = new Bench();
  // After a restart of the device: an image upload is told where to begin.
  const early = await bench.client.request(GROUP_IMAGE, IMAGE_UPLOAD, { off: 512, data: noise(64, 3) }, true);
  assert.deepEqual(early, { off: 0 });
  for (let off = 0; off < PATCH.length; ) {
    const data = PATCH.subarray(off, off + CHUNK_BYTES);
    const first = off === 0 ? { len: PATCH.length, image: 0 } : {};
    const answer = await bench.client.request(GROUP_IMAGE, IMAGE_UPLOAD, { ...first, off, data }, true);
    off += data.length;
    assert.deepEqual(answer, { off });
  }
  await bench.ask(DELTA_ACTIVATE);
  assert.equal(sha256Hex(bench.image.activeModel()), sha256Hex(NEXT));
});

test('a request in raw framing is answered in raw framing, and what changes the slots is refused there', async () => {
  const bench = new Bench();
  await bench.client.update(PATCH, CHUNK_BYTES);
  const heard: number[] = [];
  bench.heard = (bytes) => heard.push(...bytes);
  const ask = (command: number): Uint8Array => {
    heard.length = 0;
    const packet = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0xa0);
    writeSmpHeader(packet, { op: SMP_WRITE, version: 1, group: GROUP_DELTA, sequence: 9, command }, 1);
    bench.run(packet);
    return Uint8Array.from(heard);
  };
  const status = ask(DELTA_STATUS);
  assert.deepEqual(status.subarray(4, 8), Uint8Array.of(0, GROUP_DELTA, 9, DELTA_STATUS));
  assert.equal((decodeCbor(status.subarray(8)) as Answer)['state'], 'staged');
  for (const command of [DELTA_ACTIVATE, DELTA_CONFIRM, DELTA_ROLLBACK, DELTA_ABORT]) {
    assert.deepEqual(decodeCbor(ask(command).subarray(8)), { rc: RC_NOT_SUPPORTED });
  }
  assert.equal(bench.image.slots().inactiveState(), 'staged');
});

test('a raw request that lost bytes spoils nothing that comes after a silence', () => {
  const bench = new Bench();
  let answers = 0;
  bench.heard = () => answers++;
  const packet = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0xa0);
  writeSmpHeader(packet, { op: SMP_READ, version: 1, group: GROUP_OS, sequence: 9, command: OS_PARAMS }, 1);
  bench.run(packet.subarray(0, 6));
  bench.now += 1000;
  bench.run(new Uint8Array(0));
  bench.run(packet);
  assert.equal(answers, 1);
});

test('an unknown group, an unknown command, an echo too long and a request without its fields get an error and change nothing', async () => {
  const bench = new Bench();
  const before = bench.image.bytes.slice();
  await assert.rejects(bench.client.request(3, 0), Refused);
  await assert.rejects(bench.client.request(GROUP_OS, 99), Refused);
  assert.equal(await bench.refusal(99), 'command');
  await assert.rejects(bench.client.request(GROUP_OS, OS_ECHO, { d: 'x'.repeat(161) }), Refused);
  assert.equal(await bench.refusal(DELTA_BEGIN), 'header');
  assert.equal(await bench.refusal(DELTA_DATA, { off: 0, data: noise(8, 9) }), 'idle');
  assert.deepEqual(bench.image.bytes, before);
});

test('a body that is no map, or claims more entries than it has bytes, is answered with an error', () => {
  for (const body of ['', '80', 'bbffffffffffffff', `a16164${'81'.repeat(40)}00`]) {
    const packet = new Uint8Array(SMP_HEADER_BYTES + body.length / 2);
    packet.set(Buffer.from(body, 'hex'), SMP_HEADER_BYTES);
    writeSmpHeader(
      packet,
      { op: SMP_READ, version: 1, group: GROUP_OS, sequence: 7, command: OS_ECHO },
      body.length / 2,
    );
    const bench = new Bench();
    const answers: Uint8Array[] = [];
    const reader = new ConsoleReader(new Uint8Array(PACKET_BYTES));
    bench.heard = (bytes) => {
      for (const byte of bytes) {
        const answer = reader.take(byte);
        if (answer !== null) answers.push(answer.slice());
      }
    };
    new ConsoleWriter((line) => bench.run(line)).send(packet);
    assert.equal(answers.length, 1, body);
    assert.deepEqual(decodeCbor(answers[0]!.subarray(SMP_HEADER_BYTES)), { rc: RC_INVALID });
  }
});

test('info tells the slots, the counter, the memory and what is in use', async () => {
  const info = await new Bench().ask(DELTA_INFO);
  assert.equal(info['slots'], 2);
  assert.equal(info['signed'], true);
  assert.equal(info['zstd'], false);
  assert.equal(info['ram'], 21_504);
  assert.deepEqual(info['use'], { heap: 1, heapPeak: 2, stackPeak: 3, lost: 4 });
  const active = info['active'] as Answer;
  assert.equal(active['state'], 'good');
  assert.equal(active['size'], OLD.length);
  assert.equal(Buffer.from(active['sha'] as Uint8Array).toString('hex'), sha256Hex(OLD));
});

test('an update sent in pieces is staged, activated on trial, confirmed and rolled back', async () => {
  const bench = new Bench();
  await bench.client.update(PATCH, CHUNK_BYTES);
  assert.equal((await bench.ask(DELTA_STATUS))['committed'], NEXT.length);
  assert.equal(((await bench.ask(DELTA_ACTIVATE))['active'] as Answer)['state'], 'trial');
  assert.equal(sha256Hex(bench.image.activeModel()), sha256Hex(NEXT));
  assert.equal(((await bench.ask(DELTA_CONFIRM))['active'] as Answer)['state'], 'good');
  await bench.ask(DELTA_ROLLBACK);
  assert.equal(sha256Hex(bench.image.activeModel()), sha256Hex(OLD));
});

test('data at a wrong offset is not taken, and the answer names the offset that is wanted', async () => {
  const bench = new Bench();
  await bench.ask(DELTA_BEGIN, { header: PATCH.subarray(0, CHUNK_BYTES) });
  for (const off of [0, CHUNK_BYTES - 1, CHUNK_BYTES + 1, PATCH.length]) {
    const answer = await bench.ask(DELTA_DATA, { off, data: noise(CHUNK_BYTES, 9) });
    assert.equal(answer['off'], CHUNK_BYTES, `off ${off}`);
  }
  // What was said in between has not spoilt the update.
  const answer = await bench.ask(DELTA_DATA, { off: CHUNK_BYTES, data: PATCH.subarray(CHUNK_BYTES, 2 * CHUNK_BYTES) });
  assert.equal(answer['off'], 2 * CHUNK_BYTES);
});

test('begin is answered as pending before the signature is looked at, and status tells when it is done', async () => {
  let verified = 0;
  const verifier = new NodeSignatureVerifier();
  const bench = new Bench(undefined, {
    verifier: {
      verify: (...of) => {
        verified++;
        return verifier.verify(...of);
      },
    },
  });
  bench.stepsAfter = 0;
  assert.equal((await bench.ask(DELTA_BEGIN, { header: PATCH.subarray(0, CHUNK_BYTES) }))['pending'], true);
  assert.equal(verified, 0);
  let answer = await bench.ask(DELTA_STATUS);
  for (let polls = 0; answer['pending'] === true; polls++) {
    assert.ok(polls < 100, 'pending for ever');
    answer = await bench.ask(DELTA_STATUS);
  }
  assert.equal(verified, 1);
  assert.equal(answer['off'], CHUNK_BYTES);
});

test('data that takes longer than a peer waits is answered as pending until it is worked off, and taken once', async () => {
  const bench = new Bench();
  bench.tick = 150;
  const answers: Answer[] = [];
  const reader = new ConsoleReader(new Uint8Array(PACKET_BYTES));
  await bench.ask(DELTA_BEGIN, { header: PATCH.subarray(0, CHUNK_BYTES) });
  bench.heard = (bytes) => {
    for (const byte of bytes) {
      const packet = reader.take(byte);
      if (packet !== null) answers.push(decodeCbor(packet.subarray(SMP_HEADER_BYTES)) as Answer);
    }
  };
  let off = CHUNK_BYTES;
  while (off < PATCH.length) {
    const data = PATCH.subarray(off, off + CHUNK_BYTES);
    bench.client.send(DELTA_DATA, { off, data });
    off += data.length;
    assert.equal(answers.at(-1)!['pending'], false);
    assert.equal(answers.at(-1)!['off'], off);
  }
  assert.ok(answers.some((answer) => answer['pending'] === true));
  assert.equal(answers.at(-1)!['state'], 'staged');
});

test('an aborted update is idle, takes no data, and its patch goes on from the journal when it is sent again', async () => {
  const bench = new Bench();
  let sent = 0;
  const aborting = bench.client.update(PATCH, CHUNK_BYTES, (offset) => {
    sent = offset;
    if (offset > PATCH.length / 2) throw new Error('enough');
  });
  await assert.rejects(aborting, /enough/);
  const { committed } = (await bench.ask(DELTA_STATUS)) as { committed: number };
  assert.equal((await bench.ask(DELTA_ABORT))['state'], 'idle');
  assert.equal(await bench.refusal(DELTA_DATA, { off: sent, data: noise(10, 9) }), 'idle');
  assert.equal(await bench.refusal(DELTA_ACTIVATE), 'writing');
  await bench.ask(DELTA_BEGIN, { header: PATCH.subarray(0, CHUNK_BYTES) });
  const again = await bench.ask(DELTA_STATUS);
  assert.ok(committed > 0);
  assert.equal(again['committed'], committed);
  await bench.client.update(PATCH, CHUNK_BYTES);
  await bench.ask(DELTA_ACTIVATE);
  assert.equal(sha256Hex(bench.image.activeModel()), sha256Hex(NEXT));
});

test('garbage is collected after an update is given up and before the next one takes memory', async () => {
  const order: string[] = [];
  const verifier = new NodeSignatureVerifier();
  const bench = new Bench(undefined, {
    collectGarbage: () => order.push('collect'),
    verifier: {
      verify: (...of) => {
        order.push('verify');
        return verifier.verify(...of);
      },
    },
  });
  for (let round = 0; round < 2; round++) await bench.ask(DELTA_BEGIN, { header: PATCH.subarray(0, CHUNK_BYTES) });
  assert.deepEqual(order, ['collect', 'verify', 'collect', 'verify']);
});

test('a stranger, a wrong base, a device without keys and a full heap are refused by name', async () => {
  const begin = async (patch: Uint8Array, change: Partial<DeviceOptions> = {}): Promise<string> => {
    const bench = new Bench(undefined, change);
    const before = bench.image.bytes.slice();
    const reason = await bench.client.update(patch, CHUNK_BYTES).then(
      () => 'staged',
      (error) => (error as Refused).reason,
    );
    assert.deepEqual(bench.image.bytes, before);
    return reason;
  };
  const stranger = testKeypair(8).privateKey;
  const otherBase = OLD.slice();
  otherBase[0] = otherBase[0]! ^ 1;
  assert.equal(await begin(makePatch(OLD, NEXT, { ...OPTIONS, privateKey: stranger })), 'UNKNOWN_SIGNER');
  assert.equal(await begin(makePatch(otherBase, NEXT, OPTIONS)), 'SOURCE_HASH_MISMATCH');
  assert.equal(await begin(PATCH, { trustedKeys: [] }), 'VERIFY_UNAVAILABLE');
  const full = (): never => {
    throw Object.assign(new Error('out of memory'), { name: 'InternalError' });
  };
  assert.equal(await begin(PATCH, { hasher: { reset: full, update: full, digest: full } }), 'OUT_OF_MEMORY');
});

test('a key record is taken between updates, and refused by code during one and where it is none', async () => {
  const taken: Uint8Array[] = [];
  const keyRing = {
    version: 3,
    rotate(record: Uint8Array): void {
      if (record.length === 1) throw new InvalidPatch('COUNTER_TOO_LOW', 'a version');
      if (record.length === 2) throw Object.assign(new Error('out of memory'), { name: 'InternalError' });
      taken.push(record.slice());
      keyRing.version = 4;
    },
  };
  const bench = new Bench(undefined, { keyRing });
  const rotation = (record: Uint8Array): Promise<string> =>
    bench.client.rotateKeys(record).then(
      (version) => `version ${version}`,
      (error) => (error as Refused).reason,
    );
  assert.equal((await bench.ask(DELTA_INFO))['keys'], 3);
  const record = noise(236, 4);
  assert.equal(await rotation(record), 'version 4');
  assert.deepEqual(taken, [record]);
  assert.equal(await rotation(record.subarray(0, 1)), 'COUNTER_TOO_LOW');
  assert.equal(await rotation(record.subarray(0, 2)), 'OUT_OF_MEMORY');
  assert.equal(await rotation(record), 'version 4');
  await bench.ask(DELTA_BEGIN, { header: PATCH.subarray(0, CHUNK_BYTES) });
  assert.equal(await rotation(record), 'receiving');
  assert.equal(taken.length, 2);
  assert.equal(await new Bench().refusal(DELTA_KEYS, { record }), 'keys');
});

test('a key record is pending until its signature was looked at', async () => {
  const keyRing = {
    version: 0,
    rotate(): void {
      keyRing.version = 7;
    },
  };
  const bench = new Bench(undefined, { keyRing });
  bench.stepsAfter = 0;
  assert.deepEqual(await bench.ask(DELTA_KEYS, { record: noise(236, 4) }), { keys: 0, pending: true });
  assert.deepEqual(await bench.ask(DELTA_KEYS), { keys: 7, pending: false });
});
