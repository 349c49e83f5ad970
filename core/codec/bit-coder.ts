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

/** Two probabilities a context, one quick and one slow to learn; their mean is what counts (research/codec.md). */
export const QUICK_SHIFT = 4;
export const SLOW_SHIFT = 7;
/** One half, in 1/65536. */
export const EVEN = 32768;
