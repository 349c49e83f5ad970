/** Key records: a device takes one that its root signed, wholly and for good, or its keys and its flash stay as they were. */

import assert from 'node:assert/strict';
import { MallornError } from '../../core/errors.js';
import { KEY_RECORD_BYTES, KEY_RECORD_DOMAIN, MAX_TRUSTED_KEYS, makeKeyRecord } from '../../core/slots/key-record.js';
import { formatTrustedKeys, TrustedKeys } from '../../core/slots/trusted-keys.js';
import { NodeSignatureVerifier, NodeSigner } from '../../targets/node/hashing.js';
import { FlashImage } from '../board/flash-image.js';
import { testKeypair } from '../support/make-patch.js';
import type { FuzzTarget, Outcome } from './target.js';

const ROOT = testKeypair(3);
const SIGNER = new NodeSigner(ROOT.privateKey);
const KEYS = Array.from({ length: MAX_TRUSTED_KEYS }, (_, i) => new Uint8Array(32).fill(i + 1));
const SIGNATURE_OFFSET = KEY_RECORD_BYTES - 64;
const ROTATION = { rootKey: ROOT.publicKey, verifier: new NodeSignatureVerifier(), deviceClass: 'board' };
/** Of a part that can be put back for each input. */
const FLASH_BYTES = 128 << 10;

export class KeyRecordTarget implements FuzzTarget {
  readonly name = 'key-record';
  readonly share = 3;
  private readonly image = new FlashImage(new Uint8Array(FLASH_BYTES).fill(0xff));
  private readonly factory: Uint8Array;

  constructor() {
    formatTrustedKeys(this.image.keyAreas, KEYS.slice(0, 1));
    this.factory = this.image.bytes.slice();
  }

  seeds(): Uint8Array[] {
    return [
      { version: 1, deviceClass: '', keys: KEYS.slice(1, 2) },
      { version: 77, deviceClass: 'board', keys: KEYS },
    ].map((record) => makeKeyRecord(record, SIGNER));
  }

  /** A root that signs anything. */
  repair(bytes: Uint8Array): Uint8Array | null {
    if (bytes.length < SIGNATURE_OFFSET) return null;
    const signed = bytes.slice(0, SIGNATURE_OFFSET);
    const signature = SIGNER.sign(new Uint8Array(Buffer.concat([KEY_RECORD_DOMAIN, signed])));
    return new Uint8Array(Buffer.concat([signed, signature]));
  }

  run(bytes: Uint8Array): Outcome {
    this.image.bytes.set(this.factory);
    const device = new TrustedKeys(this.image.keyAreas, ROTATION);
    try {
      device.rotate(bytes);
    } catch (error) {
      if (!(error instanceof MallornError)) throw error;
      assert.deepEqual(device.keys, KEYS.slice(0, 1), 'refused, so the keys stay');
      assert.equal(Buffer.compare(this.image.bytes, this.factory), 0, 'and nothing is written');
      return 'refused';
    }
    assert.ok(device.version > 0 && device.keys.length >= 1 && device.keys.length <= MAX_TRUSTED_KEYS);
    assert.deepEqual(new TrustedKeys(this.image.keyAreas, ROTATION).keys, device.keys, 'the same after a boot');
    return 'taken';
  }
}
