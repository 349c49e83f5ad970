/** How much memory the neural codec's models hold, apart from the models: a device that lacks the byte model need not load it. */

import { FRACTIONS } from './rescale.js';

/** Slots of context histories, as a power of two. */
export const TABLE_BITS = 22;
/** Slots of places that matches are looked for in, as a power of two. */
export const PLACE_BITS = 20;
/** Predictions that are mixed: hashed contexts, the match, guessed words, the source's byte under this one. */
export const ORDERS = 9;
export const WORD_GUESSES = 2;
export const INPUTS = ORDERS + 1 + WORD_GUESSES + 1;
/** Histories of a context: up to six bits behind a leading one. */
export const HISTORIES = 128;
/** Sets of mixing weights: by the bits of the byte so far, by how sure the match is, by how sure the byte under (the first: none). */
export const NODE_SETS = 256;
export const MATCH_SETS = 33;
/** What is known of the byte under, and how much of it agreed. */
export const POINTER_CONTEXTS = 64;
export const POINTER_LEVELS = 3 * POINTER_CONTEXTS;
export const WORD_LEVELS = 16;
export const MATCH_MAPS = ORDERS * HISTORIES;
export const WORD_MAPS = MATCH_MAPS + 2 * MATCH_SETS;
export const POINTER_MAPS = WORD_MAPS + 2 * WORD_GUESSES * WORD_LEVELS;
export const MAPS = POINTER_MAPS + 2 * POINTER_LEVELS;
export const WEIGHTS = INPUTS * (NODE_SETS + MATCH_SETS + 1 + POINTER_CONTEXTS);

/** Bytes of the byte model's state: histories, places of matches, probabilities, weights. */
export const BYTE_MODEL_BYTES = 2 * (1 << TABLE_BITS) + 4 * ((1 << PLACE_BITS) + MAPS + WEIGHTS);

/** Who predicts a wide element (update-experts.ts), and the distributions that are drawn from that. */
export const EXPERTS = 6;
export const WIDE_ODDS = 5;
/** Columns of a weight matrix whose updates are followed apart; further ones share. */
export const WIDE_COLUMNS = 8192;
/** Ranks of an update that are found, in matrices of so many columns at most. */
export const LOW_RANKS = 16;
export const LOW_RANK_COLUMNS = 2048;
/** Wide differences (16 and 32 bits): buckets of the expected size, nodes of the size's tree, bits below the leading one. */
export const WIDE_BUCKETS = 64;
export const WIDE_NODES = 32;
export const WIDE_TOP_BITS = 4;
export const WIDE_SIZE_INPUTS = 6;
export const WIDE_SIGN_INPUTS = 4;
export const WIDE_TOP_INPUTS = 3;
export const WIDE_SIGN_STATES = 128;
/** Sets of mixing weights. */
export const WIDE_ZERO_SETS = EXPERTS + 1;
export const WIDE_SIZE_SETS = WIDE_NODES + EXPERTS;
export const WIDE_SIGN_SETS = EXPERTS + 1;
export const WIDE_TOP_SETS = (1 << WIDE_TOP_BITS) + WIDE_BUCKETS;
export const WIDE_SIGN_MAPS = WIDE_SIZE_INPUTS * WIDE_BUCKETS * WIDE_NODES;
export const WIDE_TOP_MAPS = WIDE_SIGN_MAPS + WIDE_SIGN_INPUTS * WIDE_SIGN_STATES;
export const WIDE_MAPS = WIDE_TOP_MAPS + ((WIDE_TOP_INPUTS * WIDE_BUCKETS) << WIDE_TOP_BITS);
export const WIDE_WEIGHTS =
  (WIDE_ZERO_SETS + WIDE_SIZE_SETS) * (WIDE_SIZE_INPUTS + WIDE_ODDS) +
  WIDE_SIGN_SETS * (WIDE_SIGN_INPUTS + WIDE_ODDS) +
  WIDE_TOP_SETS * (WIDE_TOP_INPUTS + WIDE_ODDS);
export const LOW_RANK_BYTES = 8 * (LOW_RANKS + 1) * LOW_RANK_COLUMNS;
/** Sums of squares and products, errors, and how often it was seen, by column. */
export const EXPERTS_BYTES = LOW_RANK_BYTES + WIDE_COLUMNS * (2 * 8 + EXPERTS * 4 + 1);
/** And a sign by column; four bytes to begin at a multiple of eight. */
export const WIDE_MODEL_BYTES = 4 + EXPERTS_BYTES + WIDE_COLUMNS + 4 * (WIDE_MAPS + WIDE_WEIGHTS);

/** Differences of bytes: buckets of the expected size, and places in the unary code. */
export const NARROW_BUCKETS = 32;
export const NARROW_NODES = 16;
export const NARROW_INPUTS = 7;
export const NARROW_SIGN_INPUTS = 4;
export const NARROW_SIGN_STATES = 256;
export const NARROW_COLUMNS = 8192;
/** Behind those of the other inputs: by the rounding's fraction and the expected size. */
export const NARROW_FRACTION_MAPS = (NARROW_INPUTS - 1) * NARROW_BUCKETS * NARROW_NODES;
export const NARROW_SIZE_MAPS = NARROW_FRACTION_MAPS + FRACTIONS * (NARROW_BUCKETS / 4) * NARROW_NODES;
export const NARROW_MAPS = NARROW_SIZE_MAPS + NARROW_SIGN_INPUTS * NARROW_SIGN_STATES;
export const NARROW_WEIGHTS = NARROW_INPUTS * (NARROW_NODES + 1) + NARROW_SIGN_INPUTS * 2;
export const NARROW_MODEL_BYTES = 4 * (NARROW_MAPS + NARROW_WEIGHTS) + 2 * 2 * NARROW_COLUMNS;

/** Bytes of literal numbers: buckets of the expected size, contexts of each input, nodes of the byte's tree. */
export const LITERAL_BUCKETS = 32;
export const LITERAL_CONTEXTS = 64;
export const LITERAL_NODES = 256;
export const LITERAL_INPUTS = 7;
export const LITERAL_ODDS = 2;
export const LITERAL_MAPS = LITERAL_INPUTS * LITERAL_CONTEXTS * LITERAL_NODES;
export const LITERAL_WEIGHTS = (LITERAL_NODES + LITERAL_CONTEXTS) * (LITERAL_INPUTS + LITERAL_ODDS);
export const LITERAL_MODEL_BYTES = 4 * (LITERAL_MAPS + LITERAL_WEIGHTS);

/** What class 1 holds beside its contexts. */
export const MIXED_MODELS_BYTES = BYTE_MODEL_BYTES + WIDE_MODEL_BYTES + NARROW_MODEL_BYTES + LITERAL_MODEL_BYTES;
