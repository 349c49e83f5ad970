/**
 * The gateway class's model of whole numbers of one byte, and of wider ones byte by byte, with nothing to predict them from: how
 * large they are goes by those just before, by the last hundred, and by the tensor.
 */

import type { BitCoder } from './bit-coder.js';
import { ELEMENT_BYTES, ELEMENT_INT8 } from './elements.js';
import { IntervalOdds } from './interval-odds.js';
import { Mixer, mapEntry, WEIGHT_ONE } from './mixer.js';
import {
  LITERAL_BUCKETS,
  LITERAL_CONTEXTS,
  LITERAL_INPUTS,
  LITERAL_MAPS,
  LITERAL_NODES,
  LITERAL_ODDS,
  LITERAL_WEIGHTS,
} from './neural-sizes.js';

const RATE = 8;
const COUNT_LIMIT = 1023;
const WEIGHT = Math.floor(WEIGHT_ONE * 0.09);
/** The input whose contexts are of this op alone. */
const OWN = LITERAL_INPUTS - 1;

export class LiteralModel {
  private readonly maps: Uint32Array;
  private readonly weights: Int32Array;
  private readonly mixer: Mixer;
  private readonly odds = new IntervalOdds(LITERAL_ODDS);
  private readonly contexts = new Int32Array(LITERAL_INPUTS);
  /** Running means of |number|: of the last few in 1/16, of about a hundred in 1/128. */
  private near = 0;
  private far = 0;
  private last = 0;
  private before = 0;
  /** Bytes of the op so far, as a place in its elements. */
  private place = 0;

  constructor(coder: BitCoder, memory: ArrayBuffer, offset: number) {
    this.maps = new Uint32Array(memory, offset, LITERAL_MAPS);
    this.weights = new Int32Array(memory, offset + 4 * LITERAL_MAPS, LITERAL_WEIGHTS);
    this.mixer = new Mixer({
      coder,
      maps: this.maps,
      weights: this.weights,
      inputs: LITERAL_INPUTS,
      odds: LITERAL_ODDS,
      rate: RATE,
      countLimit: COUNT_LIMIT,
    });
  }

  begin(): void {
    this.maps.fill(mapEntry(0.5, 0));
    this.weights.fill(WEIGHT);
    this.near = 16 * 32;
    this.far = 128 * 32;
    this.beginOp();
  }

  beginOp(): void {
    const own = OWN * LITERAL_CONTEXTS * LITERAL_NODES;
    this.maps.fill(mapEntry(0.5, 0), own, own + LITERAL_CONTEXTS * LITERAL_NODES);
    this.last = 0;
    this.before = 0;
    this.place = 0;
  }

  /** Codes the next byte of an element of the type. */
  byte(type: number, value: number): number {
    const { contexts, odds, mixer } = this;
    const width = ELEMENT_BYTES[type]!;
    const plane = type === ELEMENT_INT8 ? 0 : 1 + this.place;
    const near = bucketOf(this.near >> 2);
    const far = bucketOf(this.far >> 5);
    contexts[0] = plane;
    contexts[1] = plane === 0 ? near : LITERAL_BUCKETS + plane;
    contexts[2] = plane === 0 ? far : LITERAL_BUCKETS + plane;
    contexts[3] = this.last >> 2;
    contexts[4] = ((this.last >> 5) << 3) | (this.before >> 5);
    contexts[5] = plane === 0 ? ((near >> 2) << 3) | (far >> 2) : 0;
    contexts[OWN] = plane;
    const modelled = plane === 0 ? 1 : 0;
    odds.set(0, 0, modelled * (this.near / 16 + 0.25));
    odds.set(1, 0, modelled * (this.far / 128 + 0.25));
    odds.begin(1, -128.5, 127.5);
    let node = 1;
    let low = -128;
    for (let bit = 7; bit >= 0; bit--) {
      odds.cut(low + (1 << bit) - 0.5, mixer.odds);
      for (let i = 0; i < LITERAL_INPUTS; i++)
        mixer.states[i] = (i * LITERAL_CONTEXTS + contexts[i]!) * LITERAL_NODES + node;
      const coded = mixer.bit(((value ^ 0x80) >> bit) & 1, node, LITERAL_NODES + contexts[1]!);
      odds.take(coded);
      node = (node << 1) | coded;
      low += coded << bit;
    }
    if (plane === 0) {
      const size = low < 0 ? -low : low;
      this.near += (16 * size - this.near) >> 3;
      this.far += (128 * size - this.far) >> 7;
    }
    this.before = this.last;
    this.last = low & 0xff;
    this.place = this.place + 1 === width ? 0 : this.place + 1;
    return low & 0xff;
  }
}

/** Of a mean in quarters: fine near zero, then by quarter powers of two. */
function bucketOf(mean: number): number {
  if (mean < 8) return mean;
  const power = 31 - Math.clz32(mean);
  return Math.min(LITERAL_BUCKETS - 1, 8 + 4 * (power - 3) + ((mean >> (power - 2)) & 3));
}
