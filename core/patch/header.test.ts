import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { NodeHasher } from '../../targets/node/hashing.js';
import { writeU16, writeU32, writeU64 } from '../bytes.js';
import { InvalidPatch } from '../errors.js';
import { MAX_CONTEXT_BYTES } from '../limits.js';
import { noise } from './build-patch.test.js';
import {
  checkHeaderDigest,
  declaredBufferBytes,
  encodeHeader,
  measurePreamble,
  type PatchHeader,
  parseHeader,
} from './header.js';
import { encodeSignatures } from './signatures.js';

const HEADER: PatchHeader = {
  version: 0,
  format: 'TFLite',
  codec: 'zstd',
  level: 19,
  profile: 'mcu',
  decodeClass: 0,
  standalone: false,
  frameBytes: 1024,
  segmentBytes: 16384,
  unitBytes: 131072,
  packedBytes: 9000,
  plainBytes: 17000,
  dictionaryBytes: 4096,
  contextBytes: 0,
  sourceSize: 2 ** 48,
  targetSize: 2 ** 48,
  bodyBytes: 2 ** 48,
  sourceHash: noise(32, 1),
  targetHash: noise(32, 2),
  tensorsModified: 2 ** 32 - 1,
  tensorsUnchanged: 7,
  versionCounter: 2 ** 32 - 1,
  minimumCounter: 5,
  createdAt: 2 ** 40,
  firstFrameHash: noise(16, 3),
  family: 'pose-état',
  deviceClass: 'x'.repeat(32),
  priors: noise(1024, 4),
};

const STANDALONE: PatchHeader = {
  ...HEADER,
  standalone: true,
  sourceSize: 0,
  sourceHash: new Uint8Array(32),
  createdAt: null,
};

function encode(header: PatchHeader): Uint8Array {
  return encodeHeader(header, new NodeHasher());
}

function refusal(bytes: Uint8Array): InvalidPatch {
  try {
    parseHeader(bytes);
  } catch (error) {
    assert.ok(error instanceof InvalidPatch, String(error));
    return error;
  }
  throw new Error('the header was accepted');
}

test('a header reads back as it was written, at every upper limit', () => {
  for (const header of [HEADER, STANDALONE, { ...HEADER, targetSize: 0, bodyBytes: 0 }]) {
    const bytes = encode(header);
    checkHeaderDigest(bytes, new NodeHasher());
    assert.deepEqual(parseHeader(bytes), header);
  }
});

test('a header reads back as it was written, whatever its fields', () => {
  const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  const fields = fc.record({
    format: fc.constantFrom('Binary', 'TFLite', 'GGUF', 'ONNX', 'SafeTensors', 'ESPDL'),
    profile: fc.constantFrom('gateway', 'mcu'),
    level: fc.integer({ min: 1, max: 19 }),
    frameBytes: fc.integer({ min: 64, max: 1 << 20 }),
    segmentBytes: fc.integer({ min: 10, max: 17 }).map((bits) => 1 << bits),
    unitBytes: fc.constantFrom(0, ...[17, 18, 24].map((bits) => 1 << bits)),
    sourceSize: fc.integer({ min: 0, max: 2 ** 48 }),
    tensorsUnchanged: u32,
    versionCounter: u32,
    minimumCounter: u32,
    createdAt: fc.option(fc.integer({ min: 0, max: 2 ** 40 })),
    family: fc.string({ maxLength: 8 }),
    priors: fc.uint8Array({ maxLength: 64 }),
  }) as fc.Arbitrary<Partial<PatchHeader>>;
  fc.assert(
    fc.property(fields, (some) => {
      const header = { ...HEADER, ...some };
      assert.deepEqual(parseHeader(encode(header)), header);
    }),
    { numRuns: 200, seed: 1 },
  );
});

type Damage = readonly [field: string, damage: (bytes: Uint8Array) => void];

