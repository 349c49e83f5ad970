/**
 * The one interface between the models and the range coder, both ways round: a model says which context a bit belongs to, and
 * gets the bit back. Models are then written once and cannot disagree between encoder and decoder.
 */

export interface BitCoder {
  /** Whether values handed in count: what costs time to find out need not be looked for when decoding. */
  readonly encodes: boolean;
  /** Codes one bit under an adaptive context. `bit` is what to encode; a decoder ignores it. Returns the bit. */
  bit(context: number, bit: number): number;
  /** Codes one bit under a probability from elsewhere: `zero` / 4096 that it is 0, within [1, 4095]. */
  mixed(zero: number, bit: number): number;
  /** Codes `count` <= 24 bits as they are, most significant first. */
  direct(count: number, value: number): number;
}

/** One half, in 1/65536: what a context of the gateway class begins with. */
export const EVEN = 32768;
/** Bits that such a context counts: with each it moves by 1 / (n + 1.5), so that a segment of a few ops learns from the first of them. */
export const COUNT_LIMIT = 127;
/** 1 / (n + 1.5) in 1/65536, by bits seen. No probability comes nearer to 0 than 1/4096 by these. */
export const COUNT_RATES = Uint16Array.from({ length: COUNT_LIMIT + 1 }, (_, n) => Math.floor(131072 / (2 * n + 3)));
