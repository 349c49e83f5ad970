/** A patch that comes piece by piece, as from a download, to a device on a line without faults and with some. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LARGE, MEDIUM, SEGMENT_BYTES, type Update } from '../../hil-tests/serial/models.js';
import { copyOf, VirtualLine } from '../../hil-tests/serial/virtual-line.js';
import { sha256Hex } from '../../hil-tests/support/make-patch.js';
import { Prng } from '../sim/prng.js';
import { DeltaStream } from './delta-stream.js';
import type { SmpClient } from './smp-client.js';

function lineTo({ image, trustedKeys }: Update): VirtualLine {
  return new VirtualLine({ packetBytes: 640, image: copyOf(image), trustedKeys });
}

/** Pieces of seeded sizes from where the device wants to go on; ends early when the device has `stopAt` bytes. */
async function send(client: SmpClient, patch: Uint8Array, seed: number, stopAt = Number.POSITIVE_INFINITY) {
  const random = new Prng(seed);
  const framing = seed % 2 === 0 ? 'raw' : 'console';
  const stream = new DeltaStream({ client, patchBytes: patch.length, params: await client.params(), framing });
  const seeks: number[] = [];
  for (let at = 0; at < stopAt; ) {
    const size = random.below(10) === 0 ? 1 : 1 + random.below(5000);
    const step = await stream.push(patch.slice(at, at + size), at);
    if (step.kind === 'done') return { stream, seeks, staged: true };
    at = step.kind === 'seek' ? step.offset : Math.min(at + size, patch.length);
    if (step.kind === 'seek') seeks.push(at);
    assert.ok(seeks.length < 20, `${seeks}`);
    if (step.kind === 'input') assert.ok(at < patch.length, 'the patch is at its end and the model not staged');
  }
  return { stream, seeks, staged: false };
}

for (const seed of [1, 2, 3, 4, 5, 6]) {
  test(`in pieces of any size it is the same update as in one (seed ${seed})`, async () => {
    const line = lineTo(MEDIUM);
    const { stream } = await line.run(send(line.client, MEDIUM.patch, seed));
    assert.equal(stream.payloadSent, MEDIUM.patch.length);
    line.image.slots().activate();
    assert.equal(sha256Hex(line.image.activeModel()), sha256Hex(MEDIUM.next));
  });
}

test('an update that goes on asks for the bytes it lacks, and for none that it has but a segment’s', async () => {
  for (const seed of [1, 2]) {
    const { patch } = LARGE;
    const line = lineTo(LARGE);
    const half = Math.floor(patch.length / 2);
    const first = await line.run(send(line.client, patch, seed, half));
    assert.equal(first.staged, false);
    line.resetDevice();
    const second = await line.run(send(line.connect(), patch, seed + 10));
    assert.ok(second.seeks.length >= 1 && second.seeks[0]! > half - SEGMENT_BYTES, `${second.seeks}`);
    const sent = first.stream.payloadSent + second.stream.payloadSent;
    assert.ok(sent < patch.length + SEGMENT_BYTES + 3 * 640, `${sent} bytes for ${patch.length}`);
    line.image.slots().activate();
    assert.equal(sha256Hex(line.image.activeModel()), sha256Hex(LARGE.next));
  }
});

test('what is heard of the preamble comes before the device hears of it, and can end the update', async () => {
  const line = lineTo(MEDIUM);
  const { client } = line;
  const params = await line.run(client.params());
  const sent = client.bytesSent;
  const onPreamble = (): never => {
    throw new Error('not this one');
  };
  const stream = new DeltaStream({ client, patchBytes: MEDIUM.patch.length, params, onPreamble });
  await assert.rejects(line.run(stream.push(MEDIUM.patch, 0)), /not this one/);
  assert.equal(client.bytesSent, sent);
});
