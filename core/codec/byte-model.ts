/**
 * The neural codec's model of bytes that are no weights: container tables, tokenizers, unknown formats. Predictions from the
 * bytes before (order 1 to 4 and 6), from 4 and 8 bytes back as in tables of words, from the base model's byte under this one
 * (source-pointer.ts), from words of the base that all moved by one number, and from the longest match, mixed by online logistic
 * regression (Mahoney, "Adaptive weighing of context models for lossless data compression", 2005; the arithmetic is that of
 * lpaq1). Integers and exact divisions only: every machine gets the same bits.
 *
 * A container's delta is a few hundred bytes, too few to learn from: the model may first learn the base's bytes around.
 *
 * Needs about 12 MiB, so it belongs to the gateway class.
 */

import type { BitCoder } from './bit-coder.js';
import { PRIOR_MAPS } from './byte-priors.js';
import { Mixer, SILENT } from './mixer.js';
import { MovedWords } from './moved-words.js';
import {
  HISTORIES,
  INPUTS,
  MAPS,
  MATCH_MAPS,
  MATCH_SETS,
  NODE_SETS,
  ORDERS,
  PLACE_BITS,
  POINTER_MAPS,
  TABLE_BITS,
  WEIGHTS,
  WORD_GUESSES,
  WORD_LEVELS,
  WORD_MAPS,
} from './neural-sizes.js';
import { type ByteHistory, NO_BYTE, SourcePointer } from './source-pointer.js';

/** Bytes that a match begins with. */
const MATCH_MIN = 5;
/** Each byte counts this times as much as the one behind it; the oldest so much. */
const HASH = 0x2f0b4c47;
const OLDEST = Math.imul(Math.imul(HASH, HASH), Math.imul(HASH, HASH));
/** Of the last eight bytes, so many may be other than the match's. */
const MATCH_MISSES = 4;
/** Contexts that need no source. */
const OWN_ORDERS = ORDERS - 2;
const MATCH_INPUT = ORDERS;
const WORD_INPUT = ORDERS + 1;
const POINTER_INPUT = WORD_INPUT + WORD_GUESSES;
/** The history of a context never seen. */
const NEVER_SEEN = 1;
const WEIGHT_ORDERS = 1800;
const WEIGHT_MATCH = 5000;
const WEIGHT_POINTER = 8000;
/** How fast weights learn: quickly where there is little, half as fast behind so many bytes, and so on. */
const LEARNING = 20;
const LEAST_LEARNING = 3;
const LEARNING_BYTES = 131072;
/** A segment's table has so many slots for each of its bytes, as a power of two: filling them must not outweigh coding it. */
const SLOTS_PER_BYTE_BITS = 7;

/** Zero bits of a byte. */
const MISSES = Uint8Array.from({ length: 256 }, (_, byte) => {
  let zeros = 0;
  for (let bit = 0; bit < 8; bit++) zeros += ((byte >> bit) & 1) ^ 1;
  return zeros;
});

const NOTHING = new Uint8Array(0);

/** For bytes that both sides know. */
const KNOWN: BitCoder = {
  encodes: true,
  bit: (_, bit) => bit,
  mixed: (_, bit) => bit,
  direct: (_, value) => value,
};

export class ByteModel {
  private readonly coder: BitCoder;
  private readonly mixer: Mixer;
  /** A check of the context above, its history below. */
  private readonly table: Uint16Array;
  private tableBits = TABLE_BITS;
  private readonly maps: Uint32Array;
  private readonly places: Int32Array;
  private placeBits = PLACE_BITS;
  private readonly weights: Int32Array;
  private readonly slots = new Int32Array(ORDERS);
  private readonly hashes = new Int32Array(ORDERS);
  private readonly pointer = new SourcePointer();
  private readonly words = new MovedWords();
  private text: ByteHistory = { dictionary: NOTHING, dictionaryOffset: 0, history: NOTHING, targetBytes: 0 };
  /** The source as if it were the segment, while it is learnt. */
  private readonly source: { -readonly [K in keyof ByteHistory]: ByteHistory[K] } = {
    dictionary: NOTHING,
    dictionaryOffset: 0,
    history: NOTHING,
    targetBytes: 0,
  };
  private isFresh = false;
  private isLearning = false;
  private indexed = 0;
  /** Bytes coded and learnt. */
  private seen = 0;
  /** Place of the byte that the match predicts, counted over dictionary and history; -1 without a match. */
  private match = -1;
  private matchLength = 0;
  /** Whether the match was right, for the last eight bytes; the latest in bit 0. */
  private recent = 0xff;
  private lastUnder = NO_BYTE;

