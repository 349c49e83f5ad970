/**
 * Where the changed elements of a difference lie, when they are few: how many unchanged ones come before each. A decoder then
 * copies what did not change and only decodes what did (SPEC.md, "Sparse differences").
 *
 * A gap is coded as floor(log2(gap + 1)) through a bit tree, under that of the gap before, its top bit below the leading one
 * under the same size, and the rest as they are: gaps between independent changes are geometrically distributed, and such a tree
 * is within a few hundredths of their entropy.
 */

import type { BitCoder } from './bit-coder.js';
import type { ContextLayout } from './context-layout.js';

/** Bits of the largest gap's size: more elements than any segment has. */
export const GAP_SIZE_BITS = 5;
/** No segment has gaps that need more; a hostile payload may say so and gets some other number. */
const MOST_DIRECT_BITS = 24;

export class SparseModel {
  private readonly coder: BitCoder;
  private readonly layout: ContextLayout;
  private before = 0;

  constructor(coder: BitCoder, layout: ContextLayout) {
    this.coder = coder;
    this.layout = layout;
  }

  /** An op begins. */
  begin(): void {
    this.before = 0;
  }

  /** Codes a number of unchanged elements, below 2^25. */
  gap(value: number): number {
    const { coder, layout } = this;
    const size = this.size(31 - Math.clz32(value + 1));
    this.before = size;
    if (size === 0) return 0;
    const leading = (1 << size) >>> 0;
    const below = value + 1 - leading;
    const rest = Math.min(size - 1, MOST_DIRECT_BITS);
    const top = coder.bit(layout.gapTop + size, (below >>> rest) & 1);
    return leading + (top << rest) + coder.direct(rest, below & ((1 << rest) - 1)) - 1;
  }

  private size(value: number): number {
    const { coder, layout } = this;
    const context = layout.gapSize + (Math.min(this.before, layout.gapsBefore - 1) << GAP_SIZE_BITS);
    let node = 1;
    for (let bit = GAP_SIZE_BITS - 1; bit >= 0; bit--)
      node = (node << 1) | coder.bit(context + node, (value >> bit) & 1);
    return node - (1 << GAP_SIZE_BITS);
  }
}
