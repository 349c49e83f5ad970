/** What the byte model takes histories, matches, the byte under and guessed words to mean before anything was learnt. */

import { mapEntry } from './mixer.js';
import {
  HISTORIES,
  MAPS,
  MATCH_MAPS,
  MATCH_SETS,
  ORDERS,
  POINTER_MAPS,
  WORD_GUESSES,
  WORD_LEVELS,
  WORD_MAPS,
} from './neural-sizes.js';
import { POINTER_WRONG } from './source-pointer.js';

/** That a guessed word's byte is right. */
const WORD_RIGHT = 0.85;

export const PRIOR_MAPS = new Uint32Array(MAPS);

// Histories count their bits, the last one twice.
for (let history = 1; history < HISTORIES; history++) {
  const length = 31 - Math.clz32(history);
  let ones = 0;
  for (let bit = 0; bit < length; bit++) ones += (history >> bit) & 1;
  const last = length > 0 ? history & 1 : 0;
  const one = (ones + last + 0.4) / (length + (length > 0 ? 1 : 0) + 0.8);
  for (let order = 0; order < ORDERS; order++)
    PRIOR_MAPS[order * HISTORIES + history] = mapEntry(one, length === 0 ? 30 : 6);
}

// Matches are mostly right, long ones more often. Level 0 is none.
for (let level = 1; level < 2 * MATCH_SETS; level++) {
  const grade = ((level - 1) >> 1) & 7;
  const misses = (level - 1) >> 4;
  const right = 1 - 1 / ((8 << grade) >> (2 * misses) || 2);
  PRIOR_MAPS[MATCH_MAPS + level] = mapEntry((level - 1) & 1 ? right : 1 - right, 6);
}

for (let level = 0; level < 2 * WORD_LEVELS * WORD_GUESSES; level++)
  PRIOR_MAPS[WORD_MAPS + level] = mapEntry(level & 1 ? WORD_RIGHT : 1 - WORD_RIGHT, 4);

POINTER_WRONG.forEach((wrong, i) => {
  PRIOR_MAPS[POINTER_MAPS + 2 * i] = mapEntry(wrong, 12);
  PRIOR_MAPS[POINTER_MAPS + 2 * i + 1] = mapEntry(1 - wrong, 12);
});
