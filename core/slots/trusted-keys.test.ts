import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlashImage } from '../../hil-tests/board/flash-image.js';
import { testKeypair } from '../../hil-tests/support/make-patch.js';
import { NodeSignatureVerifier, NodeSigner } from '../../targets/node/hashing.js';
import { type ErrorCode, MallornError } from '../errors.js';
import { FlashRegion } from '../flash-region.js';
import { KEY_RECORD_BYTES, MAX_TRUSTED_KEYS, makeKeyRecord } from './key-record.js';
import { formatTrustedKeys, type KeyRotation, TrustedKeys } from './trusted-keys.js';

/** Head, payload and checksum. */
const RECORD_BYTES = 148;
const KEYS = Array.from({ length: MAX_TRUSTED_KEYS }, (_, i) => new Uint8Array(32).fill(i + 1));
const root = testKeypair(3);
const signer = new NodeSigner(root.privateKey);
const ROTATION: KeyRotation = {
  rootKey: root.publicKey,
  verifier: new NodeSignatureVerifier(),
  deviceClass: 'board',
};

function keyAreas(): { image: FlashImage; areas: [FlashRegion, FlashRegion] } {
  const image = new FlashImage();
  const [first, second] = image.layout.keys;
  return { image, areas: [new FlashRegion(image, first), new FlashRegion(image, second)] };
}

/** A device with the first key, and a record of version 5 with the others. */
function rotation(change: Partial<Parameters<typeof makeKeyRecord>[0]> = {}) {
  const { image, areas } = keyAreas();
  formatTrustedKeys(areas, KEYS.slice(0, 1));
  const record = makeKeyRecord({ version: 5, deviceClass: 'board', keys: KEYS.slice(1), ...change }, signer);
  return { image, areas, device: new TrustedKeys(areas, ROTATION), record };
}

test('trusted keys are read back as written, from none to the most there is room for', () => {
  for (let count = 0; count <= MAX_TRUSTED_KEYS; count++) {
    const { areas } = keyAreas();
    formatTrustedKeys(areas, KEYS.slice(0, count));
    assert.deepEqual(new TrustedKeys(areas, ROTATION).keys, KEYS.slice(0, count));
  }
  assert.throws(() => formatTrustedKeys(keyAreas().areas, [...KEYS, new Uint8Array(32)]));
  assert.throws(() => formatTrustedKeys(keyAreas().areas, [new Uint8Array(31)]));
});

test('a part without a record of keys trusts nobody, and takes no keys either', () => {
  const { record } = rotation();
  const device = new TrustedKeys(keyAreas().areas, ROTATION);
  assert.deepEqual(device.keys, []);
  assert.throws(() => device.rotate(record), withCode('UNKNOWN_SIGNER'));
});

test('either copy of the keys is enough, a damaged byte never changes a key, and without a whole copy nobody is trusted', () => {
  const { image, areas } = keyAreas();
  formatTrustedKeys(areas, KEYS);
  const written = image.bytes.slice();
  const { blockLength } = image.status();
  const offsets = image.layout.keys.map(({ firstBlock }) => firstBlock * blockLength);
  for (const offset of offsets) {
    image.bytes.fill(0xff, offset, offset + blockLength);
    assert.deepEqual(new TrustedKeys(areas, ROTATION).keys, KEYS);
    assert.deepEqual(image.bytes, written, 'the other copy is mended');
  }
  for (let at = 0; at < 256; at++) {
    for (const offset of offsets) image.bytes[offset + at]! ^= 0x10;
    const { keys } = new TrustedKeys(areas, ROTATION);
    if (keys.length > 0) assert.deepEqual(keys, KEYS, `byte ${at}`);
    if (at < RECORD_BYTES) assert.deepEqual(keys, [], `byte ${at}`);
    image.bytes.set(written);
  }
});

test('a record by the root key gives a device other keys, at once and after every boot', () => {
  const { areas, device, record } = rotation();
  assert.equal(record.length, KEY_RECORD_BYTES);
  device.rotate(record);
  for (const each of [device, new TrustedKeys(areas, ROTATION)]) {
    assert.deepEqual(each.keys, KEYS.slice(1));
    assert.equal(each.version, 5);
  }
});

test('the record that is in force is taken again without a write; any other needs a higher version', () => {
  const { image, device, record } = rotation();
  device.rotate(record);
  const after = image.bytes.slice();
  device.rotate(record);
  for (const version of [1, 4, 5]) {
    const older = makeKeyRecord({ version, deviceClass: 'board', keys: KEYS.slice(0, 1) }, signer);
    assert.throws(() => device.rotate(older), withCode('COUNTER_TOO_LOW'));
  }
  assert.deepEqual(image.bytes, after);
  device.rotate(makeKeyRecord({ version: 6, deviceClass: '', keys: KEYS.slice(0, 1) }, signer));
  assert.deepEqual(device.keys, KEYS.slice(0, 1));
});

test('a record by another root, for another class, of another layout or with a changed byte is refused and nothing is written', () => {
  const { image, areas, record } = rotation();
  const before = image.bytes.slice();
  const refuse = (bytes: Uint8Array, code: ErrorCode, change: Partial<KeyRotation> = {}): void => {
    const device = new TrustedKeys(areas, { ...ROTATION, ...change });
    assert.throws(() => device.rotate(bytes), withCode(code));
    assert.deepEqual(image.bytes, before);
    assert.deepEqual(device.keys, KEYS.slice(0, 1));
  };
  refuse(record, 'BAD_SIGNATURE', { rootKey: testKeypair(4).publicKey });
  refuse(record, 'UNKNOWN_SIGNER', { rootKey: null });
  refuse(record, 'VERIFY_UNAVAILABLE', { verifier: { verify: () => 'invalid' } });
  refuse(record, 'WRONG_DEVICE_CLASS', { deviceClass: 'boar' });
  refuse(record.subarray(1), 'BAD_KEY_RECORD');
  refuse(Uint8Array.from([...record, 0]), 'BAD_KEY_RECORD');
  for (let at = 0; at < record.length; at++) {
    const changed = record.slice();
    changed[at]! ^= 0x20;
    refuse(changed, at < 5 ? 'BAD_KEY_RECORD' : 'BAD_SIGNATURE');
  }
});

test('a signed record that is not what its layout says is refused', () => {
  const believing: KeyRotation = { ...ROTATION, verifier: { verify: () => 'valid' } };
  const forge = (edit: (record: Uint8Array) => void, change = {}): void => {
    const { areas, record } = rotation(change);
    edit(record);
    assert.throws(() => new TrustedKeys(areas, believing).rotate(record), withCode('BAD_KEY_RECORD'));
  };
  for (const count of [0, MAX_TRUSTED_KEYS + 1, 255]) forge((record) => record.fill(count, 5, 6));
  forge((record) => record.fill(1, 6, 7));
  forge((record) => record.fill(1, 43, 44));
  // A key beyond the count.
  forge((record) => record.fill(1, 171, 172));
});

function withCode(code: ErrorCode): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof MallornError, String(error));
    assert.equal(error.code, code);
    return true;
  };
}
