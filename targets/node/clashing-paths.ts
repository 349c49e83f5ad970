/** Pairs of one batch that would write over each other: what came out would depend on who was first. */

import { realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Input } from './api-types.js';
import { isSystemError } from './io-error.js';

interface Paths {
  readonly source: Input | null;
  readonly target: Input;
  readonly output: string;
}

/** An output that is an input of its own pair is left to createPatch. @throws RangeError */
export function refuseClashingPaths(pairs: readonly Paths[]): void {
  const writers = new Map<string, number>();
  pairs.forEach(({ output }, i) => {
    const place = placeOf(output);
    const other = writers.get(place);
    if (other !== undefined) throw new RangeError(`pairs[${i}].output: ${output} is also that of pairs[${other}]`);
    writers.set(place, i);
  });
  pairs.forEach(({ source, target }, i) => {
    for (const input of [source, target]) {
      const writer = typeof input === 'string' ? writers.get(realPath(input)) : undefined;
      if (writer === undefined || writer === i) continue;
      throw new RangeError(`pairs[${writer}].output: ${pairs[writer]!.output} is an input of pairs[${i}]`);
    }
  });
}

/** Where an output will lie: a link at its own name is replaced, links on the way are followed. */
function placeOf(output: string): string {
  const path = resolve(output);
  return join(realPath(dirname(path)), basename(path));
}

function realPath(path: string): string {
  try {
    return realpathSync.native(path);
  } catch (error) {
    if (isSystemError(error)) return resolve(path);
    throw error;
  }
}
