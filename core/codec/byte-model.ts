/**
 * The neural codec's model of bytes that are no weights: container tables, tokenizers, unknown formats. Predictions from the
 * bytes before (order 1 to 4 and 6), from the same place in the base model, from 4 and 8 bytes back as in tables of words, and
 * from the longest match, mixed by online logistic regression (Mahoney, "Adaptive weighing of context models for lossless data
 * compression", 2005; the arithmetic is that of lpaq1). Integers and exact divisions only: every machine gets the same bits.
 *
 * Needs about 2 MiB, so it belongs to the gateway class.
 */

import type { BitCoder } from './bit-coder.js';
import { Mixer, mapEntry, SILENT } from './mixer.js';
import {
  HISTORIES,
  INPUTS,
  MAPS,
  MATCH_MAPS,
  MATCH_SETS,
  NODE_SETS,
  ORDERS,
  PLACE_BITS,
  TABLE_BITS,
  WEIGHTS,
  WORD_LEVELS,
  WORD_MAPS,
} from './neural-sizes.js';

/** Bytes that a match begins with. */
const MATCH_MIN = 5;
const MATCH_INPUT = ORDERS;
const WORD_INPUT = ORDERS + 1;
/** The history of a context never seen. */
const NEVER_SEEN = 1;
const WEIGHT_ORDERS = 14000;
const WEIGHT_MATCH = 50000;
const LEARNING = 60;

/** Zero bits of a byte. */
const MISSES = Uint8Array.from({ length: 256 }, (_, byte) => {
  let zeros = 0;
  for (let bit = 0; bit < 8; bit++) zeros += ((byte >> bit) & 1) ^ 1;
  return zeros;
});

/** What the model may look at besides the bytes it has coded. */
export interface ByteHistory {
  /** Source bytes, and where in the source they begin. */
  readonly dictionary: Uint8Array;
  readonly dictionaryOffset: number;
  /** The segment so far is history[0, position). */
  readonly history: Uint8Array;
}

/** What a history or a match is taken to mean before anything was learnt: counted bits, and matches that are mostly right. */
const PRIOR_MAPS = new Uint32Array(MAPS);
for (let order = 0; order < ORDERS; order++) {
  for (let history = 1; history < HISTORIES; history++) {
    const length = 31 - Math.clz32(history);
    let ones = 0;
    for (let bit = 0; bit < length; bit++) ones += (history >> bit) & 1;
    // The last bit counts twice.
    const last = length > 0 ? history & 1 : 0;
    PRIOR_MAPS[order * HISTORIES + history] = mapEntry(
      (ones + last + 0.4) / (length + (length > 0 ? 1 : 0) + 0.8),
      length === 0 ? 30 : 6,
    );
  }
}
for (let level = 0; level < 2 * MATCH_SETS; level++) {
  const grade = level === 0 ? 0 : ((level - 1) >> 1) & 7;
  const misses = level === 0 ? 0 : (level - 1) >> 4;
  const right = 1 - 1 / ((8 << grade) >> (2 * misses) || 2);
  PRIOR_MAPS[MATCH_MAPS + level] = level === 0 ? mapEntry(0.5, 0) : mapEntry((level - 1) & 1 ? right : 1 - right, 6);
}

for (let level = 0; level < 2 * WORD_LEVELS; level++)
  PRIOR_MAPS[WORD_MAPS + level] = mapEntry(level < 2 ? 0.5 : level & 1 ? 0.8 : 0.2, level < 2 ? 0 : 4);

export class ByteModel {
  private readonly mixer: Mixer;
  /** A check of the context above, its history below. */
  private readonly table: Uint16Array;
  private readonly maps: Uint32Array;
  private readonly places: Int32Array;
  private readonly weights: Int32Array;
  private readonly slots = new Int32Array(INPUTS);
  private readonly hashes = new Int32Array(INPUTS);
  private text: ByteHistory = { dictionary: new Uint8Array(0), dictionaryOffset: 0, history: new Uint8Array(0) };
  private indexed = 0;
  /** Place of the byte that the match predicts, counted over dictionary and history; -1 without a match. */
  private match = -1;
  private matchLength = 0;
  /** Whether the match was right, for the last eight bytes; the latest in bit 0. */
  private recent = 0xff;
  private wordHolds = false;
  private wordBase = 0;
  private wordDelta = 0;
  private word = 0;
  private wordByte = -1;
  private wordRecent = 0;

  constructor(coder: BitCoder, memory: ArrayBuffer, offset: number) {
    this.table = new Uint16Array(memory, offset, 1 << TABLE_BITS);
    let at = offset + 2 * (1 << TABLE_BITS);
    this.places = new Int32Array(memory, at, 1 << PLACE_BITS);
    at += 4 * (1 << PLACE_BITS);
    this.maps = new Uint32Array(memory, at, MAPS);
    this.weights = new Int32Array(memory, at + 4 * MAPS, WEIGHTS);
    this.mixer = new Mixer({ coder, maps: this.maps, weights: this.weights, inputs: INPUTS, rate: LEARNING });
  }

