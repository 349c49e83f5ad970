/**
 * Tables of offsets often differ from the base's by one and the same number, here and there by another: for each word of the
 * segment over one of the base, the last two differences are tried again.
 */

import { WORD_GUESSES } from './neural-sizes.js';

/** Bytes of a guess that came right or not, of which the last ones are remembered. */
const RECORD = 7;

export class MovedWords {
  private holds = false;
  private base = 0;
  /** Differences, the latest first; 0 where there was none yet. */
  private readonly deltas = new Int32Array(WORD_GUESSES);
  private readonly guesses = new Int32Array(WORD_GUESSES);
  private readonly failed = new Uint8Array(WORD_GUESSES);
  private readonly records = new Uint8Array(WORD_GUESSES);
  /** What each guess says of the byte to come; -1 for nothing. */
  private readonly bytes = new Int32Array(WORD_GUESSES);

  begin(): void {
    this.deltas.fill(0);
    this.records.fill(0);
    this.lose();
  }

  /** Until a word begins there are no guesses. */
  lose(): void {
    this.holds = false;
    this.bytes.fill(-1);
  }

  /** @param place of the word in the dictionary that this one is a new version of; outside for none */
  startWord(dictionary: Uint8Array, place: number): void {
    this.holds = place >= 0 && place + 3 < dictionary.length;
    if (!this.holds) return;
    this.base = wordAt(dictionary, place);
    for (let i = 0; i < WORD_GUESSES; i++) this.guesses[i] = this.base + this.deltas[i]!;
    this.failed.fill(0);
  }

  startByte(at: number): void {
    for (let i = 0; i < WORD_GUESSES; i++) {
      const says = this.holds && this.deltas[i] !== 0 && this.failed[i] === 0;
      this.bytes[i] = says ? (this.guesses[i]! >>> (8 * (at & 3))) & 0xff : -1;
    }
  }

  /** The byte at `at` of the segment came. */
  endByte(coded: number, at: number, history: Uint8Array): void {
    for (let i = 0; i < WORD_GUESSES; i++) {
      if (this.bytes[i]! < 0) continue;
      const hit = coded === this.bytes[i] ? 1 : 0;
      this.failed[i] = 1 - hit;
      this.records[i] = ((this.records[i]! << 1) | hit) & RECORD;
    }
    if ((at & 3) !== 3 || !this.holds) return;
    const before = history[at - 3]! | (history[at - 2]! << 8) | (history[at - 1]! << 16);
    const difference = ((before | (coded << 24)) - this.base) | 0;
    if (difference === 0 || difference === this.deltas[0]) return;
    this.deltas[1] = this.deltas[0]!;
    this.deltas[0] = difference;
    const record = this.records[0]!;
    this.records[0] = this.records[1]!;
    this.records[1] = record;
  }

  /** -1 where a guess says nothing of the bit at `node`, else its record, whether the byte `under` is another, the bit guessed. */
  level(guess: number, node: number, under: number): number {
    const byte = this.bytes[guess]!;
    if (byte < 0) return -1;
    const bits = 31 - Math.clz32(node);
    if ((byte | 0x100) >> (8 - bits) !== node) return -1;
    return 2 * (2 * this.records[guess]! + (under === byte ? 0 : 1)) + ((byte >> (7 - bits)) & 1);
  }
}

function wordAt(bytes: Uint8Array, place: number): number {
  return bytes[place]! | (bytes[place + 1]! << 8) | (bytes[place + 2]! << 16) | (bytes[place + 3]! << 24);
}
