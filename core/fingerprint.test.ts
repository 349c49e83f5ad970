import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { Fingerprint, fingerprintOf } from './fingerprint.js';

const md5 = (bytes: Uint8Array) => new Uint8Array(createHash('md5').update(bytes).digest());

/** A GGUF-looking file of any size, made up as it is read, that counts what is read. */
class CountingSource {
  readonly size: number;
  bytesRead = 0;
  private readonly seed: number;

  constructor(size: number, seed = 0) {
    this.size = size;
    this.seed = seed;
  }

  read(offset: number, into: Uint8Array): void {
    assert.ok(offset >= 0 && offset + into.length <= this.size);
    this.bytesRead += into.length;
    into.forEach((_, i) => {
      into[i] = offset + i < 4 ? 'GGUF'.charCodeAt(offset + i) : ((offset + i) * 31 + this.seed) & 255;
    });
  }

  all(): Uint8Array {
    const bytes = new Uint8Array(this.size);
    this.read(0, bytes);
    return bytes;
  }
}

test('at most 68 KiB are read of a file of any size', () => {
  for (const size of [0, 1, 4096, 65536, 70_000, 1 << 20, 2 ** 40]) {
    const source = new CountingSource(size);
    fingerprintOf(source, md5);
    assert.ok(source.bytesRead <= 68 * 1024, `${source.bytesRead} bytes of ${size}`);
  }
});

test('the hashes are those of the first 64 KiB and the last 4 KiB, and their XOR', () => {
  const source = new CountingSource(200_000);
  const bytes = source.all();
  const fingerprint = fingerprintOf(source, md5);
  assert.equal(fingerprint.format, 'gguf');
  assert.equal(fingerprint.fileSize, 200_000);
  assert.deepEqual(fingerprint.headerHash, md5(bytes.subarray(0, 65536)));
  assert.deepEqual(fingerprint.tailHash, md5(bytes.subarray(-4096)));
  assert.deepEqual(
    fingerprint.combinedHash,
    fingerprint.headerHash.map((byte, i) => byte ^ fingerprint.tailHash[i]!),
  );
  assert.equal(fingerprint.short(), Buffer.from(fingerprint.combinedHash).toString('hex').slice(0, 16));
});

test('a small file has a zero XOR and still only matches itself', () => {
  const one = fingerprintOf(new CountingSource(4096, 1), md5);
  const two = fingerprintOf(new CountingSource(4096, 2), md5);
  assert.equal(one.short(), '0000000000000000');
  assert.ok(one.matches(fingerprintOf(new CountingSource(4096, 1), md5)));
  assert.ok(!one.matches(two));
});

test('format, size and both hashes all have to agree', () => {
  const parts = fingerprintOf(new CountingSource(100_000), md5);
  const other = md5(new Uint8Array(1));
  assert.ok(parts.matches(new Fingerprint({ ...parts })));
  assert.ok(!parts.matches(new Fingerprint({ ...parts, format: 'onnx' })));
  assert.ok(!parts.matches(new Fingerprint({ ...parts, fileSize: 100_001 })));
  assert.ok(!parts.matches(new Fingerprint({ ...parts, headerHash: other })));
  assert.ok(!parts.matches(new Fingerprint({ ...parts, tailHash: other })));
});

test('a change in the middle goes unseen: a fingerprint is a hint', () => {
  const source = new CountingSource(200_000);
  const changed = source.all();
  changed[100_000] = changed[100_000]! ^ 1;
  const read = (offset: number, into: Uint8Array) => into.set(changed.subarray(offset, offset + into.length));
  assert.ok(fingerprintOf(source, md5).matches(fingerprintOf({ size: changed.length, read }, md5)));
});
