/** Changes a real patch in ways that only its maker could: header fields under a fresh digest and signature. */

import { MemorySource } from '../../core/memory-source.js';
import { encodeHeader, type PatchHeader } from '../../core/patch/header.js';
import { encodeSignatures, makeSignature } from '../../core/patch/signatures.js';
import { NodeHasher, NodeSigner } from '../../targets/node/hashing.js';
import { readPreamble } from '../../targets/node/inputs.js';

/** The body, and with it the frame chain, stays as it is. Signed only when a key is given. */
export function withHeader(patch: Uint8Array, change: Partial<PatchHeader>, privateKey?: Uint8Array): Uint8Array {
  const { header, preambleBytes } = readPreamble(new MemorySource(patch));
  const encoded = encodeHeader({ ...header, ...change }, new NodeHasher());
  const signatures =
    privateKey === undefined ? [] : [makeSignature(encoded, new NodeSigner(privateKey), new NodeHasher())];
  return new Uint8Array(Buffer.concat([encoded, encodeSignatures(signatures), patch.subarray(preambleBytes)]));
}

/** A copy with one byte replaced by another. */
export function withFlip(patch: Uint8Array, at: number, mask = 0xff): Uint8Array {
  const copy = patch.slice();
  copy[at] = copy[at]! ^ mask;
  return copy;
}