/** Each field one past its limit. */
const OVER_THE_LIMIT: readonly Damage[] = [
  ['model format', (bytes) => (bytes[5] = 6)],
  ['codec', (bytes) => (bytes[6] = 0)],
  ['codec', (bytes) => (bytes[6] = 3)],
  ['profile', (bytes) => (bytes[8] = 2)],
  ['decode class', (bytes) => (bytes[9] = 1)],
  ['flags', (bytes) => (bytes[10] = bytes[10]! | 4)],
  ['flags', (bytes) => (bytes[11] = 0x80)],
  ['priors', (bytes) => writeU16(bytes, 14, 1025)],
  ['header length', (bytes) => writeU16(bytes, 14, 1023)],
  ['frame size', (bytes) => writeU32(bytes, 16, 63)],
  ['frame size', (bytes) => writeU32(bytes, 16, (1 << 20) + 1)],
  ['segment size', (bytes) => writeU32(bytes, 20, 1023)],
  ['segment size', (bytes) => writeU32(bytes, 20, 1025)],
  ['segment size', (bytes) => writeU32(bytes, 20, (1 << 24) + 1)],
  ['packed buffer', (bytes) => writeU32(bytes, 24, (1 << 25) + 1)],
  ['plain buffer', (bytes) => writeU32(bytes, 28, (1 << 25) + 1)],
  ['dictionary', (bytes) => writeU32(bytes, 32, (1 << 24) + 1)],
  ['contexts', (bytes) => writeU32(bytes, 36, 1)],
  ['source size', (bytes) => writeU64(bytes, 40, 2 ** 48 + 1)],
  ['target size', (bytes) => writeU64(bytes, 48, 2 ** 48 + 1)],
  ['target size', (bytes) => bytes.fill(0xff, 48, 56)],
  ['body size', (bytes) => writeU64(bytes, 56, 2 ** 48 + 1)],
  ['body size', (bytes) => writeU64(bytes, 56, 0)],
  ['body size', (bytes) => writeU64(bytes, 48, 0)],
  ['creation time', (bytes) => writeU64(bytes, 144, 2 ** 40 + 1)],
  ['creation time without its flag', (bytes) => (bytes[10] = bytes[10]! & ~2)],
  ['family length', (bytes) => (bytes[168] = 33)],
  ['device class length', (bytes) => (bytes[169] = 33)],
  ['header length', (bytes) => (bytes[169] = 31)],
  // A unit is at least a segment, here of 2^14 bytes.
  ['in-place unit', (bytes) => (bytes[170] = 13)],
  ['in-place unit', (bytes) => (bytes[170] = 25)],
  ['reserved byte', (bytes) => (bytes[171] = 1)],
];

test('each field past its limit is refused by name', () => {
  for (const [field, damage] of OVER_THE_LIMIT) {
    const bytes = encode(HEADER);
    damage(bytes);
    const error = refusal(bytes);
    assert.equal(error.code, 'BAD_HEADER');
    assert.match(error.message, new RegExp(`^${field}[:,]`), `expected ${field} to be named, got: ${error.message}`);
  }
});

test('a stand-alone patch names no source: neither a size nor a hash', () => {
  const sized = encode(STANDALONE);
  writeU64(sized, 40, 1);
  assert.match(refusal(sized).message, /^source size:/);
  const hashed = encode(STANDALONE);
  hashed[95] = 1;
  assert.match(refusal(hashed).message, /^source hash of a stand-alone patch:/);
});

test('the neural codec may declare contexts up to its own limit', () => {
  const bytes = encode({ ...HEADER, codec: 'neural', contextBytes: MAX_CONTEXT_BYTES });
  assert.equal(parseHeader(bytes).contextBytes, MAX_CONTEXT_BYTES);
  writeU32(bytes, 36, MAX_CONTEXT_BYTES + 1);
  assert.match(refusal(bytes).message, /^contexts:/);
});

test('the neural codec has two decode classes, zstd one', () => {
  for (const decodeClass of [0, 1])
    assert.equal(parseHeader(encode({ ...HEADER, codec: 'neural', decodeClass })).decodeClass, decodeClass);
  assert.match(
    refusal(encode({ ...HEADER, codec: 'neural', decodeClass: 2 })).message,
    /^decode class: expected 0 to 1/,
  );
});

