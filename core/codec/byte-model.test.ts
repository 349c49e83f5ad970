/** The gateway's model of bytes, encoded and decoded again: dictionaries, places, lengths, and whatever a hostile payload says. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { noise } from '../patch/build-patch.test.js';
import type { BitCoder } from './bit-coder.js';
import { CLASSES, decoderOf, encodeWith, mixedModels } from './coder-rig.test.js';

const { layout } = CLASSES[1];

/** A run of the segment: how many bytes, and the source offset that lies under its first; between runs other ops write. */
interface Run {
  readonly skip: number;
  readonly count: number;
  readonly aligned: number;
  /** Whether the source's bytes under it are learnt first. */
  readonly learns?: boolean;
}

interface Case {
  readonly dictionary: Uint8Array;
  readonly dictionaryOffset: number;
  readonly target: Uint8Array;
  readonly runs: readonly Run[];
}

function encode({ dictionary, dictionaryOffset, target, runs }: Case): Uint8Array {
  return encodeWith(layout, (coder) => {
    const { bytes } = mixedModels(coder, layout)!;
    const history = target.slice();
    bytes.begin({ dictionary, dictionaryOffset, history, targetBytes: history.length });
    let at = 0;
    for (const { skip, count, aligned, learns } of runs) {
      at += skip;
      if (learns === true) bytes.learn(aligned, count);
      bytes.code(at, count, aligned);
      at += count;
    }
    assert.deepEqual(history, target, 'encoding leaves the segment as it is');
  });
}

/** @param step bytes a call, as through an I/O buffer */
function decode(payload: Uint8Array, { dictionary, dictionaryOffset, target, runs }: Case, step: number): Uint8Array {
  const { bytes } = mixedModels(decoderOf(layout, payload), layout)!;
  // What lies behind the place that is decoded must not matter: poison.
  const history = noise(target.length, 77);
  bytes.begin({ dictionary, dictionaryOffset, history, targetBytes: history.length });
  let at = 0;
  for (const { skip, count, aligned, learns } of runs) {
    history.set(target.subarray(at, at + skip), at);
    at += skip;
    if (learns === true) bytes.learn(aligned, count);
    for (let done = 0; done < count; done += step) bytes.code(at + done, Math.min(step, count - done), aligned + done);
    at += count;
  }
  history.set(target.subarray(at), at);
  return history;
}

function assertRoundTrip(what: Case, steps: readonly number[] = [1 << 20]): number {
  const payload = encode(what);
  for (const step of steps) assert.deepEqual(decode(payload, what, step), what.target);
  return payload.length;
}

const whole = (target: Uint8Array, aligned = 0): Run[] => [{ skip: 0, count: target.length, aligned }];

/** Names, each with an offset: of no rule, but all moved by `shift`. */
function table(entries: number, shift: number): Uint8Array {
  const names = noise(8 * entries, 9);
  const bytes = new Uint8Array(12 * entries);
  const view = new DataView(bytes.buffer);
  let offset = 0x10000 + shift;
  for (let i = 0; i < entries; i++) {
    bytes.set(names.subarray(8 * i, 8 * i + 8), 12 * i);
    view.setUint32(12 * i + 8, offset, true);
    offset += 8 * names[8 * i]!;
  }
  return bytes;
}

test('segments of 0 to 9 bytes, with and without a dictionary', () => {
  for (let length = 0; length <= 9; length++) {
    for (const dictionaryBytes of [0, 1, 4, 5, 6, 100]) {
      const target = noise(length, length + 1);
      const dictionary = noise(dictionaryBytes, length + 1);
      assertRoundTrip({ dictionary, dictionaryOffset: 3, target, runs: whole(target, 3) }, [1, 2, 1 << 20]);
    }
  }
});

