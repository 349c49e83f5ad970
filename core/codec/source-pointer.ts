/**
 * Which byte of the base lies under the one to come, where things were put in and taken out: the byte model's place in the
 * source, which looks around when it is wrong and goes where a long match is. Without a source it keeps to the segment so far:
 * a tokenizer's merges are its tokens once more, each with a space put in.
 */

import { POINTER_CONTEXTS } from './neural-sizes.js';

/** What the model may look at besides the bytes it has coded. */
export interface ByteHistory {
  /** Source bytes, and where in the source they begin. */
  readonly dictionary: Uint8Array;
  readonly dictionaryOffset: number;
  /** The segment so far is history[0, position). */
  readonly history: Uint8Array;
  /** How long it will be. */
  readonly targetBytes: number;
}

/** For a byte where there is none. */
export const NO_BYTE = 256;

/** How far around it looks, by how many bytes it judges, and how much better another place must be. */
const WINDOW = 64;
const FIT_BYTES = 12;
const FIT_MARGIN = 6;
/** A byte that fits; zeros fit everywhere. */
const FIT = 4;
const FIT_ZERO = 1;
/** Length of a match to go to, and of one without a source while so many of the last eight bytes were wrong. */
const LONG_MATCH = 20;
const SOME_MATCH = 8;
const MANY_MISSES = 5;
/** How much of a byte agreed already: nothing, a few bits, more. */
export const STAGES = 3;

export class SourcePointer {
  /** Place of the byte under the next one, counted over dictionary and history; may lie outside. */
  at = -1;
  /** Whether it was right, for the last eight bytes; the latest in bit 0. */
  private recent = 0xff;
  private nextPosition = -1;
  private nextPlace = -1;
  /** The byte that was other than the one under it, just before; -1 where it was the same. */
  private missed = -1;
  /** By byte: 1 if it was put in, when it came last, 0 if it stood for another. */
  private readonly inserts = new Uint8Array(256);

  begin(): void {
    this.at = -1;
    this.recent = 0xff;
    this.nextPosition = -1;
    this.missed = -1;
    this.inserts.fill(0);
  }

  /** Bytes from `position` on are to come, over `place`; what goes on where the last ones ended leaves it as it is. */
  place(position: number, place: number): void {
    if (position === this.nextPosition && place === this.nextPlace) return;
    this.at = place;
    this.recent = 0xff;
    this.missed = -1;
  }

  leave(position: number, place: number): void {
    this.nextPosition = position;
    this.nextPlace = place;
  }

  /** The byte under `position`, or one further on. */
  byte(position: number, { dictionary, history }: ByteHistory, ahead: number): number {
    const place = this.at + ahead;
    if (place < 0 || place >= dictionary.length + position) return NO_BYTE;
    return place < dictionary.length ? dictionary[place]! : history[place - dictionary.length]!;
  }

  /** Goes to where the bytes before `position` fit best, if they do not here. */
  realign(position: number, text: ByteHistory, match: number, matchLength: number, matchRecent: number): void {
    const { length } = text.dictionary;
    const isLong = matchLength >= LONG_MATCH;
    const isBetter = length === 0 && matchLength >= SOME_MATCH && this.misses() >= MANY_MISSES;
    if (match >= 0 && match !== this.at && (length === 0 || match < length) && (isLong || isBetter)) {
      this.at = match;
      this.recent = matchRecent;
      this.missed = -1;
    } else if (length > 0 && (position & 3) === 0 && position >= FIT_BYTES && this.recent !== 0xff)
      this.lookAround(position, text);
  }

  private lookAround(position: number, text: ByteHistory): void {
    const from = this.at;
    let best = fit(position, from, text, -1) + FIT_MARGIN;
    for (let place = from - WINDOW; place <= from + WINDOW; place++) {
      const score = fit(position, place, text, best);
      if (score <= best) continue;
      best = score;
      this.at = place;
    }
    if (this.at === from) return;
    this.recent = 0;
    for (let back = 8; back >= 1; back--)
      this.recent = (this.recent << 1) | (text.dictionary[this.at - back] === text.history[position - back] ? 1 : 0);
  }

  private misses(): number {
    let misses = 0;
    for (let bit = 0; bit < 8; bit++) misses += ((this.recent >> bit) & 1) ^ 1;
    return misses;
  }

  /** The byte came. */
  follow(position: number, text: ByteHistory, under: number, coded: number): void {
    const hit = under === coded ? 1 : 0;
    this.recent = ((this.recent << 1) | hit) & 0xff;
    if (text.dictionary.length > 0) this.at++;
    else this.followInserts(position, text, hit, coded);
  }

  /** Behind a byte that differs it takes that for put in or changed, as when it came last; the next byte tells. */
  private followInserts(position: number, text: ByteHistory, hit: number, coded: number): void {
    const { missed } = this;
    if (hit === 0 && missed < 0) {
      this.missed = coded;
      if (this.inserts[coded] === 0) this.at++;
      return;
    }
    this.missed = -1;
    if (hit === 0) {
      const other = this.inserts[missed] === 1 ? 1 : -1;
      if (this.byte(position, text, other) === coded) {
        this.inserts[missed] = other === 1 ? 0 : 1;
        this.at += other;
        this.recent |= 1;
      }
    }
    this.at++;
  }

  /** How likely the byte under this one is right: place in a word, whether it is zero, how it went 1, 4 and 8 bytes ago. */
  context(position: number, under: number): number {
    const { recent } = this;
    return (
      ((position & 3) << 4) |
      (under === 0 ? 8 : 0) |
      ((recent & 1) << 2) |
      (((recent >> 3) & 1) << 1) |
      ((recent >> 7) & 1)
    );
  }

  /** -1 where it says nothing of the bit at `node`, else the context, how much of the byte agreed, and the bit it predicts. */
  level(context: number, node: number, under: number): number {
    if (under === NO_BYTE) return -1;
    const bits = 31 - Math.clz32(node);
    if ((under | 0x100) >> (8 - bits) !== node) return -1;
    const stage = bits === 0 ? 0 : bits < 4 ? 1 : 2;
    return 2 * (STAGES * context + stage) + ((under >> (7 - bits)) & 1);
  }
}

/** In how far the bytes before `position` are those before a place in the source; anything up to `least` where that is no more. */
function fit(position: number, place: number, { dictionary, history }: ByteHistory, least: number): number {
  if (place < FIT_BYTES || place > dictionary.length) return -1;
  let score = 0;
  for (let back = 1; back <= FIT_BYTES; back++) {
    const byte = history[position - back]!;
    if (dictionary[place - back] === byte) score += byte === 0 ? FIT_ZERO : FIT;
    else if (score + FIT * (FIT_BYTES - back) <= least) return score;
  }
  return score;
}

/** That the byte under is wrong, before anything was learnt, by level / 2. */
export const POINTER_WRONG = Float64Array.from({ length: POINTER_CONTEXTS * STAGES }, (_, i) => {
  const context = Math.floor(i / STAGES);
  const misses = 3 - ((context & 1) + ((context >> 1) & 1) + ((context >> 2) & 1));
  const hundredths = (context < 16 ? 4 : 1) * (1 + 2 * misses);
  const tenths = [10, 7, 5][i % STAGES]! * ((context & 8) !== 0 ? 4 : 10);
  return (hundredths * tenths) / 10000;
});
