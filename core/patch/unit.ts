/**
 * Units of an in-place patch (SPEC.md, "In place"): the target in runs of unitBytes, each of which is decoded whole while
 * the source bytes from its own start on are still there, and then written over them.
 */

import type { PatchHeader } from './header.js';

type Units = Pick<PatchHeader, 'unitBytes' | 'targetSize'>;

/**
 * A unit's hash, the first bytes of its SHA-256: it is there to notice flash that decays, a chance of 1 in 2^32 not to; who made
 * the unit's bytes is what frames and signature say, and the target's whole hash has the last word.
 */
export const UNIT_HASH_BYTES = 4;

/** Where the unit that holds `targetOffset` begins: source bytes before it are gone by then. 0 where nothing is written over. */
export function unitStart(targetOffset: number, unitBytes: number): number {
  return unitBytes === 0 ? 0 : targetOffset - (targetOffset % unitBytes);
}

/** Whether a unit of an in-place patch ends at `targetOffset`, which is not 0. */
export function isUnitEnd(targetOffset: number, { unitBytes, targetSize }: Units): boolean {
  return unitBytes !== 0 && (targetOffset % unitBytes === 0 || targetOffset === targetSize);
}

/** Whether a copied run is whole units that already hold what they are to hold: they are left alone and carry no hash. */
export function isKeptRun(targetOffset: number, sourceOffset: number, length: number, patch: Units): boolean {
  const { unitBytes } = patch;
  if (unitBytes === 0 || length === 0 || sourceOffset !== targetOffset || targetOffset % unitBytes !== 0) return false;
  return isUnitEnd(targetOffset + length, patch);
}
