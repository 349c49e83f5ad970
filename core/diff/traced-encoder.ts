/** A range encoder that remembers what was coded under which context, for core/diff/train-priors.ts. */

import { RangeEncoder } from './range-encoder.js';

export class TracedEncoder extends RangeEncoder {
  private steps = new Uint32Array(1 << 16);
  private length = 0;

  /** 2 x context + bit, of the payload under way; a view, valid until the next bit. */
  get trace(): Uint32Array {
    return this.steps.subarray(0, this.length);
  }

  override begin(): void {
    super.begin();
    this.length = 0;
  }

  override bit(context: number, bit: number): number {
    if (this.length === this.steps.length) {
      const longer = new Uint32Array(2 * this.length);
      longer.set(this.steps);
      this.steps = longer;
    }
    this.steps[this.length++] = 2 * context + bit;
    return super.bit(context, bit);
  }
}