test('what the dictionary holds costs next to nothing, wherever it lies, and a run of one byte as well', () => {
  const dictionary = noise(40_000, 1);
  const target = dictionary.slice(9000, 29_000);
  for (const aligned of [0, 9000, 1e9, -1e9]) {
    const length = assertRoundTrip({ dictionary, dictionaryOffset: 0, target, runs: whole(target, aligned) });
    assert.ok(length < 120, `${length} bytes, aligned at ${aligned}`);
  }
  const zeros = new Uint8Array(50_000);
  assert.ok(assertRoundTrip({ dictionary: noise(0), dictionaryOffset: 0, target: zeros, runs: whole(zeros) }) < 60);
});

test('offsets that all moved by the same cost less than a byte each', () => {
  const target = table(600, 72);
  const dictionary = table(600, 0);
  const length = assertRoundTrip({ dictionary, dictionaryOffset: 0, target, runs: whole(target) });
  assert.ok(length < 600, `${length} bytes`);
});

test('offsets that moved are found again behind words that were put in', () => {
  const old = table(100, 0);
  const target = Uint8Array.from([...noise(20, 4), ...table(100, 72)]);
  const one = { dictionary: old, dictionaryOffset: 0, target };
  const length = assertRoundTrip({ ...one, runs: whole(target) });
  assert.ok(length < 130, `${length} bytes`);
});

test('a table with new words in it costs less when the old one was learnt first', () => {
  const rows = (count: number, mark: number): number[] =>
    Array.from({ length: count }, (_, i) => [
      (i * i * 7 + mark) & 0xff,
      1,
      0,
      0,
      16,
      0,
      4,
      0,
      i & 0xff,
      i >> 8,
      mark,
      9,
    ]).flat();
  const target = Uint8Array.from(rows(60, 3));
  const what = { dictionary: Uint8Array.from(rows(60, 90)), dictionaryOffset: 0, target };
  const plain = assertRoundTrip({ ...what, runs: whole(target) });
  const learnt = assertRoundTrip({ ...what, runs: [{ skip: 0, count: target.length, aligned: 0, learns: true }] });
  assert.ok(learnt < 0.9 * plain, `${learnt} bytes instead of ${plain}`);
});

test('without a source, text that comes again with a letter put in each word is followed', () => {
  const letters = noise(9000, 5).map((byte) => 97 + (byte % 26));
  const words = Array.from({ length: 1000 }, (_, i) => [...letters.subarray(9 * i, 9 * i + 9)]);
  const again = words.map((word, i) => [...word.slice(0, 1 + (i % 8)), 32, ...word.slice(1 + (i % 8))]);
  const target = Uint8Array.from([...words, words[0]!, words[1]!, ...again.slice(2)].flat());
  const length = assertRoundTrip({ dictionary: noise(0), dictionaryOffset: 0, target, runs: whole(target) });
  // 4.7 bits a letter, and 3 for where the space goes.
  assert.ok(length < 5300 + 1000, `${length} bytes`);
});

test('noise costs a few per cent more than itself at most', () => {
  const target = noise(30_000, 1);
  const length = assertRoundTrip({ dictionary: noise(30_000, 2), dictionaryOffset: 0, target, runs: whole(target) });
  assert.ok(length < 1.03 * target.length, `${length} bytes`);
});

const anyBytes = (maxLength: number): fc.Arbitrary<Uint8Array> =>
  fc.oneof(
    fc.uint8Array({ maxLength }),
    // Words that come again, as in tables and names.
    fc
      .array(fc.constantFrom('weight', 'bias', '\0\0\0\x01', '\xff\xff', 'layer.12.', '\x80'), {
        maxLength: maxLength / 4,
      })
      .map((words) => Uint8Array.from([...words.join('')].map((letter) => letter.charCodeAt(0)))),
    fc.tuple(fc.nat(255), fc.nat(maxLength)).map(([byte, length]) => new Uint8Array(length).fill(byte)),
  );

