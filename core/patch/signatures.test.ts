import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hashes, Point, verify } from '@noble/ed25519';
import { sha512 } from '@noble/hashes/sha2.js';
import { NodeHasher, NodeSignatureVerifier } from '../../targets/node/hashing.js';
import { PortableVerifier } from '../../targets/quickjs/portable.js';
import type { SignatureVerifier } from '../ports.js';
import { noise, sha256, testSigner } from './build-patch.test.js';
import { ed25519Precheck } from './ed25519-precheck.js';
import { fromLittleEndian, GROUP_ORDER, littleEndian, RFC_8032_VECTORS } from './rfc8032.test.js';
import {
  encodeSignatures,
  keyIdOf,
  makeSignature,
  parseSignatures,
  requireSignature,
  SIGNATURE_BLOCK_BYTES,
  SIGNING_DOMAIN,
  type SignatureBlock,
  signingMessage,
  withSignature,
} from './signatures.js';

hashes.sha512 = sha512;

const HEADER = noise(204, 7);
const OLD = testSigner(1);
const NEW = testSigner(2);
const STRANGER = testSigner(3);
const hasher = new NodeHasher();
const verifiers: readonly SignatureVerifier[] = [new NodeSignatureVerifier(), new PortableVerifier()];

interface Case {
  readonly blocks: readonly SignatureBlock[];
  readonly trustedKeys?: readonly Uint8Array[];
  readonly header?: Uint8Array;
  readonly verifier?: SignatureVerifier;
}

function require({ blocks, trustedKeys = [OLD.publicKey], header = HEADER, verifier = verifiers[0]! }: Case): void {
  requireSignature({ header, blocks, trustedKeys, verifier, hasher });
}

const byOld = makeSignature(HEADER, OLD, hasher);
const byNew = makeSignature(HEADER, NEW, hasher);
const byStranger = makeSignature(HEADER, STRANGER, hasher);

describe('signature blocks', () => {
  test('name their key by the first 8 bytes of its SHA-256', () => {
    assert.deepEqual(keyIdOf(OLD.publicKey, hasher), sha256(OLD.publicKey).subarray(0, 8));
  });

  test('sign the header behind a domain string that ends in a zero byte', () => {
    assert.equal(Buffer.from(SIGNING_DOMAIN).toString('latin1'), 'mallorn patch header v0\0');
    assert.deepEqual(signingMessage(HEADER), new Uint8Array([...SIGNING_DOMAIN, ...HEADER]));
    assert.ok(verify(byOld.signature, signingMessage(HEADER), OLD.publicKey));
  });

  test('read back as they were written, none to the most', () => {
    for (const count of [0, 1, 8]) {
      const blocks = Array.from({ length: count }, (_, i) => ({ keyId: noise(8, i), signature: noise(64, i) }));
      const bytes = encodeSignatures(blocks);
      assert.equal(bytes.length, 1 + count * SIGNATURE_BLOCK_BYTES);
      assert.deepEqual(parseSignatures(bytes.subarray(1), bytes[0]!), blocks);
    }
  });

  test('signing again replaces the block of the same key and adds one of another', () => {
    const again = { ...byOld, signature: noise(64) };
    assert.deepEqual(withSignature([byOld, byNew], again), [again, byNew]);
    assert.deepEqual(withSignature([byOld], byNew), [byOld, byNew]);
  });
});

