import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NodeHasher } from '../../targets/node/hashing.js';
import { noise, sha256 } from './build-patch.test.js';
import { FrameGeometry, FrameReader, HASH_BYTES } from './frames.js';

/** Cuts a body as SPEC.md says it, byte by byte: the payload of each frame. */
function cut(body: Uint8Array, frameBytes: number): Uint8Array[] {
  const payloads: Uint8Array[] = [];
  let at = 0;
  while (body.length - at > frameBytes) {
    payloads.push(body.slice(at, at + frameBytes - HASH_BYTES));
    at += frameBytes - HASH_BYTES;
  }
  if (body.length > 0) payloads.push(body.slice(at));
  return payloads;
}

function chain(payloads: readonly Uint8Array[]): { frames: Uint8Array[]; firstHash: Uint8Array } {
  const frames: Uint8Array[] = [];
  let next: Uint8Array | null = null;
  for (let i = payloads.length - 1; i >= 0; i--) {
    const frame: Uint8Array = new Uint8Array([...(next ?? []), ...payloads[i]!]);
    next = sha256(frame).subarray(0, HASH_BYTES);
    frames.unshift(frame);
  }
  return { frames, firstHash: next ?? new Uint8Array(HASH_BYTES) };
}

test('the geometry agrees with cutting the body piece by piece', () => {
  for (const frameBytes of [64, 65, 100, 1024]) {
    const lengths = Array.from({ length: 4 * frameBytes }, (_, i) => i);
    for (const bodyBytes of lengths) {
      const payloads = cut(new Uint8Array(bodyBytes), frameBytes);
      const geometry = new FrameGeometry(frameBytes, bodyBytes);
      assert.equal(geometry.count, payloads.length);
      let bodyOffset = 0;
      let wireOffset = 0;
      payloads.forEach((payload, i) => {
        const last = i === payloads.length - 1;
        assert.equal(geometry.isLast(i), last);
        assert.equal(geometry.lengthOf(i), payload.length + (last ? 0 : HASH_BYTES));
        assert.equal(geometry.wireOffset(i), wireOffset);
        assert.equal(geometry.bodyOffset(i), bodyOffset);
        assert.equal(geometry.frameAt(bodyOffset), i);
        assert.equal(geometry.frameAt(bodyOffset + payload.length - 1), i);
        assert.ok(payload.length > HASH_BYTES || payloads.length === 1);
        bodyOffset += payload.length;
        wireOffset += geometry.lengthOf(i);
      });
      assert.equal(geometry.wireBytes, wireOffset);
      assert.equal(geometry.frameAt(bodyBytes), geometry.count);
    }
  }
});

test('the offset behind the last frame is the end of the file, for an update that needs no more bytes', () => {
  for (const bodyBytes of [0, 1, 64, 65, 1000]) {
    const geometry = new FrameGeometry(64, bodyBytes);
    assert.equal(geometry.wireOffset(geometry.count), geometry.wireBytes);
  }
});

/** Feeds frames through a reader in pieces of `piece` bytes; the payload bytes that came out. */
function readAll(reader: FrameReader, wire: Uint8Array, piece: number): Uint8Array {
  const out: number[] = [];
  for (let at = 0; at < wire.length; ) {
    const chunk = wire.subarray(at, at + piece);
    const taken = reader.gather(chunk, 0);
    at += taken;
    if (reader.complete) {
      assert.ok(reader.verify());
      assert.equal(reader.gather(chunk, taken), 0, 'nothing is taken while a payload is out');
      // In two steps, to see that the rest stays.
      out.push(...reader.payload.subarray(0, 5));
      reader.drop(Math.min(5, reader.payload.length));
      if (reader.hasPayload) {
        out.push(...reader.payload);
        reader.drop(reader.payload.length);
      }
    }
  }
  return Uint8Array.from(out);
}

test('a reader gives back the body, however the bytes arrive, and keeps the hash of what comes next', () => {
  for (const bodyBytes of [1, 63, 64, 65, 112, 113, 500]) {
    const body = noise(bodyBytes, bodyBytes);
    const { frames, firstHash } = chain(cut(body, 64));
    const wire = new Uint8Array(frames.flatMap((frame) => [...frame]));
    const geometry = new FrameGeometry(64, bodyBytes);
    for (const piece of [1, 7, 64, wire.length]) {
      const reader = new FrameReader(geometry, new Uint8Array(64), new NodeHasher(), firstHash);
      assert.deepEqual(readAll(reader, wire, piece), body);
      assert.ok(reader.atEnd);
      assert.equal(reader.gather(wire, 0), 0);
      assert.deepEqual(reader.expectedHash, new Uint8Array(HASH_BYTES));
    }
  }
});

test('a frame that does not match is dropped and can be fed again', () => {
  const { frames, firstHash } = chain(cut(noise(200), 64));
  const reader = new FrameReader(new FrameGeometry(64, 200), new Uint8Array(64), new NodeHasher(), firstHash);
  for (let i = 0; i < 64; i++) {
    const damaged = frames[0]!.slice();
    damaged[i]! ^= 0x10;
    assert.equal(reader.gather(damaged, 0), 64);
    assert.equal(reader.verify(), false);
    assert.equal(reader.hasPayload, false);
    assert.equal(reader.complete, false);
  }
  reader.gather(frames[0]!, 0);
  assert.ok(reader.verify());
  assert.deepEqual(reader.expectedHash, sha256(frames[1]!).subarray(0, HASH_BYTES));
});

test('a reader starts at any frame whose hash is known', () => {
  const payloads = cut(noise(300), 64);
  const { frames, firstHash } = chain(payloads);
  frames.forEach((frame, i) => {
    const reader = new FrameReader(new FrameGeometry(64, 300), new Uint8Array(64), new NodeHasher(), firstHash);
    reader.gather(frames[0]!, 0);
    reader.restart(i, sha256(frame).subarray(0, HASH_BYTES));
    assert.equal(reader.gather(frame, 0), frame.length);
    assert.ok(reader.verify());
    assert.deepEqual(reader.payload, payloads[i]);
  });
});
