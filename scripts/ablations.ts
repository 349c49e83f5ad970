/** Ideas of the neural codec, each with the edits of the production source that switch it off on both sides. */

import type { Edit } from '../hil-tests/support/edit.js';

export interface Ablation {
  readonly name: string;
  readonly edits: readonly Edit[];
}

const LIMITS = 'core/limits.ts';
const GATEWAY_SEGMENTS = 'segmentBytes: 1048576';
const MCU_SEGMENTS = 'frameBytes: 1024, segmentBytes: 16384';

function without(name: string, ...edits: readonly (readonly [file: string, from: string, to: string])[]): Ablation {
  return { name: `without ${name}`, edits: edits.map(([file, from, to]) => ({ file, from, to })) };
}

export const ABLATIONS: readonly Ablation[] = [
  { name: 'everything', edits: [] },
  without(
    'contexts of how large differences are nearby (gateway)',
    ['core/codec/wide-model.ts', 'this.float[0] = ratio;', 'if (ratio >= 0) return 0;'],
    [
      'core/codec/narrow-model.ts',
      'function bucketOf(mean: number): number {',
      'function bucketOf(mean: number): number { if (mean >= 0) return 0;',
    ],
  ),
  without('what several predictions say of each bit (gateway)', [
    'core/codec/wide-model.ts',
    'const isSilent = i >= experts.count || error > heard;',
    'const isSilent = true;',
  ]),
  without('scales of channels of floats (gateway)', [
    'core/codec/update-experts.ts',
    'const value = this.old * scale;',
    'const value = this.old;',
  ]),
  without('updates of low rank (gateway)', [
    'core/codec/low-rank.ts',
    'this.isActive = columns >= FEWEST_COLUMNS && columns <= LOW_RANK_COLUMNS;',
    'this.isActive = false;',
  ]),
  without(
    'scale prediction of quantised tensors',
    ['core/diff/plan-segment.ts', 'const type = rescaleType(tensor);', 'return null;'],
    [
      'core/diff/plan-segment.ts',
      'if (base === null || base.offset < segment.floor',
      'if (segment.start >= 0 || base === null || base.offset < segment.floor',
    ],
  ),
  without(
    'two probabilities a context, quick and slow (gateway)',
    ['core/codec/bit-coder.ts', 'QUICK_SHIFT = 4', 'QUICK_SHIFT = 5'],
    ['core/codec/bit-coder.ts', 'SLOW_SHIFT = 7', 'SLOW_SHIFT = 5'],
  ),
  without('a quick rate while a context is young (mcu)', [
    'core/codec/context-state.ts',
    '(seen < YOUNG_BITS ? 2 * seen + 1 : 0)',
    '(seen < 0 ? 1 : 0)',
  ]),
  without('the zero mode', ['core/diff/neural-encoder.ts', 'return changed <= most;', 'return false;']),
  without("a patch's own priors (mcu)", [
    'core/diff/encode-body.ts',
    'const priors = isTrained ? trainPriors(options) : NO_PRIORS;',
    'const priors = NO_PRIORS;',
  ]),
  without(
    'any priors (mcu)',
    ['core/codec/default-priors.ts', '{ length: TEXT.length / 2 }', '{ length: 0 }'],
    [
      'core/diff/encode-body.ts',
      'const priors = isTrained ? trainPriors(options) : NO_PRIORS;',
      'const priors = NO_PRIORS;',
    ],
  ),
  ...[4, 16, 64, 256].map((kib) => ({
    name: `segments of ${kib} KiB`,
    edits: [
      { file: LIMITS, from: GATEWAY_SEGMENTS, to: `segmentBytes: ${kib * 1024}` },
      { file: LIMITS, from: MCU_SEGMENTS, to: `frameBytes: 1024, segmentBytes: ${kib * 1024}` },
    ],
  })),
];
