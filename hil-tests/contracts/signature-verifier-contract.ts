/** What core relies on in every SignatureVerifier. What libraries disagree on, core refuses before it asks (ed25519-precheck.ts). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ed25519Precheck } from '../../core/patch/ed25519-precheck.js';
import { RFC_8032_VECTORS } from '../../core/patch/rfc8032.test.js';
import type { SignatureVerifier } from '../../core/ports.js';
import { ED25519_CASES } from './ed25519-cases.js';
import { patternBytes } from './test-bytes.js';

export function signatureVerifierContract(name: string, make: () => SignatureVerifier): void {
  const flipped = (bytes: Uint8Array, bit: number): Uint8Array => {
    const changed = bytes.slice();
    changed[bit >> 3] = changed[bit >> 3]! ^ (1 << (bit & 7));
    return changed;
  };

  describe(`SignatureVerifier contract: ${name}`, () => {
    const verifier = make();
    const { publicKey, message, signature } = RFC_8032_VECTORS[2]!;

    test('accepts the signatures of RFC 8032, also of an empty message', () => {
      for (const one of RFC_8032_VECTORS) {
        assert.equal(verifier.verify(one.publicKey, one.message, one.signature), 'valid');
      }
    });

    test('calls a signature with any byte changed invalid, and throws at none', () => {
      for (let bit = 0; bit < 8 * signature.length; bit += 9) {
        assert.equal(verifier.verify(publicKey, message, flipped(signature, bit)), 'invalid', `bit ${bit}`);
      }
    });

    test('calls it invalid for another message or key, also for bytes that are no key', () => {
      assert.equal(verifier.verify(publicKey, flipped(message, 3), signature), 'invalid');
      assert.equal(verifier.verify(publicKey, new Uint8Array(0), signature), 'invalid');
      assert.equal(verifier.verify(RFC_8032_VECTORS[0]!.publicKey, message, signature), 'invalid');
      for (let salt = 0; salt < 8; salt++) {
        assert.equal(verifier.verify(patternBytes(32, salt), message, signature), 'invalid');
      }
    });

    for (const one of ED25519_CASES) {
      test(`calls it ${one.verdict}, behind core's strict check: ${one.name}`, () => {
        const { publicKey, message, signature } = one;
        const isPassed = ed25519Precheck(publicKey, signature) === null;
        const verdict = isPassed ? verifier.verify(publicKey, message, signature) : 'invalid';
        assert.equal(verdict, one.verdict);
        // What the check refuses an adapter may be asked all the same, by somebody's mistake: it must not throw.
        if (!isPassed) verifier.verify(publicKey, message, signature);
      });
    }

    test('takes views into larger buffers and leaves what it is given alone', () => {
      const buffer = new Uint8Array([9, ...publicKey, 9, ...message, 9, ...signature, 9]);
      const before = buffer.slice();
      const at = 34 + message.length + 1;
      const views = [buffer.subarray(1, 33), buffer.subarray(34, 34 + message.length), buffer.subarray(at, at + 64)];
      assert.equal(verifier.verify(views[0]!, views[1]!, views[2]!), 'valid');
      assert.deepEqual(buffer, before);
    });
  });
}