  constructor(coder: BitCoder, memory: ArrayBuffer, offset: number) {
    this.coder = coder;
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
    this.isFresh = true;
  }

  /** What only a segment with bytes of this kind pays for. */
  private start(): void {
    if (!this.isFresh) return;
    this.isFresh = false;
    const { targetBytes, dictionary } = this.text;
    this.tableBits = Math.min(TABLE_BITS, bitsOf(targetBytes) + SLOTS_PER_BYTE_BITS);
    this.placeBits = Math.min(PLACE_BITS, bitsOf(dictionary.length + targetBytes));
    this.table.fill(NEVER_SEEN, 0, 1 << this.tableBits);
    this.places.fill(-1, 0, 1 << this.placeBits);
    this.maps.set(PRIOR_MAPS);
    this.weights.fill(WEIGHT_ORDERS);
    for (let i = 0; i < WEIGHTS; i += INPUTS) {
      this.weights.fill(WEIGHT_MATCH, i + MATCH_INPUT, i + POINTER_INPUT);
      this.weights[i + POINTER_INPUT] = WEIGHT_POINTER;
    }
    this.pointer.begin();
    this.words.begin();
    this.loseMatch();
    this.indexed = 0;
    this.seen = 0;
    this.lastUnder = NO_BYTE;
  }

  /**
   * Codes history[position, position + count).
   * @param aligned source offset whose byte lies where this one would if nothing had moved
   */
  code(position: number, count: number, aligned: number): void {
    this.start();
    const { history, dictionaryOffset } = this.text;
    this.pointer.place(position, aligned - dictionaryOffset);
    for (let at = position; at < position + count; at++) history[at] = this.byte(at, history[at]!);
    this.pointer.leave(position + count, aligned - dictionaryOffset + count);
  }

  /** Learns `count` source bytes from the offset on, as far as the dictionary has them. */
  learn(sourceOffset: number, count: number): void {
    this.start();
    const { text, source, indexed } = this;
    const start = sourceOffset - text.dictionaryOffset;
    source.history = text.dictionary;
    this.text = source;
    this.isLearning = true;
    this.mixer.bits = KNOWN;
    const first = Math.max(0, start);
    this.indexed = first;
    for (let at = first; at < Math.min(text.dictionary.length, start + count); at++) this.byte(at, source.history[at]!);
    this.indexed = indexed;
    this.mixer.bits = this.coder;
    this.isLearning = false;
    this.text = text;
    this.loseMatch();
    this.words.lose();
  }

  private loseMatch(): void {
    this.match = -1;
    this.matchLength = 0;
    this.recent = 0xff;
  }

  private byte(at: number, value: number): number {
    this.index(at);
    const { pointer, text } = this;
    if (!this.isLearning) pointer.realign(at, text, this.match, this.matchLength, this.recent);
    const under = this.isLearning ? NO_BYTE : pointer.byte(at, text, 0);
    this.hashContexts(at, under);
    this.findMatch(at);
    const expected = this.match >= 0 ? this.place(this.match) : -1;
    if ((at & 3) === 0) this.startWord();
    this.words.startByte(at);
    this.mixer.learning = Math.max(
      LEAST_LEARNING,
      Math.floor((LEARNING * LEARNING_BYTES) / (LEARNING_BYTES + this.seen)),
    );
    const context = pointer.context(at, under);
    let node = 1;
    for (let bit = 7; bit >= 0; bit--)
      node = (node << 1) | this.bit(node, expected, under, context, (value >>> bit) & 1);
    const coded = node & 0xff;
    this.words.endByte(coded, at, text.history);
    this.followMatch(at, expected, coded);
    if (!this.isLearning) pointer.follow(at, text, under, coded);
    this.seen++;
    return coded;
  }

