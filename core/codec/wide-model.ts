/**
 * The gateway class's model of numbers of 16 and 32 bits that were something else before: weights, biases. Experts predict the
 * value (update-experts.ts); the difference to the best one's, in units of the last place, is coded as zero or not, sign, size
 * and top bits. Each of these bits is mixed from what the experts' distributions say of it (interval-odds.ts) and from how
 * differences went under the same expectations before.
 */

import type { BitCoder } from './bit-coder.js';
import { IntervalOdds } from './interval-odds.js';
import { Mixer, mapEntry, WEIGHT_ONE } from './mixer.js';
import {
  EXPERTS,
  EXPERTS_BYTES,
  WIDE_BUCKETS,
  WIDE_COLUMNS,
  WIDE_MAPS,
  WIDE_NODES,
  WIDE_ODDS,
  WIDE_SIGN_INPUTS,
  WIDE_SIGN_MAPS,
  WIDE_SIGN_SETS,
  WIDE_SIGN_STATES,
  WIDE_SIZE_INPUTS,
  WIDE_SIZE_SETS,
  WIDE_TOP_BITS,
  WIDE_TOP_INPUTS,
  WIDE_TOP_MAPS,
  WIDE_TOP_SETS,
  WIDE_WEIGHTS,
  WIDE_ZERO_SETS,
} from './neural-sizes.js';
import { UpdateExperts, VOICES } from './update-experts.js';
import { ValueScale } from './value-scale.js';

const SIZE_RATE = 20;
const SIGN_RATE = 12;
const TOP_RATE = 12;
const COUNT_LIMIT = 255;
/** Two sets' weights of an input are added. */
const WEIGHT = Math.floor(WEIGHT_ONE * 0.075);
const TOP_WEIGHT = Math.floor(WEIGHT_ONE * 0.025);
/** The distribution beside the experts' own: the best one's in row and column both. */
const IN_ROW_AND_COLUMN = VOICES.length;
/** Spreads are no less than this part of the distance of neighbouring values. */
const HEARD = 4;
const LEAST_SPREAD = 1 / 16;
/** Bucket of an expected difference of one unit. */
const BUCKET_ONE = 10;
/** Signs as contexts: plus, minus, none yet. */
const NO_SIGN = 2;
const LEAST_UNIT = 2 ** -149;
/** 2 ** i: where i is no constant, V8 calls the C library for it. */
const POWERS = Float64Array.from({ length: 33 }, (_, i) => 2 ** i);

export class WideModel {
  private readonly coder: BitCoder;
  private readonly maps: Uint32Array;
  private readonly weights: Int32Array;
  private readonly topWeights: Int32Array;
  private readonly columnSigns: Uint8Array;
  private readonly experts: UpdateExperts;
  private readonly odds = new IntervalOdds(WIDE_ODDS);
  private readonly scale = new ValueScale();
  private readonly zero: Mixer;
  private readonly sizes: Mixer;
  private readonly signs: Mixer;
  private readonly tops: Mixer;
  /** Contexts of the element under way. */
  private readonly contexts = new Int32Array(WIDE_SIZE_INPUTS);
  /** What the difference is taken to, in order and as a value. */
  private centre = 0;
  private side = 1;
  private lastSign = NO_SIGN;
  private beforeSign = NO_SIGN;
  private readonly float = new Float32Array(1);
  private readonly floatBits = new Int32Array(this.float.buffer);

  constructor(coder: BitCoder, memory: ArrayBuffer, offset: number) {
    this.coder = coder;
    const at = (offset + 7) & ~7;
    this.experts = new UpdateExperts(memory, at);
    const signsAt = at + EXPERTS_BYTES;
    this.columnSigns = new Uint8Array(memory, signsAt, WIDE_COLUMNS);
    this.maps = new Uint32Array(memory, signsAt + WIDE_COLUMNS, WIDE_MAPS);
    this.weights = new Int32Array(memory, signsAt + WIDE_COLUMNS + 4 * WIDE_MAPS, WIDE_WEIGHTS);
    let used = 0;
    const mixer = (inputs: number, sets: number, rate: number): Mixer => {
      const weights = this.weights.subarray(used, used + sets * (inputs + WIDE_ODDS));
      used += weights.length;
      return new Mixer({ coder, maps: this.maps, weights, inputs, odds: WIDE_ODDS, rate, countLimit: COUNT_LIMIT });
    };
    this.zero = mixer(WIDE_SIZE_INPUTS, WIDE_ZERO_SETS, SIZE_RATE);
    this.sizes = mixer(WIDE_SIZE_INPUTS, WIDE_SIZE_SETS, SIZE_RATE);
    this.signs = mixer(WIDE_SIGN_INPUTS, WIDE_SIGN_SETS, SIGN_RATE);
    this.topWeights = this.weights.subarray(used);
    this.tops = mixer(WIDE_TOP_INPUTS, WIDE_TOP_SETS, TOP_RATE);
  }

