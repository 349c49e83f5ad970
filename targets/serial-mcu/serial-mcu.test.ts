import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from 'cborg';
import { InvalidPatch, IoError, SignatureError, SourceHashMismatch } from '../../core/errors.js';
import { MEDIUM, type Update } from '../../hil-tests/serial/models.js';
import { copyOf, VirtualLine, type VirtualLineOptions } from '../../hil-tests/serial/virtual-line.js';
import { makePatch, sha256Hex, testKeypair } from '../../hil-tests/support/make-patch.js';
import { type ByteLink, LinkLost } from './byte-link.js';
import { flash } from './flash.js';
import { persistently } from './persistent.js';
import { asMallornError, Refused } from './refused.js';
import { listPorts } from './serial-port.js';
import { chunkBytes } from './smp-client.js';

function lineTo({ image, trustedKeys }: Update, options: Partial<VirtualLineOptions> = {}): VirtualLine {
  return new VirtualLine({ packetBytes: 640, ...options, image: copyOf(image), trustedKeys });
}

function changed(model: Uint8Array): Uint8Array {
  const other = model.slice();
  other[100] = other[100]! ^ 1;
  return other;
}

test('a device is flashed, and not a second time', async () => {
  const line = lineTo(MEDIUM);
  const { client } = line;
  const done: number[] = [];
  const first = await line.run(
    flash({ client, patch: MEDIUM.patch, onProgress: (progress) => done.push(progress.done) }),
  );
  assert.deepEqual([first.method, first.alreadyThere, first.state], ['delta', false, 'trial']);
  assert.equal(sha256Hex(line.image.activeModel()), sha256Hex(MEDIUM.next));
  assert.equal(done.at(-1), MEDIUM.patch.length);
  const sent = client.bytesSent;
  const second = await line.run(flash({ client, patch: MEDIUM.patch, confirm: true }));
  assert.deepEqual([second.alreadyThere, second.state], [true, 'good']);
  assert.ok(client.bytesSent - sent < 300);
});

test('a patch by a stranger and one for another model are refused as they are on a gateway', async () => {
  const { old, next } = MEDIUM;
  const options = { neural: true, profile: 'mcu', privateKey: testKeypair(7).privateKey, versionCounter: 5 } as const;
  const stranger = makePatch(old, next, { ...options, privateKey: testKeypair(8).privateKey });
  const otherBase = makePatch(changed(old), next, options);
  for (const [patch, kind] of [
    [stranger, SignatureError],
    [otherBase, SourceHashMismatch],
  ] as const) {
    const line = lineTo(MEDIUM);
    await assert.rejects(line.run(flash({ client: line.client, patch })), kind);
  }
});

test('a frame that is damaged before it is signed for is refused in the end, not asked for for ever', async () => {
  const patch = MEDIUM.patch.slice();
  patch[patch.length - 40] = patch[patch.length - 40]! ^ 1;
  const line = lineTo(MEDIUM);
  await assert.rejects(line.run(flash({ client: line.client, patch })), (error) => {
    return error instanceof InvalidPatch && error.code === 'BAD_FRAME';
  });
});

test('a chunk is the largest multiple of 16 bytes whose packet fits the buffer', () => {
  for (const bufferBytes of [128, 256, 640, 2048, 4096]) {
    const size = chunkBytes({ bufferBytes, bufferCount: 1 }, 'data', { off: 70_000 });
    const packet = (data: number): number => 4 + 8 + encode({ off: 70_000, data: new Uint8Array(data) }).length;
    assert.equal(size % 16, 0);
    assert.ok(packet(size) <= bufferBytes, `${bufferBytes}: ${packet(size)}`);
    assert.ok(packet(size + 18) > bufferBytes);
  }
});

test('a device that never answers is given up, a line that is gone at once', async () => {
  const line = lineTo(MEDIUM, { client: { patienceMs: 10_000 }, faults: { answer: () => [] } });
  await assert.rejects(line.run(line.client.echo('hello')), /does not answer/);
  assert.ok(line.now >= 10_000 && line.now < 20_000, `${line.now} ms`);
  const waiting = line.client.echo('hello');
  line.pull();
  await assert.rejects(waiting, LinkLost);
  await assert.rejects(line.client.echo('hello'), LinkLost);
});

test('an answer to an earlier try of a question counts', async () => {
  let held: Uint8Array[] | null = null;
  const late = (_: number, lines: Uint8Array[]): Uint8Array[] => {
    if (held === null) {
      held = lines;
      return [];
    }
    // The second try's own answer is lost.
    return held;
  };
  const line = lineTo(MEDIUM, { faults: { answer: late } });
  assert.equal(await line.run(line.client.echo('hello')), 'hello');
});

test('a port that goes away is opened again, ever more slowly, and then given up', async () => {
  let opened = 0;
  const open = async (): Promise<ByteLink> => {
    if (opened++ > 0) throw new IoError('no such port');
    return {
      baud: null,
      write: () => {},
      onBytes: () => {},
      onClosed: (take) => setImmediate(() => take(new LinkLost('unplugged'))),
      close: async () => {},
    };
  };
  const waits: number[] = [];
  const reasons: string[] = [];
  const onLost = (reason: Error, nextTryMs: number): void => {
    reasons.push(reason.message);
    waits.push(nextTryMs);
  };
  const flashing = persistently({ open, patienceMs: 700, onLost }, (client) => flash({ client, patch: MEDIUM.patch }));
  await assert.rejects(flashing, /unplugged/);
  assert.deepEqual(waits, [250, 500]);
  assert.deepEqual(reasons, ['unplugged', 'no such port']);
});

test('errors of both versions of the protocol are understood', () => {
  const first = new Refused({ rc: 8 });
  assert.ok(first.isUnknownCommand);
  assert.equal(asMallornError(first), first);
  const second = new Refused({ err: { group: 64, rc: 2 }, rsn: 'COUNTER_TOO_LOW' });
  assert.equal(asMallornError(second).code, 'COUNTER_TOO_LOW');
});

test('without udevadm the ports are those in /dev', async () => {
  const path = process.env['PATH'];
  process.env['PATH'] = '/nowhere';
  try {
    assert.ok(Array.isArray(await listPorts()));
  } finally {
    process.env['PATH'] = path;
  }
});

test('after the last sequence number comes the first', async () => {
  const line = lineTo(MEDIUM);
  for (let i = 0; i < 300; i++) assert.equal(await line.run(line.client.echo(`${i}`)), `${i}`);
});
