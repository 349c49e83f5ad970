/** Brings the tensors a reader found into the order and shape ModelLayout promises. Knows nothing of any format. */

import { ModelFormatError } from '../errors.js';
import type { Tensor } from './model.js';

/**
 * In file order; tensors with the same range become one entry, named by the first given, the others its aliases.
 * `found`: ranges inside the file, none empty. Throws ModelFormatError for two that overlap without being the same.
 */
export function inFileOrder(found: readonly Tensor[]): Tensor[] {
  const ordered: Tensor[] = [];
  let aliases: string[] = [];
  // Array.prototype.sort is stable: where ranges are equal, the order given stays.
  for (const tensor of [...found].sort((a, b) => a.offset - b.offset)) {
    const before = ordered[ordered.length - 1];
    if (before === undefined || before.offset + before.length <= tensor.offset) {
      aliases = [...tensor.aliases];
      ordered.push({ ...tensor, aliases });
    } else if (before.offset === tensor.offset && before.length === tensor.length) {
      aliases.push(tensor.name, ...tensor.aliases);
    } else {
      throw new ModelFormatError(
        `expected tensors to be apart or the same, got ${before.length} bytes at ${before.offset} and ${tensor.length} at ${tensor.offset}`,
        tensor.offset,
      );
    }
  }
  return ordered;
}