describe('requireSignature', () => {
  test('one valid signature by one trusted key is enough, among strangers and in any order', () => {
    require({ blocks: [byOld] });
    require({ blocks: [byStranger, byOld] });
    require({ blocks: [byNew], trustedKeys: [OLD.publicKey, NEW.publicKey] });
    require({ blocks: [{ ...byOld, signature: noise(64) }, byOld] });
  });

  test("no signature, a stranger's and a bad one are told apart", () => {
    assert.throws(() => require({ blocks: [] }), { code: 'UNSIGNED' });
    assert.throws(() => require({ blocks: [byStranger, byNew] }), { code: 'UNKNOWN_SIGNER' });
    assert.throws(() => require({ blocks: [byOld], header: HEADER.slice(1) }), { code: 'BAD_SIGNATURE' });
  });

  test("a block under a trusted key's id but signed by another is bad", () => {
    assert.throws(() => require({ blocks: [{ ...byStranger, keyId: byOld.keyId }] }), { code: 'BAD_SIGNATURE' });
  });

  test('every flipped bit of a signature is refused', () => {
    for (let bit = 0; bit < 512; bit += 3) {
      const signature = byOld.signature.slice();
      signature[bit >> 3]! ^= 1 << (bit & 7);
      assert.throws(() => require({ blocks: [{ ...byOld, signature }] }), { code: 'BAD_SIGNATURE' });
    }
  });

  test('a verifier that calls everything invalid is not believed', () => {
    const exhausted: SignatureVerifier = { verify: () => 'invalid' };
    assert.throws(() => require({ blocks: [byOld], verifier: exhausted }), { code: 'VERIFY_UNAVAILABLE' });
  });

  test('a verifier that cannot tell is not taken for a refusal', () => {
    const broken: SignatureVerifier = {
      verify: () => {
        throw new Error('out of memory');
      },
    };
    assert.throws(() => require({ blocks: [byOld], verifier: broken }), { message: 'out of memory' });
  });

  test('the verifier never sees what the precheck refuses, nor a signature of a key that is not trusted', () => {
    let asked = 0;
    const counting: SignatureVerifier = {
      verify: (...what) => {
        asked++;
        return verifiers[0]!.verify(...what);
      },
    };
    const smallOrder = new Uint8Array(64).fill(0, 1);
    smallOrder[0] = 1;
    assert.throws(() => require({ blocks: [{ ...byOld, signature: smallOrder }], verifier: counting }), {
      code: 'BAD_SIGNATURE',
    });
    assert.equal(asked, 1, 'only for the known good signature');
    assert.throws(() => require({ blocks: [byStranger], verifier: counting }), { code: 'UNKNOWN_SIGNER' });
    assert.equal(asked, 1);
  });
});

/** Signs with a nonce of the test's choice: R = nonce B + torsion. Only the key's owner can make such a signature. */
function signWithTorsion(
  secret: bigint,
  message: Uint8Array,
  torsion: Point,
): { publicKey: Uint8Array; signature: Uint8Array } {
  const publicKey = Point.BASE.multiply(secret).toBytes();
  const nonce = 12345n;
  const r = Point.BASE.multiply(nonce).add(torsion).toBytes();
  const k = fromLittleEndian(sha512(new Uint8Array([...r, ...publicKey, ...message]))) % GROUP_ORDER;
  return { publicKey, signature: new Uint8Array([...r, ...littleEndian((nonce + k * secret) % GROUP_ORDER)]) };
}

describe('the verifiers behind the port', () => {
  test('accept the vectors of RFC 8032 and refuse them over another message', () => {
    for (const verifier of verifiers) {
      for (const { publicKey, message, signature } of RFC_8032_VECTORS) {
        assert.equal(ed25519Precheck(publicKey, signature), null);
        assert.equal(verifier.verify(publicKey, message, signature), 'valid');
        assert.equal(verifier.verify(publicKey, new Uint8Array([...message, 0]), signature), 'invalid');
      }
    }
  });

  test('agree on every signature that passes the precheck, whichever bit was flipped', () => {
    const { publicKey, message, signature } = RFC_8032_VECTORS[1]!;
    for (let bit = 0; bit < 768; bit += 5) {
      const key = publicKey.slice();
      const signed = signature.slice();
      if (bit < 256) key[bit >> 3]! ^= 1 << (bit & 7);
      else signed[(bit - 256) >> 3]! ^= 1 << (bit & 7);
      if (ed25519Precheck(key, signed) !== null) continue;
      for (const verifier of verifiers) assert.equal(verifier.verify(key, message, signed), 'invalid');
    }
  });

  test('agree on a nonce with a small-order part, where RFC 8032 allows both verdicts and only the owner of the key can make one', () => {
    const message = noise(40);
    const clean = signWithTorsion(987654321n, message, Point.ZERO);
    const mixed = signWithTorsion(
      987654321n,
      message,
      Point.fromHex('ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f'),
    );
    for (const verifier of verifiers) assert.equal(verifier.verify(clean.publicKey, message, clean.signature), 'valid');
    assert.equal(ed25519Precheck(mixed.publicKey, mixed.signature), null);
    for (const verifier of verifiers) {
      assert.equal(verifier.verify(mixed.publicKey, message, mixed.signature), 'invalid');
    }
  });
});
