/** Ideas of the neural codec, each with the edits of the production source that switch it off on both sides. */

import type { Edit } from '../hil-tests/support/edit.js';

export interface Ablation {
  readonly name: string;
  readonly edits: readonly Edit[];
}

const LIMITS = 'core/limits.ts';
const GATEWAY_SEGMENTS = 'segmentBytes: 1048576';
const MCU_SEGMENTS = 'frameBytes: 1024, segmentBytes: 16384';

export const ABLATIONS: readonly Ablation[] = [
  { name: 'everything', edits: [] },
  ...[4, 16, 64, 256].map((kib) => ({
    name: `segments of ${kib} KiB`,
    edits: [
      { file: LIMITS, from: GATEWAY_SEGMENTS, to: `segmentBytes: ${kib * 1024}` },
      { file: LIMITS, from: MCU_SEGMENTS, to: `frameBytes: 1024, segmentBytes: ${kib * 1024}` },
    ],
  })),
  {
    name: 'no priors of a patch (class 0)',
    edits: [
      {
        file: 'core/diff/encode-body.ts',
        from: 'isTrained ? trainPriors(options) : NO_PRIORS',
        to: 'isTrained ? NO_PRIORS : NO_PRIORS',
      },
    ],
  },
  {
    name: 'no default priors (class 0)',
    edits: [{ file: 'core/codec/default-priors.ts', from: 'length: TEXT.length / 2', to: 'length: 0' }],
  },
];
