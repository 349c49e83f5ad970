/**
 * Signature blocks (SPEC.md, "Signatures"): {key id, Ed25519} over a domain-separated header, any number up to the cap, so
 * that keys can be rotated without re-encoding a patch.
 */

import { equalBytes } from '../bytes.js';
import { MallornError, SignatureError } from '../errors.js';
import type { Hasher, SignatureVerifier, Signer } from '../ports.js';
import { ed25519Precheck } from './ed25519-precheck.js';

export const KEY_ID_BYTES = 8;
export const SIGNATURE_BYTES = 64;
export const SIGNATURE_BLOCK_BYTES = KEY_ID_BYTES + SIGNATURE_BYTES;

/** Put before the header, so that a signature made for anything else never passes as one for a patch. */
export const SIGNING_DOMAIN = Uint8Array.from('mallorn patch header v0\0', (c) => c.charCodeAt(0));

export interface SignatureBlock {
  readonly keyId: Uint8Array;
  readonly signature: Uint8Array;
}

/** First 8 bytes of SHA-256 of the public key: finds the block to check, proves nothing. */
export function keyIdOf(publicKey: Uint8Array, hasher: Hasher): Uint8Array {
  const digest = new Uint8Array(32);
  hasher.reset();
  hasher.update(publicKey);
  hasher.digest(digest);
  return digest.slice(0, KEY_ID_BYTES);
}

export function signingMessage(header: Uint8Array): Uint8Array {
  const message = new Uint8Array(SIGNING_DOMAIN.length + header.length);
  message.set(SIGNING_DOMAIN);
  message.set(header, SIGNING_DOMAIN.length);
  return message;
}

/** `blocks` holds `count` signature blocks back to back. */
export function parseSignatures(blocks: Uint8Array, count: number): SignatureBlock[] {
  return Array.from({ length: count }, (_, i) => {
    const start = i * SIGNATURE_BLOCK_BYTES;
    return {
      keyId: blocks.slice(start, start + KEY_ID_BYTES),
      signature: blocks.slice(start + KEY_ID_BYTES, start + SIGNATURE_BLOCK_BYTES),
    };
  });
}

/** The count byte and the blocks, as they follow the header. */
export function encodeSignatures(blocks: readonly SignatureBlock[]): Uint8Array {
  const out = new Uint8Array(1 + blocks.length * SIGNATURE_BLOCK_BYTES);
  out[0] = blocks.length;
  blocks.forEach((block, i) => {
    out.set(block.keyId, 1 + i * SIGNATURE_BLOCK_BYTES);
    out.set(block.signature, 1 + i * SIGNATURE_BLOCK_BYTES + KEY_ID_BYTES);
  });
  return out;
}

export function makeSignature(header: Uint8Array, signer: Signer, hasher: Hasher): SignatureBlock {
  return { keyId: keyIdOf(signer.publicKey, hasher), signature: signer.sign(signingMessage(header)) };
}

/** The blocks with `added` in them: in place of an older one of the same key, else at the end. */
export function withSignature(blocks: readonly SignatureBlock[], added: SignatureBlock): SignatureBlock[] {
  const at = blocks.findIndex((block) => equalBytes(block.keyId, added.keyId));
  return at < 0 ? [...blocks, added] : blocks.map((block, i) => (i === at ? added : block));
}

/** RFC 8032, 7.1, TEST 1: a signature that is valid on every working verifier. */
const KNOWN_GOOD = {
  publicKey: fromHexLiteral('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a'),
  message: new Uint8Array(0),
  signature: fromHexLiteral(
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  ),
};

export function fromHexLiteral(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}

export interface SignatureCheck {
  readonly header: Uint8Array;
  readonly blocks: readonly SignatureBlock[];
  readonly trustedKeys: readonly Uint8Array[];
  readonly verifier: SignatureVerifier;
  readonly hasher: Hasher;
}

/**
 * Returns when one trusted key has a valid signature over the header.
 * @throws SignatureError UNSIGNED, UNKNOWN_SIGNER or BAD_SIGNATURE; MallornError VERIFY_UNAVAILABLE
 */
export function requireSignature({ header, blocks, trustedKeys, verifier, hasher }: SignatureCheck): void {
  if (blocks.length === 0)
    throw new SignatureError('UNSIGNED', 'expected a signature by a trusted key, got an unsigned patch');
  const message = signingMessage(header);
  let fault: string | null = null;
  for (const publicKey of trustedKeys) {
    const keyId = keyIdOf(publicKey, hasher);
    for (const block of blocks) {
      if (!equalBytes(block.keyId, keyId)) continue;
      fault = signatureFault(publicKey, message, block.signature, verifier);
      if (fault === null) return;
    }
  }
  if (fault === null)
    throw new SignatureError('UNKNOWN_SIGNER', 'expected a signature by a trusted key, got only unknown signers');
  throw badSignature(fault, verifier);
}

/** Null when the signature is valid, else what is wrong with it. */
export function signatureFault(
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
  verifier: SignatureVerifier,
): string | null {
  const fault = ed25519Precheck(publicKey, signature);
  if (fault !== null) return fault;
  return verifier.verify(publicKey, message, signature) === 'valid' ? null : 'does not verify';
}

/**
 * BAD_SIGNATURE; VERIFY_UNAVAILABLE when the verifier calls even a known good signature invalid, which is what running out of
 * memory looks like in some libraries.
 */
export function badSignature(fault: string, verifier: SignatureVerifier): MallornError {
  if (verifier.verify(KNOWN_GOOD.publicKey, KNOWN_GOOD.message, KNOWN_GOOD.signature) !== 'valid')
    return new MallornError('VERIFY_UNAVAILABLE', 'the verifier rejects a known good signature: it cannot be believed');
  return new SignatureError('BAD_SIGNATURE', `the signature by a trusted key is bad: ${fault}`);
}
