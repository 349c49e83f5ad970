/** What a patch does, segment by segment and tensor by tensor, for people who wonder why it is as large as it is. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readLayout } from '../../core/formats/detect.js';
import { OP_CAST, OP_COPY, OP_DELTA } from '../../core/patch/segment.js';
import type { ByteSource } from '../../core/ports.js';
import type { Input, PatchExplanation, SegmentOps, TensorOps } from './api-types.js';
import { applyPatch } from './apply-patch.js';
import { forEachFrame } from './frame-chain.js';
import { readPreamble, withInput, withOptionalInput } from './inputs.js';
import type { Task } from './task.js';
import { type TargetRun, walkSegments } from './walk-segments.js';

export interface ExplainArguments {
  readonly patch: Input;
  /** null: which tensors the target has, and what lies behind a dictionary, stays unknown. */
  readonly source: Input | null;
}

/** @throws InvalidPatch, SourceHashMismatch, IoError */
export function explainPatch(
  { patch: patchInput, source: sourceInput }: ExplainArguments,
  task: Task,
): PatchExplanation {
  return withInput(patchInput, (patch) => {
    const preamble = readPreamble(patch);
    forEachFrame(patch, preamble, () => task.throwIfAborted());
    const known = sourceInput !== null || preamble.header.standalone;
    const tally = known ? targetTally({ patch: patchInput, source: sourceInput }, task) : null;
    const segments: SegmentOps[] = [];
    withOptionalInput(sourceInput, (source) => {
      walkSegments(patch, preamble, source, (segment, runs) => {
        task.throwIfAborted();
        segments.push(segment);
        for (const run of runs ?? []) tally?.add(run);
      });
    });
    return { segments, tensors: tally?.totals() ?? null };
  });
}

/** The target's tensors are known only from the target: decodes it into a temporary file. */
function targetTally(inputs: ExplainArguments, task: Task): TensorTally {
  const folder = mkdtempSync(join(tmpdir(), 'mallorn-'));
  try {
    const output = join(folder, 'target');
    applyPatch({ ...inputs, output, publicKey: null }, task);
    return withInput(output, (target) => new TensorTally(target));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Target bytes by tensor and op kind. Runs come in target order, tensors lie in file order. */
class TensorTally {
  private readonly ends: number[];
  private readonly starts: number[];
  private readonly tensors: Mutable<TensorOps>[];
  private readonly outside: Mutable<TensorOps> = { ...NOTHING, name: '', dtype: '', shape: [] };
  private next = 0;

  constructor(target: ByteSource) {
    const layout = readLayout(target);
    this.starts = layout.tensors.map(({ offset }) => offset);
    this.ends = layout.tensors.map(({ offset, length }) => offset + length);
    this.tensors = layout.tensors.map(({ name, dtype, shape }) => ({ ...NOTHING, name, dtype, shape }));
  }

  add({ kind, start, length }: TargetRun): void {
    const end = start + length;
    for (let at = start; at < end; ) {
      while (this.next < this.tensors.length && this.ends[this.next]! <= at) this.next++;
      const tensorStart = this.starts[this.next] ?? Number.POSITIVE_INFINITY;
      const inside = at >= tensorStart;
      const stop = Math.min(end, inside ? this.ends[this.next]! : tensorStart);
      const row = inside ? this.tensors[this.next]! : this.outside;
      if (kind === OP_COPY) row.copiedBytes += stop - at;
      else if (kind === OP_DELTA) row.deltaBytes += stop - at;
      else if (kind === OP_CAST) row.castBytes += stop - at;
      else row.literalBytes += stop - at;
      at = stop;
    }
  }

  totals(): TensorOps[] {
    return [...this.tensors, this.outside];
  }
}

const NOTHING = { copiedBytes: 0, deltaBytes: 0, castBytes: 0, literalBytes: 0 };
