/** Opens what callers pass: a path or bytes. */

import { realpathSync } from 'node:fs';
import { InvalidPatch, IoError, invariant } from '../../core/errors.js';
import { MAX_PREAMBLE_BYTES } from '../../core/limits.js';
import { MemorySource } from '../../core/memory-source.js';
import { checkHeaderDigest, measurePreamble, type PatchHeader, parseHeader } from '../../core/patch/header.js';
import { parseSignatures, type SignatureBlock } from '../../core/patch/signatures.js';
import type { ByteSource } from '../../core/ports.js';
import type { Input } from './api-types.js';
import { FileSource } from './file-source.js';
import { NodeHasher } from './hashing.js';
import { isSystemError } from './io-error.js';
import { finish, type Steps } from './steps.js';
import type { Task } from './task.js';

/** Runs `work` on the opened inputs, of which the base may be absent, and closes them. @throws IoError */
export function* withInputs<T>(
  source: Input | null,
  patch: Input,
  work: (source: ByteSource | null, patch: ByteSource) => Steps<T>,
): Steps<T> {
  const opened: FileSource[] = [];
  const open = (input: Input): ByteSource => {
    if (typeof input !== 'string') return new MemorySource(input);
    const file = new FileSource(input);
    opened.push(file);
    return file;
  };
  try {
    return yield* work(source === null ? null : open(source), open(patch));
  } finally {
    for (const file of opened) file.close();
  }
}

/** Runs `work` on the opened input and closes it. @throws IoError */
export function withInput<T>(input: Input, work: (source: ByteSource) => T): T {
  if (typeof input !== 'string') return work(new MemorySource(input));
  const source = new FileSource(input);
  try {
    return work(source);
  } finally {
    source.close();
  }
}

/** As withInput, for a base that may be absent. */
export function withOptionalInput<T>(input: Input | null, work: (source: ByteSource | null) => T): T {
  return input === null ? work(null) : withInput(input, work);
}

/** Writing over an input would destroy it before it is read. @throws IoError OUTPUT_IS_INPUT */
export function refuseOutputOverInput(output: string, inputs: readonly (Input | null)[]): void {
  const target = realPathOrNull(output);
  if (target === null) return;
  for (const input of inputs) {
    if (typeof input === 'string' && realPathOrNull(input) === target) {
      throw new IoError(`the output ${output} is also an input`, { code: 'OUTPUT_IS_INPUT' });
    }
  }
}

function realPathOrNull(path: string): string | null {
  try {
    // The native one also gives the true case of names on file systems that ignore case.
    return realpathSync.native(path);
  } catch (error) {
    if (isSystemError(error)) return null;
    throw error;
  }
}

export interface Preamble {
  /** The header's bytes, digest included, which are what is signed. */
  readonly headerBytes: Uint8Array;
  readonly header: PatchHeader;
  readonly signatures: readonly SignatureBlock[];
  readonly preambleBytes: number;
}

/** Reads header and signatures. @throws InvalidPatch */
export function readPreamble(patch: ByteSource): Preamble {
  const bytes = new Uint8Array(Math.min(MAX_PREAMBLE_BYTES, patch.size));
  patch.read(0, bytes);
  const size = measurePreamble(bytes, bytes.length);
  if (size === null || size.preambleBytes > bytes.length) {
    throw new InvalidPatch('TRUNCATED', `the patch ends inside its header, after ${bytes.length} bytes`);
  }
  const headerBytes = bytes.subarray(0, size.headerBytes);
  checkHeaderDigest(headerBytes, new NodeHasher());
  const blocks = bytes.subarray(size.headerBytes + 1, size.preambleBytes);
  return {
    headerBytes,
    header: parseHeader(headerBytes),
    signatures: parseSignatures(blocks, size.signatureCount),
    preambleBytes: size.preambleBytes,
  };
}

const CHUNK_BYTES = 1 << 16;

/** The input's bytes in order, each chunk valid until the next. */
export function* chunksOf(input: ByteSource): Generator<Uint8Array, void, void> {
  const chunk = new Uint8Array(Math.min(CHUNK_BYTES, input.size));
  for (let at = 0; at < input.size; at += chunk.length) {
    const run = chunk.subarray(0, Math.min(chunk.length, input.size - at));
    input.read(at, run);
    yield run;
  }
}

/** SHA-256 of a whole input, 32 bytes. */
export function hashInput(input: ByteSource, task: Task): Uint8Array {
  return finish(hashSteps(input, task));
}

export function* hashSteps(input: ByteSource, task: Task): Steps<Uint8Array> {
  const hasher = new NodeHasher();
  const digest = new Uint8Array(32);
  let done = 0;
  for (const chunk of chunksOf(input)) {
    hasher.update(chunk);
    done += chunk.length;
    task.checkpoint('hashing', done, input.size);
    yield;
  }
  hasher.digest(digest);
  invariant(done === input.size, 'the input was read whole');
  return digest;
}