  /** A segment begins. */
  begin(): void {
    this.maps.fill(mapEntry(0.5, 0));
    this.weights.fill(WEIGHT);
    const inputs = WIDE_TOP_INPUTS + WIDE_ODDS;
    for (let i = 0; i < this.topWeights.length; i++) if (i % inputs < WIDE_TOP_INPUTS) this.topWeights[i] = TOP_WEIGHT;
    this.beginOp(1, 0);
  }

  /** An op begins at `column` of rows of `columns` elements. */
  beginOp(columns: number, column: number): void {
    this.experts.beginOp(columns, column);
    this.lastSign = NO_SIGN;
    this.beforeSign = NO_SIGN;
    this.columnSigns.fill(NO_SIGN, 0, Math.min(columns, WIDE_COLUMNS));
  }

  /** Passes over elements that are known not to differ. */
  skip(count: number): void {
    this.experts.skip(count);
  }

  /** Codes an element of the type, where the source has `before`; both as bits. */
  element(type: number, before: number, now: number): number {
    const { scale, experts } = this;
    scale.use(type);
    const source = scale.toOrdered(before);
    const old = scale.value(source);
    const best = experts.predict(old);
    // Of the old weight rather than what it rounds to: not every element is a number.
    this.centre = best === 0 ? source : scale.nearest(experts.expected[best]!);
    const centre = scale.value(this.centre);
    const unit = this.unitAt(this.centre);
    this.describe(best, unit);
    const target = scale.toOrdered(now);
    let coded = this.centre;
    const isHit = this.zeroBit(best, target === coded ? 1 : 0) === 1;
    if (!isHit) {
      this.signBit(best, old, centre, unit, target < coded ? 1 : 0);
      const distance = this.distance(best, target > coded ? target - coded : coded - target);
      coded += this.side * distance;
      // A hostile payload may lead anywhere.
      coded = scale.top === 0xffff ? coded & 0xffff : coded >>> 0;
    }
    experts.learn(scale.value(coded), isHit ? best : -1, isHit ? unit : this.unitAt(coded));
    return scale.toBits(coded);
  }

  /** How far the next value is. */
  private unitAt(place: number): number {
    const { scale } = this;
    return Math.max(LEAST_UNIT, scale.value(Math.min(scale.top, place + 1)) - scale.value(place));
  }

  /** Spreads of the distributions, and contexts. */
  private describe(best: number, unit: number): void {
    const { experts, odds, contexts, scale } = this;
    const { expected, near, far, inColumn, isColumnSeen } = experts;
    const least = unit * LEAST_SPREAD;
    const heard = HEARD * (near[best]! + inColumn[best]!);
    for (let voice = 0; voice < VOICES.length; voice++) {
      const i = VOICES[voice]!;
      const error = near[i]! + inColumn[i]!;
      const isSilent = i >= experts.count || error > heard;
      odds.set(voice, expected[i]!, isSilent ? 0 : Math.max(least, isColumnSeen ? error / 2 : near[i]!));
    }
    const separable = isColumnSeen && far[best]! > 0 ? (near[best]! * inColumn[best]!) / far[best]! : near[best]!;
    odds.set(IN_ROW_AND_COLUMN, expected[best]!, Math.max(least, separable));
    const nearBucket = this.bucketOf(near[best]! / unit);
    const columnBucket = isColumnSeen ? this.bucketOf(inColumn[best]! / unit) : nearBucket;
    contexts[0] = nearBucket;
    contexts[1] = this.bucketOf(far[best]! / unit);
    contexts[2] = columnBucket;
    contexts[3] = (nearBucket & ~7) | (columnBucket >> 3);
    contexts[4] = Math.floor(this.centre / POWERS[scale.fractionBits]!) & (WIDE_BUCKETS - 1);
    contexts[5] = best;
  }

  private zeroBit(best: number, value: number): number {
    const { zero, contexts } = this;
    for (let i = 0; i < WIDE_SIZE_INPUTS; i++) zero.states[i] = (i * WIDE_BUCKETS + contexts[i]!) * WIDE_NODES;
    this.side = -1;
    const below = this.edge(1);
    this.side = 1;
    this.odds.centreOdds(below, this.edge(1), zero.odds);
    return zero.bit(value, best, EXPERTS);
  }

