/**
 * What several Laplace distributions say of a search by halving: which part of an interval a value lies in. Distances from a
 * centre, on one side of it; every distribution has a place and a spread of its own. Doubles and + - * / alone.
 */

import { SILENT } from './mixer.js';

/** The tail e^-t at steps of 1/32 up to 24, where nothing is left that counts. */
const SPAN = 24;
const STEPS = 32;
const STEP_RATIO = 0.9692332344763441;
const TAIL = new Float64Array(SPAN * STEPS + 2);
for (let i = 0, tail = 1; i < TAIL.length; i++, tail *= STEP_RATIO) TAIL[i] = tail;
/** Less probability than this tells nothing. */
const LEAST = 1e-12;

/** That a variable of mean absolute value 1 is above t. */
function survival(t: number): number {
  const size = t < 0 ? -t : t;
  // So that what is no number counts as far off, too.
  if (!(size < SPAN)) return t > 0 ? 0 : 1;
  const place = size * STEPS;
  const step = place | 0;
  const from = TAIL[step]!;
  const tail = (from + (TAIL[step + 1]! - from) * (place - step)) / 2;
  return t < 0 ? 1 - tail : tail;
}

export class IntervalOdds {
  private readonly means: Float64Array;
  private readonly inverses: Float64Array;
  /** That the value lies beyond the interval's near end, its far end, and where it is cut. */
  private near: Float64Array;
  private far: Float64Array;
  private middle: Float64Array;
  private readonly count: number;
  private side = 1;

  constructor(count: number) {
    this.count = count;
    this.means = new Float64Array(count);
    this.inverses = new Float64Array(count);
    this.near = new Float64Array(count);
    this.far = new Float64Array(count);
    this.middle = new Float64Array(count);
  }

  /** @param spread mean absolute deviation; 0 silences the distribution */
  set(index: number, mean: number, spread: number): void {
    this.means[index] = mean;
    this.inverses[index] = spread > 0 ? 1 / spread : 0;
  }

  /** Odds that the value lies between the two; and, for `signOdds`, below the one and above the other. */
  centreOdds(below: number, above: number, odds: Int32Array): void {
    const { means, inverses, near, far } = this;
    for (let i = 0; i < this.count; i++) {
      near[i] = survival((above - means[i]!) * inverses[i]!);
      far[i] = survival((means[i]! - below) * inverses[i]!);
      odds[i] = inverses[i] === 0 ? SILENT : inParts(Math.max(0, 1 - near[i]! - far[i]!));
    }
  }

  /** Odds that it lies below, given that it does not lie between. */
  signOdds(odds: Int32Array): void {
    for (let i = 0; i < this.count; i++) {
      const whole = this.near[i]! + this.far[i]!;
      odds[i] = this.inverses[i] === 0 || !(whole > LEAST) ? SILENT : inParts(this.far[i]! / whole);
    }
  }

  /** The value lies on this side of the centre, 1 above or -1 below it, between two ends. */
  begin(side: number, near: number, far: number): void {
    this.side = side;
    this.survivals(near, this.near);
    this.survivals(far, this.far);
  }

  /** Odds that it lies beyond `cut`. */
  cut(cut: number, odds: Int32Array): void {
    const { near, far, middle } = this;
    this.survivals(cut, middle);
    for (let i = 0; i < this.count; i++) {
      const whole = near[i]! - far[i]!;
      odds[i] = whole > LEAST ? inParts((middle[i]! - far[i]!) / whole) : SILENT;
    }
  }

  /** Goes on with the part beyond the last cut, or the one before it. */
  take(beyond: number): void {
    // The cut is that end now, and the end's memory takes the next cut.
    const { middle } = this;
    if (beyond === 1) {
      this.middle = this.near;
      this.near = middle;
    } else {
      this.middle = this.far;
      this.far = middle;
    }
  }

  private survivals(edge: number, out: Float64Array): void {
    const { means, inverses, side } = this;
    for (let i = 0; i < this.count; i++)
      out[i] = inverses[i] === 0 ? 0 : survival(side * (edge - means[i]!) * inverses[i]!);
  }
}

/** In 1/4096, within 0 to 4095. */
function inParts(probability: number): number {
  return Math.max(0, Math.min(4095, (probability * 4096) | 0));
}
