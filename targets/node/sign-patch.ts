/** `signPatch` as it runs in a worker thread: puts a signature into the preamble and copies the body, frame by frame. */

import { InvalidPatch, SignatureError } from '../../core/errors.js';
import { MAX_PREAMBLE_BYTES, MAX_SIGNATURES } from '../../core/limits.js';
import { encodeSignatures, makeSignature, withSignature } from '../../core/patch/signatures.js';
import type { ByteSource } from '../../core/ports.js';
import type { Input } from './api-types.js';
import { type TempOutput, withTempOutput } from './atomic-file.js';
import type { SigningKey } from './check-options.js';
import { writeFully } from './file-io.js';
import { forEachFrame } from './frame-chain.js';
import { NodeHasher } from './hashing.js';
import { type Preamble, readPreamble, refuseOutputOverInput, withInput } from './inputs.js';
import { signerFor } from './signer-for.js';
import type { Task } from './task.js';

export interface SignArguments {
  readonly patch: Input;
  readonly signWith: SigningKey;
  readonly output: string;
}

/** @throws InvalidPatch for a patch that is damaged or must not be signed: a signature says that somebody looked */
export function signPatch({ patch, signWith, output }: SignArguments, task: Task): void {
  refuseOutputOverInput(output, [patch]);
  withInput(patch, (source) => {
    const preamble = readPreamble(source);
    const signatures = signaturesWith(preamble, signWith);
    withTempOutput(output, (temp) => write(source, preamble, signatures, temp, task));
  });
}

/** The count byte and the signature blocks, ours among them. */
function signaturesWith({ header, headerBytes, signatures }: Preamble, signWith: SigningKey): Uint8Array {
  if (header.standalone && header.versionCounter === 0) {
    throw new InvalidPatch(
      'COUNTER_MISSING',
      'a stand-alone patch without a version counter must not be signed: make it anew with one',
    );
  }
  const added = makeSignature(headerBytes, signerFor(signWith), new NodeHasher());
  const blocks = withSignature(signatures, added);
  const encoded = encodeSignatures(blocks);
  if (blocks.length > MAX_SIGNATURES || headerBytes.length + encoded.length > MAX_PREAMBLE_BYTES) {
    const limit = `at most ${MAX_SIGNATURES} signatures, ${MAX_PREAMBLE_BYTES} bytes with the header`;
    throw new SignatureError(
      'TOO_MANY_SIGNATURES',
      `expected ${limit}, got ${blocks.length} and ${headerBytes.length + encoded.length} bytes`,
    );
  }
  return encoded;
}

function write(patch: ByteSource, preamble: Preamble, signatures: Uint8Array, output: TempOutput, task: Task): void {
  let written = 0;
  const append = (bytes: Uint8Array): void => {
    writeFully(output.fd, output.tempPath, written, bytes);
    written += bytes.length;
  };
  append(preamble.headerBytes);
  append(signatures);
  forEachFrame(patch, preamble, (frame) => {
    append(frame);
    task.checkpoint('signing', written, patch.size);
  });
  task.throwIfAborted();
}