  /** A segment begins. */
  begin(text: ByteHistory): void {
    this.text = text;
    this.table.fill(NEVER_SEEN);
    this.maps.set(PRIOR_MAPS);
    this.places.fill(-1);
    this.weights.fill(WEIGHT_ORDERS);
    for (let i = 0; i < WEIGHTS; i += INPUTS) {
      this.weights[i + MATCH_INPUT] = WEIGHT_MATCH;
      this.weights[i + WORD_INPUT] = WEIGHT_MATCH;
    }
    this.match = -1;
    this.matchLength = 0;
    this.indexed = 0;
    this.recent = 0xff;
    this.lastUnder = 256;
    this.wordHolds = false;
    this.wordDelta = 0;
    this.wordByte = -1;
    this.wordRecent = 0;
  }

  /**
   * Codes history[position, position + count).
   * @param aligned source offset whose byte lies where this one would if nothing had moved
   */
  code(position: number, count: number, aligned: number): void {
    const { history, dictionary, dictionaryOffset } = this.text;
    for (let at = position; at < position + count; at++) {
      this.index(at);
      const place = aligned + (at - position) - dictionaryOffset;
      const inSource = place >= 0 && place < dictionary.length;
      history[at] = this.byte(
        at,
        inSource ? dictionary[place]! : 256,
        inSource && place + 1 < dictionary.length ? dictionary[place + 1]! : 0,
        history[at]!,
      );
    }
  }

  private byte(at: number, under: number, after: number, value: number): number {
    const b1 = this.at(at - 1);
    const b2 = this.at(at - 2);
    const b3 = this.at(at - 3);
    const b4 = this.at(at - 4);
    const b8 = this.at(at - 8);
    const { hashes } = this;
    const four = b1 | (b2 << 8) | (b3 << 16) | (b4 << 24);
    hashes[0] = Math.imul(b1 + 1, 0x2f0b4c47);
    hashes[1] = Math.imul((four & 0xffff) + 0x10000, 0x3d4d51cb);
    hashes[2] = Math.imul((four & 0xffffff) + 0x1000000, 0x6c8e9cf5);
    hashes[3] = Math.imul(four, 0x5851f42d) ^ 0x33333333;
    hashes[4] =
      Math.imul(Math.imul(four, 0x2c1b3c6d) + this.at(at - 5) * 256 + this.at(at - 6), 0x297a2d39) ^ 0x44444444;
    hashes[5] = Math.imul((b4 << 2) | (at & 3), 0x1b56c4e9) ^ 0x55555555;
    hashes[6] = Math.imul((b4 << 10) | (b8 << 2) | (at & 3), 0x7feb352d) ^ 0x66666666;
    hashes[7] =
      Math.imul((under << 16) | (after << 8) | (under === 256 ? b1 : this.lastUnder === b1 ? 1 : 0), 0x58f38ded) ^
      0x77777777;
    this.lastUnder = under;
    this.findMatch(at);
    const expected = this.match >= 0 ? this.place(this.match) : -1;
    this.startWord(at);
    let node = 1;
    for (let bit = 7; bit >= 0; bit--) node = (node << 1) | this.bit(node, expected, (value >>> bit) & 1);
    const coded = node & 0xff;
    this.endWord(at, coded);
    this.followMatch(at, expected, coded);
    return coded;
  }

  /**
   * Tables of offsets often differ from the base's by one and the same number: at each word the match gives the old word, and
   * the last difference is tried again.
   */
  private startWord(at: number): void {
    if ((at & 3) === 0) {
      this.wordHolds = this.match >= 0 && this.match + 3 < this.text.dictionary.length;
      this.wordByte = -1;
      if (!this.wordHolds) return;
      this.wordBase = 0;
      for (let i = 3; i >= 0; i--) this.wordBase = (this.wordBase << 8) | this.place(this.match + i);
      this.word = (this.wordBase + this.wordDelta) | 0;
    }
    this.wordByte = this.wordHolds && this.wordDelta !== 0 ? (this.word >>> (8 * (at & 3))) & 0xff : -1;
  }

  private endWord(at: number, coded: number): void {
    if (this.wordByte >= 0) this.wordRecent = ((this.wordRecent << 1) | (coded === this.wordByte ? 1 : 0)) & 7;
    if ((at & 3) !== 3 || !this.wordHolds) return;
    const now = this.at(at - 3) | (this.at(at - 2) << 8) | (this.at(at - 1) << 16) | (coded << 24);
    const difference = (now - this.wordBase) | 0;
    if (difference !== 0) this.wordDelta = difference;
  }