test('the digest covers every byte of the header', () => {
  const whole = encode({ ...HEADER, priors: noise(20) });
  for (let i = 0; i < whole.length; i++) {
    const bytes = whole.slice();
    bytes[i]! ^= 1 << (i % 8);
    assert.throws(() => checkHeaderDigest(bytes, new NodeHasher()), { code: 'HEADER_DIGEST' });
  }
});

test('declared buffers are the sum of what the decoder holds', () => {
  const { frameBytes, packedBytes, plainBytes, dictionaryBytes } = HEADER;
  const parts = frameBytes + packedBytes + plainBytes + dictionaryBytes;
  assert.equal(declaredBufferBytes(HEADER), parts + 2 * 256);
  assert.equal(declaredBufferBytes({ ...HEADER, profile: 'gateway', contextBytes: 9 }), parts + 9 + 2 * 65536);
});

test('the preamble is measured once header and signature count are there, and not before', () => {
  const header = encode({ ...HEADER, priors: noise(3) });
  const blocks = [1, 2].map(() => ({ keyId: noise(8), signature: noise(64) }));
  const signatures = encodeSignatures(blocks);
  const bytes = new Uint8Array([...header, ...signatures, 0xaa]);
  for (let available = 0; available <= bytes.length; available++) {
    // What lies behind `available` must not be looked at.
    const seen = bytes.slice().fill(0x55, available);
    const size = measurePreamble(seen, available);
    if (available <= header.length) assert.equal(size, null, `after ${available} bytes`);
    else {
      assert.deepEqual(size, {
        headerBytes: header.length,
        signatureCount: 2,
        preambleBytes: header.length + signatures.length,
      });
    }
  }
});

test('a wrong magic is refused at its first wrong byte', () => {
  const bytes = encode(HEADER);
  for (let i = 0; i < 4; i++) {
    const wrong = bytes.slice();
    wrong[i]! ^= 0x20;
    for (let available = 0; available <= i; available++) assert.equal(measurePreamble(wrong, available), null);
    assert.throws(() => measurePreamble(wrong, i + 1), { code: 'BAD_MAGIC' });
  }
});

test('another version is refused, whatever the rest', () => {
  const bytes = encode(HEADER);
  bytes[4] = 1;
  assert.throws(() => measurePreamble(bytes, 14), { code: 'BAD_VERSION' });
});

test('header and signatures stay under the cap, judged before any of them is read', () => {
  const bytes = new Uint8Array(4096);
  bytes.set(encode(HEADER).subarray(0, 14));
  for (const [length, accepted] of [
    [187, false],
    [188, true],
    [2047, true],
    [2048, false],
    [65535, false],
  ] as const) {
    writeU16(bytes, 12, length);
    if (accepted) assert.equal(measurePreamble(bytes, 14), null);
    else assert.throws(() => measurePreamble(bytes, 14), { code: 'BAD_HEADER', message: /^header length:/ });
  }
  for (const [length, count, accepted] of [
    [188, 8, true],
    [188, 9, false],
    [188, 255, false],
    [2047 - 72, 1, true],
    [2047 - 71, 1, false],
  ] as const) {
    writeU16(bytes, 12, length);
    bytes[length] = count;
    if (accepted) assert.equal(measurePreamble(bytes, length + 1)?.preambleBytes, length + 1 + 72 * count);
    else assert.throws(() => measurePreamble(bytes, length + 1), { code: 'BAD_HEADER', message: /^signatures:/ });
    bytes[length] = 0;
  }
});

test('garbage is refused or asked for more of, never anything else', () => {
  const start = encode(HEADER);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 188, maxLength: 300 }), fc.nat(40), (garbage, kept) => {
      garbage.set(start.subarray(0, kept));
      for (const parse of [() => measurePreamble(garbage, garbage.length), () => parseHeader(garbage)]) {
        try {
          parse();
        } catch (error) {
          assert.ok(error instanceof InvalidPatch, String(error));
        }
      }
    }),
    { numRuns: 2000, seed: 1 },
  );
});
