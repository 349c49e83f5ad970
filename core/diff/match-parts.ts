/** Tensors of the target that are parts of old ones, put together in another way. Encoder side only. */

import type { Tensor } from '../formats/model.js';
import { matchSlices, type TensorPart } from './match-slices.js';
import type { ModelToMatch } from './match-tensors.js';
import { matchTransposed } from './match-transposed.js';

/** For each target tensor the parts that cover it, in file order, or null; `bases` as from matchBases. */
export function matchParts(
  source: ModelToMatch,
  target: ModelToMatch,
  bases: readonly (Tensor | null)[],
): (readonly TensorPart[] | null)[] {
  const transposed = matchTransposed(source, target, bases);
  const slices = matchSlices(source, target, bases);
  return transposed.map((parts, i) => parts ?? slices[i] ?? null);
}