  /** 0 and 1 without a guess, else how the last guesses went, whether the match says otherwise, and the bit guessed. */
  private wordLevel(node: number): number {
    if (this.wordByte < 0) return 0;
    const bits = 31 - Math.clz32(node);
    if ((this.wordByte | 0x100) >> (8 - bits) !== node) return 1;
    const differs = this.match >= 0 && this.place(this.match) === this.wordByte ? 0 : 1;
    return 2 + 2 * (2 * this.wordRecent + differs) + ((this.wordByte >> (7 - bits)) & 1);
  }

  /** A match goes on behind a byte that differs: tables of offsets differ here and there. It ends when it is wrong too often. */
  private followMatch(at: number, expected: number, coded: number): void {
    if (expected < 0) return;
    const hit = expected === coded ? 1 : 0;
    this.recent = ((this.recent << 1) | hit) & 0xff;
    this.matchLength = hit === 1 ? Math.min(this.matchLength + 1, 65535) : 0;
    this.match++;
    if (
      this.match >= this.text.dictionary.length + at + 1 ||
      this.match === this.text.dictionary.length ||
      MISSES[this.recent]! > 5
    )
      this.match = -1;
  }

  private lastUnder = 256;

  private bit(node: number, expected: number, value: number): number {
    const { table, slots, hashes } = this;
    const { states } = this.mixer;
    for (let i = 0; i < ORDERS; i++) {
      const hash = Math.imul(hashes[i]! ^ Math.imul(node, 0x9e3779b1), 0x85ebca6b);
      const slot = hash >>> (32 - TABLE_BITS);
      const check = (hash & 0xff) << 8;
      if ((table[slot]! & 0xff00) !== check) table[slot] = check | NEVER_SEEN;
      slots[i] = slot;
      states[i] = i * HISTORIES + (table[slot]! & 0xff);
    }
    const level = this.matchLevel(node, expected);
    states[MATCH_INPUT] = level === 0 ? SILENT : MATCH_MAPS + level;
    const wordLevel = this.wordLevel(node);
    states[WORD_INPUT] = wordLevel < 2 ? SILENT : WORD_MAPS + wordLevel;
    const bit = this.mixer.bit(value, node, NODE_SETS + ((level + 1) >> 1));
    for (let i = 0; i < ORDERS; i++) {
      const entry = table[slots[i]!]!;
      const history = ((entry & 0x7f) << 1) | bit;
      table[slots[i]!] = (entry & 0xff00) | (history < HISTORIES ? history : (history & 0x3f) | 0x40);
    }
    return bit;
  }

  /** 0 without a match, else its length's class and the bit it predicts. */
  private matchLevel(node: number, expected: number): number {
    if (expected < 0) return 0;
    const bits = 31 - Math.clz32(node);
    if ((expected | 0x100) >> (8 - bits) !== node) return 0;
    const length = this.matchLength;
    const grade = length < 16 ? Math.min(3, length >> 2) : length < 32 ? 4 : length < 64 ? 5 : length < 400 ? 6 : 7;
    return 1 + 2 * (8 * Math.min(3, MISSES[this.recent]!) + grade) + ((expected >> (7 - bits)) & 1);
  }

  /** Puts dictionary and segment, as far as they are known, into the table of places. */
  private index(end: number): void {
    const known = this.text.dictionary.length + end;
    for (; this.indexed + MATCH_MIN < known; this.indexed++)
      this.places[this.hashAt(this.indexed)] = this.indexed + MATCH_MIN;
  }

  private findMatch(at: number): void {
    if (this.match >= 0 && this.matchLength > 0) return;
    const here = this.text.dictionary.length + at;
    if (here < MATCH_MIN) return;
    const candidate = this.places[this.hashAt(here - MATCH_MIN)]!;
    if (candidate < 0 || candidate >= here || candidate === this.match) return;
    let length = 0;
    while (
      length < 32 &&
      candidate - length > 0 &&
      this.place(candidate - 1 - length) === this.place(here - 1 - length)
    )
      length++;
    if (length < MATCH_MIN) return;
    this.match = candidate;
    this.matchLength = length;
    this.recent = 0xff;
  }

  private hashAt(place: number): number {
    let hash = 0;
    for (let i = 0; i < MATCH_MIN; i++) hash = Math.imul(hash, 0x2f0b4c47) + this.place(place + i) + 1;
    return Math.imul(hash ^ (hash >>> 15), 0x85ebca6b) >>> (32 - PLACE_BITS);
  }

  private place(place: number): number {
    const { dictionary, history } = this.text;
    return place < dictionary.length ? dictionary[place]! : history[place - dictionary.length]!;
  }

  private at(index: number): number {
    return index < 0 ? 0 : this.text.history[index]!;
  }
}
