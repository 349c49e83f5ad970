/**
 * The byte-level delta: covers target bytes that no tensor explains (container tables, moved buffers, unknown formats) with
 * copies from any source offset, byte-wise deltas where a copy almost fits (Percival, "Naive differences of executable
 * code", 2003), and literals. Greedy, one pass, bounded work a byte.
 */

import { ELEMENT_BYTE } from '../codec/elements.js';
import { chooseGuessed } from './choose-piece.js';
import { copy, delta, literal, type Piece } from './pieces.js';
import { HASHED_BYTES, type SourceIndex } from './source-index.js';
import { MAX_VIEW_BYTES, type SourceReader } from './source-reader.js';

/** A copy from elsewhere costs an op with an offset, about 5 bytes; shorter matches are noise. */
const MIN_MATCH_BYTES = 12;
/** Where the copy goes on from the last one (same distance), the op is cheap. */
const MIN_FOLLOWING_BYTES = 6;
/** Below this, guessing an element type costs more than it gains. */
const MIN_GUESS_BYTES = 2048;
/** Runs of equal bytes inside an approximate match from which a copy op of their own pays. */
const MIN_INNER_COPY_BYTES = 32;

interface Match {
  /** Indices into the region. */
  start: number;
  end: number;
  /** Source offset of the region's index 0 on this match's diagonal. */
  readonly base: number;
}

export class ByteMatcher {
  private readonly reader: SourceReader;
  private readonly index: SourceIndex;
  /** First source offset that may be read. */
  private floor = 0;

  constructor(reader: SourceReader, index: SourceIndex) {
    this.reader = reader;
    this.index = index;
  }

  /**
   * @param target the region's bytes
   * @param expected source offset at which the region would lie if nothing had moved
   * @param floor first source offset that may be read
   */
  cover(target: Uint8Array, expected: number, floor = 0): Piece[] {
    this.floor = floor;
    const matches = this.findMatches(target, expected);
    this.growApproximately(matches, target);
    const pieces: Piece[] = [];
    let at = 0;
    let base = expected;
    for (const match of matches) {
      pieces.push(...this.coverGap(target, at, match.start, base));
      this.coverMatch(target, match, pieces);
      at = match.end;
      base = match.base;
    }
    pieces.push(...this.coverGap(target, at, target.length, base));
    return pieces;
  }

  private findMatches(target: Uint8Array, expected: number): Match[] {
    const matches: Match[] = [];
    let base = expected;
    let covered = 0;
    let at = 0;
    while (at + HASHED_BYTES <= target.length) {
      const following = this.matchLength(target, at, base + at);
      let found = following >= MIN_FOLLOWING_BYTES ? base + at : -1;
      let length = following;
      if (following < 64) {
        const candidate = this.index.find(target, at);
        const elsewhere = candidate < 0 || candidate === base + at ? 0 : this.matchLength(target, at, candidate);
        if (elsewhere >= MIN_MATCH_BYTES && elsewhere > following + 8) {
          found = candidate;
          length = elsewhere;
        }
      }
      if (found < 0) {
        at++;
        continue;
      }
      const back = this.matchBackwards(target, at, found, at - covered);
      base = found - at;
      const last = matches.at(-1);
      if (last !== undefined && last.base === base && last.end === at - back) last.end = at + length;
      else matches.push({ start: at - back, end: at + length, base });
      at += length;
      covered = at;
    }
    return matches;
  }

  /** Bytes from `at` that equal the source's from `source`. */
  private matchLength(target: Uint8Array, at: number, source: number): number {
    if (source < this.floor || source >= this.reader.size) return 0;
    let length = 0;
    for (;;) {
      const bytes = this.reader.view(
        source + length,
        Math.min(length === 0 ? 64 : MAX_VIEW_BYTES, target.length - at - length),
      );
      let i = 0;
      while (i < bytes.length && bytes[i] === target[at + length + i]) i++;
      length += i;
      if (i === 0 || i < bytes.length || at + length === target.length) return length;
    }
  }

  private matchBackwards(target: Uint8Array, at: number, source: number, most: number): number {
    const limit = Math.min(most, source - this.floor, MAX_VIEW_BYTES);
    const bytes = this.reader.view(source - limit, limit);
    let length = 0;
    while (length < limit && bytes[limit - 1 - length] === target[at - 1 - length]) length++;
    return length;
  }

  /** Lets matches grow over the gaps between them as long as more than half of the bytes agree. */
  private growApproximately(matches: Match[], target: Uint8Array): void {
    for (let i = 0; i <= matches.length; i++) {
      const before = matches[i - 1];
      const after = matches[i];
      const start = before?.end ?? 0;
      const end = after?.start ?? target.length;
      if (start === end) continue;
      const forward = before === undefined ? 0 : this.grow(target, start, end, before.base, 1);
      const backward = after === undefined ? 0 : this.grow(target, start, end, after.base, -1);
      if (before !== undefined) before.end += Math.min(forward, end - start);
      if (after !== undefined) after.start -= Math.min(backward, end - (before?.end ?? start));
    }
  }

  /** How far an approximate match pays from one end of the gap [start, end): where 2 x equal - length is largest. */
  private grow(target: Uint8Array, start: number, end: number, base: number, direction: 1 | -1): number {
    const gap = Math.min(end - start, MAX_VIEW_BYTES);
    const first = direction === 1 ? start : end - gap;
    const from = Math.max(this.floor, base + first);
    const skipped = from - (base + first);
    if (skipped >= gap || from >= this.reader.size) return 0;
    const bytes = this.reader.view(from, gap - skipped);
    let score = 0;
    let best = 0;
    let bestLength = 0;
    for (let i = 0; i < gap; i++) {
      const at = direction === 1 ? i : gap - 1 - i;
      const source = at - skipped;
      if (source < 0 || source >= bytes.length) break;
      score += bytes[source] === target[first + at] ? 1 : -1;
      if (score > best) {
        best = score;
        bestLength = i + 1;
      }
      if (score < best - 64) break;
    }
    return bestLength;
  }

  private coverMatch(target: Uint8Array, match: Match, pieces: Piece[]): void {
    for (let start = match.start; start < match.end; start += MAX_VIEW_BYTES) {
      const end = Math.min(start + MAX_VIEW_BYTES, match.end);
      const source = this.reader.view(match.base + start, end - start);
      let pending = start;
      let at = start;
      while (at < end) {
        let same = at;
        while (same < end && source[same - start] === target[same]) same++;
        const whole = at === start && same === end;
        if (same - at >= MIN_INNER_COPY_BYTES || whole || ((at === start || same === end) && same - at >= 8)) {
          if (at > pending) pieces.push(delta(at - pending, match.base + pending, ELEMENT_BYTE));
          pieces.push(copy(same - at, match.base + at));
          pending = same;
        }
        at = Math.max(same, at + 1);
      }
      if (end > pending) pieces.push(delta(end - pending, match.base + pending, ELEMENT_BYTE));
    }
  }

  /** No match: still, an unknown tensor may lie here on the same diagonal. */
  private coverGap(target: Uint8Array, start: number, end: number, base: number): Piece[] {
    if (end - start < MIN_GUESS_BYTES) return end > start ? [literal(end - start)] : [];
    const pieces: Piece[] = [];
    for (let at = start; at < end; at += MAX_VIEW_BYTES) {
      const length = Math.min(MAX_VIEW_BYTES, end - at);
      const inside = base + at >= this.floor && base + at + length <= this.reader.size;
      const source = inside ? this.reader.view(base + at, length) : null;
      pieces.push(...chooseGuessed(source, base + at, target.subarray(at, at + length)));
    }
    return pieces;
  }
}
