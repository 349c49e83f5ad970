/** What the tests of format readers share: a source that counts, mutations, what a sound layout is. No tests of its own. */

import assert from 'node:assert/strict';
import { ModelFormatError } from '../errors.js';
import type { ByteSource } from '../ports.js';
import type { ModelLayout } from './model.js';

export type Reader = (source: ByteSource) => ModelLayout;

/** Serves bytes, zeros past their end up to `size`, and counts what was asked for. */
export class CountingSource implements ByteSource {
  readonly size: number;
  bytesRead = 0;
  private readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array, size = bytes.length) {
    this.bytes = bytes;
    this.size = size;
  }

  read(offset: number, into: Uint8Array): void {
    assert.ok(offset >= 0 && offset + into.length <= this.size, `read outside the file: ${into.length} at ${offset}`);
    this.bytesRead += into.length;
    into.fill(0);
    into.set(this.bytes.subarray(offset, offset + into.length));
  }
}

/** Expects a ModelFormatError that points into the file. */
export function assertRefused(reader: Reader, source: ByteSource, message: RegExp): void {
  assert.throws(
    () => reader(source),
    (error) => {
      assert.ok(error instanceof ModelFormatError, String(error));
      assert.ok(error.offset >= 0 && error.offset <= source.size, `offset ${error.offset}`);
      assert.match(error.message, message);
      return true;
    },
  );
}

/** Ranges inside the file, none empty, in order and apart. */
export function assertSound(layout: ModelLayout, size: number): void {
  let end = 0;
  for (const { name, offset, length, shape } of layout.tensors) {
    assert.ok(
      Number.isSafeInteger(offset) && offset >= end && length > 0,
      `'${name}' at ${offset} overlaps or is empty`,
    );
    assert.ok(shape.every(Number.isSafeInteger), `'${name}' has shape ${shape}`);
    end = offset + length;
  }
  assert.ok(end <= size, `a range ends at ${end} of ${size}`);
}

/** How many of the prefixes of `whole` are refused; the others must read to a sound layout. */
export function countRefusedPrefixes(reader: Reader, whole: Uint8Array): number {
  let refused = 0;
  for (let length = 0; length < whole.length; length++) {
    if (!readsSoundly(reader, new CountingSource(whole.subarray(0, length)), `cut to ${length}`)) refused++;
  }
  return refused;
}

/** How many of `count` seeded mutations are refused; the others must read to a sound layout, all with bounded reading. */
export function countRefusedMutations(reader: Reader, originals: readonly Uint8Array[], count: number): number {
  const random = xorshift(0x5eed);
  let refused = 0;
  for (let i = 0; i < count; i++) {
    const source = new CountingSource(mutate(originals[i % originals.length]!, random));
    if (!readsSoundly(reader, source, `mutation ${i}`)) refused++;
    // Once through, where pages of 4 KiB share 8 bytes.
    const most = source.size + Math.ceil(source.size / 512);
    assert.ok(source.bytesRead <= most, `mutation ${i}: ${source.bytesRead} bytes read of ${source.size}`);
  }
  return refused;
}

function readsSoundly(reader: Reader, source: CountingSource, what: string): boolean {
  try {
    assertSound(reader(source), source.size);
    return true;
  } catch (error) {
    if (!(error instanceof ModelFormatError)) throw new Error(what, { cause: error });
    return false;
  }
}

/** Marsaglia's xorshift32: the same mutations on every machine. */
function xorshift(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const TELLING_WORDS = [0, 1, 2, 4, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff];

/** One to four words or bytes overwritten, at times cut short. */
function mutate(whole: Uint8Array, random: (below: number) => number): Uint8Array {
  const bytes = whole.slice();
  const view = new DataView(bytes.buffer);
  for (let changes = 1 + random(4); changes > 0; changes--) {
    const at = random(bytes.length - 4);
    const kind = random(4);
    if (kind < 2) bytes[at] = random(256);
    else view.setUint32(at, kind === 2 ? TELLING_WORDS[random(TELLING_WORDS.length)]! : random(bytes.length), true);
  }
  return random(8) === 0 ? bytes.subarray(0, random(bytes.length)) : bytes;
}