  private signBit(best: number, old: number, centre: number, unit: number, value: number): void {
    const { signs, experts, columnSigns, contexts } = this;
    const { slot } = experts;
    const around = 3 * this.lastSign + this.beforeSign;
    const negative = old < 0 ? 1 : 0;
    const off = old - centre > unit / 2 ? 2 : centre - old > unit / 2 ? 1 : 0;
    signs.states[0] = WIDE_SIGN_MAPS + WIDE_BUCKETS * negative + contexts[0]!;
    signs.states[1] = WIDE_SIGN_MAPS + WIDE_SIGN_STATES + 27 * negative + 9 * off + around;
    signs.states[2] = WIDE_SIGN_MAPS + 2 * WIDE_SIGN_STATES + 9 * negative + 3 * columnSigns[slot]! + this.lastSign;
    signs.states[3] = WIDE_SIGN_MAPS + 3 * WIDE_SIGN_STATES + 3 * EXPERTS * negative + 3 * best + off;
    this.odds.signOdds(signs.odds);
    const sign = signs.bit(value, best, EXPERTS);
    this.beforeSign = this.lastSign;
    this.lastSign = sign;
    columnSigns[slot] = sign;
    this.side = sign === 1 ? -1 : 1;
  }

  /** Codes a distance from the centre, at least 1: its size, top bits, and the others as they are. */
  private distance(best: number, value: number): number {
    const { coder, scale, odds } = this;
    const short = scale.top === 0xffff;
    odds.begin(this.side, this.edge(1), this.edge(short ? 2 ** 16 : 2 ** 32));
    const size = this.size(best, value < 1 ? 0 : 31 - Math.clz32(value), short ? 3 : 4);
    let distance = POWERS[size]!;
    let left = size;
    for (let node = 1; left > 0 && left > size - WIDE_TOP_BITS; ) {
      left--;
      const bit = this.topBit(size, node, distance + POWERS[left]!, (value >>> left) & 1);
      node = (node << 1) | bit;
      if (bit === 1) distance += POWERS[left]!;
    }
    while (left > 0) {
      const run = Math.min(left, 16);
      left -= run;
      distance += coder.direct(run, (value >>> left) & ((1 << run) - 1)) * POWERS[left]!;
    }
    return distance;
  }

  private size(best: number, value: number, highest: number): number {
    const { sizes, contexts, odds } = this;
    let node = 1 << (4 - highest);
    let size = 0;
    for (let bit = highest; bit >= 0; bit--) {
      odds.cut(this.edge(POWERS[size + (1 << bit)]!), sizes.odds);
      for (let i = 0; i < WIDE_SIZE_INPUTS; i++)
        sizes.states[i] = (i * WIDE_BUCKETS + contexts[i]!) * WIDE_NODES + node;
      const coded = sizes.bit((value >> bit) & 1, node, WIDE_NODES + best);
      odds.take(coded);
      node = (node << 1) | coded;
      size += coded << bit;
    }
    return size;
  }

  private topBit(size: number, node: number, cut: number, value: number): number {
    const { tops, odds, contexts } = this;
    const against = Math.max(0, Math.min(WIDE_BUCKETS - 1, 2 * size - contexts[0]! + WIDE_BUCKETS / 2));
    odds.cut(this.edge(cut), tops.odds);
    tops.states[0] = WIDE_TOP_MAPS + (size << WIDE_TOP_BITS) + node;
    tops.states[1] = WIDE_TOP_MAPS + ((WIDE_BUCKETS + contexts[0]!) << WIDE_TOP_BITS) + node;
    tops.states[2] = WIDE_TOP_MAPS + ((2 * WIDE_BUCKETS + against) << WIDE_TOP_BITS) + node;
    const bit = tops.bit(value, node, (1 << WIDE_TOP_BITS) + against);
    odds.take(bit);
    return bit;
  }

  /** The value between the elements at a distance from the centre and one nearer; beyond the last element, that one's. */
  private edge(distance: number): number {
    const { scale, side } = this;
    const place = this.centre + side * distance;
    if (place <= 0) return scale.value(0);
    if (place >= scale.top) return scale.value(scale.top);
    return (scale.value(place) + scale.value(place - side)) / 2;
  }

  /** In about half powers of two. */
  private bucketOf(ratio: number): number {
    this.float[0] = ratio;
    // What is no number has none of the places below.
    if (!(ratio >= 0)) return 0;
    return Math.max(0, Math.min(WIDE_BUCKETS - 1, (this.floatBits[0]! >> 22) - 2 * 127 + BUCKET_ONE));
  }
}