const anyCase: fc.Arbitrary<Case> = fc
  .record({
    dictionary: anyBytes(300),
    dictionaryOffset: fc.nat(500),
    target: anyBytes(300),
    cuts: fc.array(
      fc.record({
        skip: fc.nat(20),
        count: fc.nat(80),
        aligned: fc.integer({ min: -50, max: 900 }),
        learns: fc.boolean(),
      }),
      { maxLength: 6 },
    ),
    likeDictionary: fc.boolean(),
  })
  .map(({ cuts, likeDictionary, target, ...rest }) => {
    const bytes = target.slice();
    if (likeDictionary) bytes.set(rest.dictionary.subarray(0, bytes.length));
    const runs: Run[] = [];
    let left = bytes.length;
    for (const { skip, count, aligned, learns } of cuts) {
      if (skip + count > left) break;
      runs.push({ skip, count, aligned, learns });
      left -= skip + count;
    }
    return { ...rest, target: bytes, runs: [...runs, { skip: 0, count: left, aligned: bytes.length - left }] };
  });

test('anything after anything decodes to what was encoded, one byte or many at a time', () => {
  fc.assert(
    fc.property(anyCase, fc.integer({ min: 1, max: 9 }), (what, step) => void assertRoundTrip(what, [step, 1 << 20])),
    { numRuns: 250, seed: 1 },
  );
});

test('memory of an earlier segment, or none, makes no difference', () => {
  const target = table(50, 3);
  const what = { dictionary: table(50, 0), dictionaryOffset: 0, target, runs: whole(target) };
  const fresh = encode(what);
  const again = encodeWith(layout, (coder) => {
    let isReal = false;
    const relay: BitCoder = {
      encodes: true,
      bit: () => 0,
      mixed: (zero, bit) => (isReal ? coder.mixed(zero, bit) : bit),
      direct: () => 0,
    };
    const { bytes } = mixedModels(relay, layout)!;
    const before = [...table(60, 40), ...noise(90, 2), ...table(10, 40)];
    const dictionary = Uint8Array.from([...table(60, 0), ...new Array<number>(2000).fill(0)]);
    bytes.begin({ dictionary, dictionaryOffset: 0, history: Uint8Array.from(before), targetBytes: before.length });
    bytes.code(0, before.length, 0);
    isReal = true;
    bytes.begin({ ...what, history: target.slice(), targetBytes: target.length });
    bytes.code(0, target.length, 0);
  });
  assert.deepEqual(again, fresh);
});

/** A view that fails the test when it is read outside of itself; plain arrays would give undefined. */
function guarded(bytes: Uint8Array): Uint8Array {
  return new Proxy(bytes, {
    get(target, name) {
      if (typeof name === 'string' && /^-?\d+$/.test(name)) assert.ok(Number(name) in target, `${name} is outside`);
      return Reflect.get(target, name, target) as unknown;
    },
  });
}

test('nothing is read outside of dictionary and segment', () => {
  fc.assert(
    fc.property(anyCase, (what) => {
      const payload = encode(what);
      const { bytes } = mixedModels(decoderOf(layout, payload), layout)!;
      const { dictionaryOffset, target, runs } = what;
      const history = guarded(new Uint8Array(target.length));
      bytes.begin({
        dictionary: guarded(what.dictionary),
        dictionaryOffset,
        history,
        targetBytes: history.length,
      });
      let at = 0;
      for (const { skip, count, aligned, learns } of runs) {
        for (let i = at; i < at + skip; i++) history[i] = target[i]!;
        if (learns === true) bytes.learn(aligned, count);
        bytes.code(at + skip, count, aligned);
        at += skip + count;
      }
    }),
    { numRuns: 60, seed: 3 },
  );
});

test('garbage decodes to some bytes, the same however it is cut', () => {
  const garbage = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.tuple(fc.nat(255), fc.nat(200)).map(([byte, length]) => new Uint8Array(length).fill(byte)),
  );
  fc.assert(
    fc.property(garbage, anyCase, (payload, what) => {
      assert.deepEqual(decode(payload, what, 7), decode(payload, what, 1 << 20));
    }),
    { numRuns: 250, seed: 2 },
  );
});
