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
];
