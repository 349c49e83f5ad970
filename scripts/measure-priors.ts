/** What the contexts of decode class 0 see in version pairs, and the default priors that suit them best. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CONTEXT_LAYOUTS } from '../core/codec/context-layout.js';
import { PRIOR_LEVELS, PRIOR_UNKNOWN } from '../core/codec/priors.js';
import { measureContexts } from '../core/diff/encode-body.js';
import { matchBases, matchScaleVectors } from '../core/diff/match-casts.js';
import { matchParts } from '../core/diff/match-parts.js';
import { listOf } from '../core/diff/train-priors.js';
import { readLayout } from '../core/formats/detect.js';
import { MemorySource } from '../core/memory-source.js';
import type { Compressor } from '../core/ports.js';

/** Pairs made by script from one half of other pairs. */
export const SYNTHETIC = 'synth';
/** Pairs whose names begin so share data. */
const FAMILIES = [
  'mww',
  'dig100',
  'mlperf-kws',
  'mlperf-resnet',
  'mlperf-vww',
  'mlperf-ad',
  'silero',
  'espdl',
  'mp-',
  SYNTHETIC,
  'tflm',
  'llama-vocab',
];
const PRIORS = PRIOR_UNKNOWN + 1;
/** Defaults stay unsure: what a model is like that nobody has seen, they can only guess. */
const SUREST = 2 * PRIOR_LEVELS.length;
/** What a default must gain, as a share of a family's patches, to be worth its byte in every device's bundle. */
const LEAST_SHARE = 1e-4;

/** Decode class 0 does without. */
const NO_ZSTD: Compressor = {
  compress() {
    throw new Error('expected no zstd segments in the mcu profile');
  },
};

export interface Measured {
  readonly name: string;
  readonly family: string;
  readonly costs: Int32Array;
  /** Of all bits under contexts, with no defaults. */
  readonly total: number;
}

interface Pair {
  readonly name: string;
  readonly format: string;
}

/** All pairs of the folder. @param onPair called before each */
export function measurePairs(folder: string, onPair: (name: string) => void = () => {}): Measured[] {
  const pairs = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as Pair[];
  return pairs.map((pair) => {
    onPair(pair.name);
    return measure(folder, pair);
  });
}

export function familyOf(name: string): string {
  return FAMILIES.find((prefix) => name.startsWith(prefix)) ?? name;
}

function measure(from: string, { name, format }: Pair): Measured {
  const [source, target] = ['old', 'new'].map(
    (age) => new MemorySource(readFileSync(join(from, name, `${age}.${format}`))),
  );
  const layouts = { source: readLayout(source!), target: readLayout(target!) };
  const models = [
    { layout: layouts.source, bytes: source! },
    { layout: layouts.target, bytes: target! },
  ] as const;
  const bases = matchBases(...models);
  const trainer = measureContexts(
    {
      source: source!,
      target: target!,
      targetLayout: layouts.target,
      bases,
      parts: matchParts(...models, bases),
      scaleBases: matchScaleVectors(...models),
      profile: 'mcu',
      level: 3,
      neural: true,
      compressor: NO_ZSTD,
      spool: { size: 0, append: () => {}, read: () => {} },
    },
    1,
  );
  return { name, family: familyOf(name), costs: trainer.costs, total: trainer.total };
}

/** The prior that suits each context best over the pairs, and its gain as a share. */
function best(from: readonly Measured[]): { priors: Uint8Array; gains: Float64Array } {
  const sums = new Float64Array(from[0]!.costs.length);
  for (const { costs, total, family } of from) {
    const weight = 1 / (total * from.filter((other) => other.family === family).length);
    for (let i = 0; i < sums.length; i++) sums[i]! += weight * costs[i]!;
  }
  const { contexts } = CONTEXT_LAYOUTS[0]!;
  const priors = new Uint8Array(contexts).fill(PRIOR_UNKNOWN);
  const gains = new Float64Array(contexts);
  for (let context = 0; context < contexts; context++) {
    const at = context * PRIORS;
    for (let prior = 0; prior < SUREST; prior++)
      if (sums[at + prior]! < sums[at + priors[context]!]!) priors[context] = prior;
    gains[context] = sums[at + PRIOR_UNKNOWN]! - sums[at + priors[context]!]!;
  }
  return { priors, gains };
}

/** As in a header, behind its first byte. */
export function defaultsFrom(from: readonly Measured[]): number[] {
  const { priors, gains } = best(from);
  return listOf(priors, gains, LEAST_SHARE).bytes;
}
