/**
 * Finds target tensors that are a source tensor in another element type: an fp32 model released as fp16, its int8 export, Q8_0
 * quantised again to Q4_0. Looked for only where matchTensors found nothing of the same type. Encoder side only.
 */

import {
  CAST_BF16,
  CAST_BLOCKS,
  CAST_F16,
  CAST_F32,
  CAST_I4,
  CAST_I8,
  CAST_I32,
  CAST_Q2_K,
  CAST_Q3_K,
  CAST_Q4_0,
  CAST_Q4_1,
  CAST_Q4_K,
  CAST_Q5_0,
  CAST_Q5_1,
  CAST_Q5_K,
  CAST_Q6_K,
  CAST_Q8_0,
  CAST_RUN,
  type CastTypes,
  castRun,
} from '../codec/cast.js';
import type { DType, Tensor } from '../formats/model.js';
import type { ByteSource } from '../ports.js';
import { castScales } from './cast-scales.js';
import { type ModelToMatch, matchTensors } from './match-tensors.js';

/** Most source tensors that one target is compared with. */
const CANDIDATES = 64;
/** Runs of CAST_RUN elements that are compared, spread over the tensor. */
const SAMPLE_RUNS = 8;
/** Share of predicted bytes that must be right: unrelated weights agree in a few of a hundred bytes. */
const LEAST_AGREEMENT = 0.3;

const TYPE_OF: Partial<Record<DType, number>> = {
  f32: CAST_F32,
  f16: CAST_F16,
  bf16: CAST_BF16,
  q8_0: CAST_Q8_0,
  q4_0: CAST_Q4_0,
  q4_1: CAST_Q4_1,
  q5_0: CAST_Q5_0,
  q5_1: CAST_Q5_1,
};

const RESCALE_TYPE_OF: Partial<Record<DType, number>> = {
  i8: CAST_I8,
  u8: CAST_I8,
  i32: CAST_I32,
  q8_0: CAST_Q8_0,
  q4_0: CAST_Q4_0,
  q4_1: CAST_Q4_1,
  q5_0: CAST_Q5_0,
  q5_1: CAST_Q5_1,
  q2_k: CAST_Q2_K,
  q3_k: CAST_Q3_K,
  q4_k: CAST_Q4_K,
  q5_k: CAST_Q5_K,
  q6_k: CAST_Q6_K,
  i4: CAST_I4,
};

/** How `source` would have to be cast to predict `target`; null where no cast of ours does that. */
export function castTypes(source: Tensor, target: Tensor): CastTypes | null {
  const from = TYPE_OF[source.dtype];
  const to = target.scales.length === 0 ? TYPE_OF[target.dtype] : scaledType(target.dtype);
  if (from === undefined || to === undefined || from === to) return null;
  return elementCount(source, from) === elementCount(target, to) ? { from, to } : null;
}

/** How to tell a new version of the tensor through its scales: the type from and to, or null where it has none. */
export function rescaleType({ dtype, scales }: Tensor): number | null {
  // Bytes without a scale are no weights; int8 may have scales that no container names.
  return dtype === 'u8' && scales.length === 0 ? null : (RESCALE_TYPE_OF[dtype] ?? null);
}

function scaledType(dtype: DType): number | undefined {
  return dtype === 'i8' || dtype === 'u8' ? CAST_I8 : dtype === 'i32' ? CAST_I32 : undefined;
}

function elementCount(tensor: Tensor, type: number): number {
  const { elements, bytes } = CAST_BLOCKS[type]!;
  return (tensor.length / bytes) * elements;
}

/** For each target tensor the source tensor it is a new version of, or else a cast of, or null. */
export function matchBases(source: ModelToMatch, target: ModelToMatch): (Tensor | null)[] {
  const bases = matchTensors(source, target);
  const casts = matchCasts(source, target, bases);
  return bases.map((base, i) => base ?? casts[i] ?? null);
}

/** For each of the target's vectors of scales the one it is a new version of, or null. */
export function matchScaleVectors(source: ModelToMatch, target: ModelToMatch): (Tensor | null)[] {
  const vectorsOf = ({ layout, bytes }: ModelToMatch): ModelToMatch => ({
    layout: { ...layout, tensors: layout.scaleVectors ?? [] },
    bytes,
  });
  return matchTensors(vectorsOf(source), vectorsOf(target));
}

/** For each target tensor that `bases` leaves open, the source tensor it is a cast of, or null. */
export function matchCasts(
  source: ModelToMatch,
  target: ModelToMatch,
  bases: readonly (Tensor | null)[],
): (Tensor | null)[] {
  const sources = source.layout.tensors;
  const byName = new Map(sources.map((tensor) => [tensor.name, tensor]));
  const byElements = new Map<number, Tensor[]>();
  for (const tensor of sources) {
    const type = TYPE_OF[tensor.dtype];
    if (type === undefined) continue;
    const elements = elementCount(tensor, type);
    byElements.set(elements, [...(byElements.get(elements) ?? []), tensor].slice(0, CANDIDATES));
  }
  return target.layout.tensors.map((tensor, i) => {
    if (bases[i] !== null) return null;
    const type = TYPE_OF[tensor.dtype] ?? scaledType(tensor.dtype);
    if (type === undefined) return null;
    const namesake = byName.get(tensor.name);
    const candidates = byElements.get(elementCount(tensor, type)) ?? [];
    let best: Tensor | null = null;
    let most = LEAST_AGREEMENT;
    for (const candidate of namesake === undefined ? candidates : [namesake, ...candidates]) {
      const agreement = agreementOf(candidate, source.bytes, tensor, target.bytes);
      if (agreement <= most) continue;
      most = agreement;
      best = candidate;
    }
    return best;
  });
}

/** Share of sampled target bytes that the cast predicts. */
function agreementOf(source: Tensor, sourceBytes: ByteSource, target: Tensor, targetBytes: ByteSource): number {
  const types = castTypes(source, target);
  if (types === null) return 0;
  const from = CAST_BLOCKS[types.from]!;
  const to = CAST_BLOCKS[types.to]!;
  const runs = Math.ceil(elementCount(target, types.to) / CAST_RUN);
  let same = 0;
  let compared = 0;
  for (let sample = 0; sample < Math.min(SAMPLE_RUNS, runs); sample++) {
    const first = Math.floor((sample * runs) / Math.min(SAMPLE_RUNS, runs)) * CAST_RUN;
    const elements = Math.min(CAST_RUN, elementCount(target, types.to) - first);
    const input = readRun(
      sourceBytes,
      source.offset + (first / from.elements) * from.bytes,
      (elements / from.elements) * from.bytes,
    );
    const actual = readRun(
      targetBytes,
      target.offset + (first / to.elements) * to.bytes,
      (elements / to.elements) * to.bytes,
    );
    const predicted = new Uint8Array(actual.length);
    const scales = castScales(target, types.to, first, elements);
    castRun(types, input, predicted, scales, scales?.phase ?? 0);
    for (let i = 0; i < actual.length; i++) if (predicted[i] === actual[i]) same++;
    compared += actual.length;
  }
  return same / compared;
}

function readRun(source: ByteSource, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  source.read(offset, bytes);
  return bytes;
}