  private hashContexts(at: number, under: number): void {
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
    if (this.isLearning) return;
    const after = this.pointer.byte(at, this.text, 1);
    hashes[7] =
      Math.imul((under << 16) | (after << 8) | (under === NO_BYTE ? b1 : this.lastUnder === b1 ? 1 : 0), 0x58f38ded) ^
      0x77777777;
    hashes[8] = Math.imul((under << 8) | b1, 0x1f83d9ab) ^ 0x12345678;
    this.lastUnder = under;
  }

  /** The base's word under this one: the match's, or where there is none the pointer's. */
  private startWord(): void {
    const { dictionary } = this.text;
    const { match } = this;
    const matches = this.matchLength > 0 && match >= 0 && match + 3 < dictionary.length;
    this.words.startWord(dictionary, this.isLearning ? -1 : matches ? match : this.pointer.at);
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
      MISSES[this.recent]! > MATCH_MISSES
    )
      this.match = -1;
  }

  private bit(node: number, expected: number, under: number, context: number, value: number): number {
    const { table, slots, hashes } = this;
    const { states } = this.mixer;
    const orders = this.isLearning ? OWN_ORDERS : ORDERS;
    for (let i = 0; i < orders; i++) {
      const hash = Math.imul(hashes[i]! ^ Math.imul(node, 0x9e3779b1), 0x85ebca6b);
      const slot = hash >>> (32 - this.tableBits);
      const check = (hash & 0xff) << 8;
      if ((table[slot]! & 0xff00) !== check) table[slot] = check | NEVER_SEEN;
      slots[i] = slot;
      states[i] = i * HISTORIES + (table[slot]! & 0xff);
    }
    states.fill(SILENT, orders);
    const level = this.matchLevel(node, expected);
    if (level > 0) states[MATCH_INPUT] = MATCH_MAPS + level;
    for (let guess = 0; guess < WORD_GUESSES; guess++) {
      const wordLevel = this.words.level(guess, node, under);
      if (wordLevel >= 0) states[WORD_INPUT + guess] = WORD_MAPS + 2 * WORD_LEVELS * guess + wordLevel;
    }
    const pointerLevel = this.pointer.level(context, node, under);
    if (pointerLevel >= 0) states[POINTER_INPUT] = POINTER_MAPS + pointerLevel;
    const pointerSet = NODE_SETS + MATCH_SETS + (pointerLevel < 0 ? 0 : 1 + context);
    const bit = this.mixer.bit(value, node, NODE_SETS + ((level + 1) >> 1), pointerSet);
    for (let i = 0; i < orders; i++) {
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
    const { dictionary } = this.text;
    const known = dictionary.length + end;
    const inDictionary = Math.min(known, dictionary.length + 1);
    if (this.indexed + MATCH_MIN < inDictionary) this.indexDictionary(dictionary, inDictionary - MATCH_MIN);
    for (; this.indexed + MATCH_MIN < known; this.indexed++)
      this.places[this.hashAt(this.indexed)] = this.indexed + MATCH_MIN;
  }

  /** Places before `end`: `hashAt` of all of them, each from the one before it. */
  private indexDictionary(dictionary: Uint8Array, end: number): void {
    const { places } = this;
    const shift = 32 - this.placeBits;
    let sum = this.sumAt(this.indexed);
    places[spread(sum) >>> shift] = this.indexed + MATCH_MIN;
    for (let at = this.indexed + 1; at < end; at++) {
      const gone = Math.imul(dictionary[at - 1]! + 1, OLDEST);
      sum = Math.imul(sum - gone, HASH) + dictionary[at + MATCH_MIN - 1]! + 1;
      places[spread(sum) >>> shift] = at + MATCH_MIN;
    }
    this.indexed = end;
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
    return spread(this.sumAt(place)) >>> (32 - this.placeBits);
  }

  private sumAt(place: number): number {
    let sum = 0;
    for (let i = 0; i < MATCH_MIN; i++) sum = Math.imul(sum, HASH) + this.place(place + i) + 1;
    return sum;
  }

  private place(place: number): number {
    const { dictionary, history } = this.text;
    return place < dictionary.length ? dictionary[place]! : history[place - dictionary.length]!;
  }

  private at(index: number): number {
    return index < 0 ? 0 : this.text.history[index]!;
  }
}

function spread(sum: number): number {
  return Math.imul(sum ^ (sum >>> 15), 0x85ebca6b);
}

/** Binary digits of a number. */
function bitsOf(count: number): number {
  return 32 - Math.clz32(count);
}
