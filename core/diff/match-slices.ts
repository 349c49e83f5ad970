/**
 * Tensors that grew or shrank along one axis: which rows or channels of the old one the new one still has, where some were put in
 * or taken out (a longer vocabulary, a class more, filters pruned), trained on or not. Encoder side only.
 *
 * Slices keep their order, so that one pass over both finds them. Work per tensor is bounded: each slice is sampled once
 * (SLICE_VALUES), and at most MOST_COMPARED samples are compared.
 */

import type { Tensor } from '../formats/model.js';
import type { ModelToMatch } from './match-tensors.js';
import { SLICE_VALUES, type Slices, sampleSlices, unitOf } from './slice-samples.js';

/** A run of a target tensor as a tensor of its own, and the one that predicts it, or null. */
export interface TensorPart {
  readonly tensor: Tensor;
  readonly base: Tensor | null;
  /** Both are matrices, and the base is the tensor with rows and columns exchanged (core/diff/match-transposed.ts). */
  readonly isTransposed?: boolean;
}

/** Source tensors that a target is compared with for each axis, those of its name aside: the first in the file. */
const CANDIDATES = 4;
/** Values in the samples of one pair (64 MiB), and samples compared. */
const MOST_VALUES = 1 << 24;
const MOST_COMPARED = 1 << 22;
/** How far ahead of the last slice found the next may lie. */
const WINDOW = 4096;
/** A slice of fewer values tells nothing of itself; it goes with the slices of other tensors that grew alike. */
const FEWEST_VALUES = 16;
/** Correlation from which two slices are one: of 32 unrelated values it is above this once in 10^5 times. */
const ALIKE_FROM = 0.7;
/** Samples are taken relative to the mean of the tensor's slices, which they all may have in common, where there are so many. */
const FEWEST_FOR_MEANS = 8;
/** Share of the target's slices that must be found. */
const LEAST_FOUND = 0.1;
/** Bytes below which a part is not worth the ops it takes. */
const LEAST_PART_BYTES = 32;
const MOST_PARTS = 1 << 14;

/** The axis along which two tensors differ, slowest first, and what each has before and behind it. */
interface Axis {
  /** Index into the tensors' shapes. */
  readonly index: number;
  readonly isBefore: (index: number) => boolean;
  readonly old: Slices;
  readonly now: Slices;
}

/**
 * For each target tensor that `bases` leaves open its parts, in file order, which cover it; or null.
 * Throws IoError when a source cannot be read.
 */
export function matchSlices(
  source: ModelToMatch,
  target: ModelToMatch,
  bases: readonly (Tensor | null)[],
): (readonly TensorPart[] | null)[] {
  const reversed = target.layout.format === 'GGUF';
  const byName = new Map(source.layout.tensors.map((tensor) => [tensor.name, tensor]));
  /** By counts of slices: which old slice each new one is. */
  const known = new Map<string, Int32Array>();
  const byAxis = new Map<string, Tensor[]>();
  for (const tensor of source.layout.tensors) {
    for (const key of axisKeys(tensor)) byAxis.set(key, [...(byAxis.get(key) ?? []), tensor].slice(0, CANDIDATES));
  }
  const candidatesOf = (tensor: Tensor): Tensor[] => {
    const namesake = byName.get(tensor.name);
    const likely = axisKeys(tensor).flatMap((key) => byAxis.get(key) ?? []);
    return [...(namesake === undefined ? [] : [namesake]), ...likely.filter((other) => other !== namesake)];
  };
  const open = target.layout.tensors.map((tensor, i) => (bases[i] === null ? tensor : null));
  const found = open.map((tensor) => {
    if (tensor === null) return null;
    let best: Int32Array = new Int32Array(0);
    let parts: readonly TensorPart[] | null = null;
    for (const base of candidatesOf(tensor)) {
      const axis = axisOf(base, tensor, reversed);
      if (axis === null || axis.now.outer * axis.now.units * unitOf(tensor).elements < FEWEST_VALUES) continue;
      const places = placesOf(axis, { tensor: base, bytes: source.bytes }, { tensor, bytes: target.bytes });
      if (foundIn(places) <= Math.max(foundIn(best), LEAST_FOUND * axis.now.count)) continue;
      best = places;
      parts = partsOf(base, tensor, axis, places);
      known.set(countsKey(axis), places);
    }
    return parts;
  });
  return open.map((tensor, i) => {
    const base = tensor === null ? undefined : byName.get(tensor.name);
    if (found[i] !== null || tensor === null || base === undefined) return found[i]!;
    const axis = axisOf(base, tensor, reversed);
    const places = axis === null ? undefined : known.get(countsKey(axis));
    return axis === null || places === undefined ? null : partsOf(base, tensor, axis, places);
  });
}

/** One for each axis: tensors that differ in that alone share it. */
function axisKeys({ dtype, shape }: Tensor): string[] {
  return shape.map((_, axis) => `${dtype} ${shape.map((size, i) => (i === axis ? '*' : size)).join(' ')}`);
}

function countsKey({ old, now }: Axis): string {
  return `${old.count} ${now.count}`;
}

/** Null unless the tensors have one type and differ in one axis. @param reversed shapes name the fastest axis first */
function axisOf(base: Tensor, tensor: Tensor, reversed: boolean): Axis | null {
  const { shape } = tensor;
  if (base.dtype !== tensor.dtype || base.shape.length !== shape.length) return null;
  if (tensor.interleaved !== undefined || base.interleaved !== undefined) return null;
  const index = shape.findIndex((size, axis) => size !== base.shape[axis]);
  if (index < 0 || shape.some((size, axis) => axis !== index && size !== base.shape[axis])) return null;
  const before = product(reversed ? shape.slice(index + 1) : shape.slice(0, index));
  const behind = product(reversed ? shape.slice(0, index) : shape.slice(index + 1));
  const unit = unitOf(tensor);
  if (behind % unit.elements !== 0) return null;
  const slicesOf = (of: Tensor): Slices => ({
    ...{ outer: before, count: of.shape[index]!, units: behind / unit.elements, unitBytes: unit.bytes },
  });
  const isWhole = (of: Tensor): boolean => product(of.shape) * unit.bytes === of.length * unit.elements;
  const isBefore = (axis: number): boolean => (reversed ? axis > index : axis < index);
  return isWhole(base) && isWhole(tensor) ? { index, isBefore, old: slicesOf(base), now: slicesOf(tensor) } : null;
}

function product(sizes: readonly number[]): number {
  return sizes.reduce((sum, size) => sum * size, 1);
}

function foundIn(places: Int32Array): number {
  return places.reduce((count, place) => count + (place < 0 ? 0 : 1), 0);
}

interface Sampled {
  readonly tensor: Tensor;
  readonly bytes: ModelToMatch['bytes'];
}

/** For each slice of the target the source's that it is, rising, or -1. */
function placesOf(axis: Axis, source: Sampled, target: Sampled): Int32Array {
  const places = new Int32Array(axis.now.count).fill(-1);
  if ((axis.old.count + axis.now.count) * SLICE_VALUES > MOST_VALUES) return places;
  const old = sampleSlices(source.tensor, axis.old, source.bytes);
  const now = sampleSlices(target.tensor, axis.now, target.bytes);
  centre(old, now);
  normalise(old);
  normalise(now);
  let compared = 0;
  const alike = (slice: number, at: number): boolean => {
    compared++;
    let sum = 0;
    for (let i = 0; i < SLICE_VALUES; i++) sum += now[slice * SLICE_VALUES + i]! * old[at * SLICE_VALUES + i]!;
    return sum >= ALIKE_FROM;
  };
  /** A slice elsewhere is believed if the one behind it fits too. */
  const goesOn = (slice: number, at: number): boolean =>
    slice + 1 >= axis.now.count || at + 1 >= axis.old.count || alike(slice + 1, at + 1);
  let next = 0;
  for (let slice = 0; slice < places.length && next < axis.old.count; slice++) {
    const end = Math.min(axis.old.count, next + (compared < MOST_COMPARED ? WINDOW : 1));
    for (let at = next; at < end; at++) {
      if (!alike(slice, at) || (at > next && !goesOn(slice, at))) continue;
      places[slice] = at;
      next = at + 1;
      break;
    }
  }
  return places;
}

/** Takes off both, value by value, the mean of the old slices, and divides by how far those lie from it. */
function centre(old: Float32Array, now: Float32Array): void {
  const count = old.length / SLICE_VALUES;
  if (count < FEWEST_FOR_MEANS) return;
  for (let i = 0; i < SLICE_VALUES; i++) {
    let mean = 0;
    for (let at = i; at < old.length; at += SLICE_VALUES) mean += old[at]!;
    mean /= count;
    let spread = 0;
    for (let at = i; at < old.length; at += SLICE_VALUES) spread += Math.abs(old[at]! - mean);
    const scale = spread > 0 ? count / spread : 0;
    for (const values of [old, now])
      for (let at = i; at < values.length; at += SLICE_VALUES) values[at] = (values[at]! - mean) * scale;
  }
}

/** Each slice less its mean and of length 1, so that the product of two is their correlation. */
function normalise(values: Float32Array): void {
  for (let at = 0; at < values.length; at += SLICE_VALUES) {
    const slice = values.subarray(at, at + SLICE_VALUES);
    const mean = slice.reduce((sum, value) => sum + value, 0) / SLICE_VALUES;
    const squares = slice.reduce((sum, value) => sum + (value - mean) * (value - mean), 0);
    const scale = squares > 0 ? 1 / Math.sqrt(squares) : 0;
    for (let i = 0; i < SLICE_VALUES; i++) slice[i] = (slice[i]! - mean) * scale;
  }
}

/** Slices from `first` on, `count` of them, that follow `place` on in the source; -1 for new ones. */
interface Run {
  readonly first: number;
  readonly count: number;
  readonly place: number;
}

function runsOf(places: Int32Array): Run[] {
  const runs: Run[] = [];
  places.forEach((place, first) => {
    const last = runs.at(-1);
    const follows = last !== undefined && (last.place < 0 ? place < 0 : place === last.place + last.count);
    if (follows) runs[runs.length - 1] = { ...last, count: last.count + 1 };
    else runs.push({ first, count: 1, place });
  });
  return runs;
}

/** Null where the parts would be so many, or so short, that saying where each begins costs what they save. */
function partsOf(base: Tensor, tensor: Tensor, axis: Axis, places: Int32Array): TensorPart[] | null {
  const { old, now } = axis;
  const runs = runsOf(places);
  const count = runs.length * now.outer;
  if (count > MOST_PARTS || tensor.length < LEAST_PART_BYTES * count) return null;
  const parts: TensorPart[] = [];
  for (let outer = 0; outer < now.outer; outer++) {
    for (const { first, count, place } of runs) {
      parts.push({
        tensor: sliceOf(tensor, axis, now, outer, first, count),
        base: place < 0 ? null : sliceOf(base, axis, old, outer, place, count),
      });
    }
  }
  return parts;
}

/** The `outer`th run of slices, as a tensor: one wide along the axes before. */
function sliceOf(tensor: Tensor, axis: Axis, slices: Slices, outer: number, first: number, count: number): Tensor {
  const { units, unitBytes } = slices;
  return {
    ...tensor,
    shape: tensor.shape.map((size, i) => (i === axis.index ? count : axis.isBefore(i) ? 1 : size)),
    scales: scalesOf(tensor, axis, outer, first, count),
    offset: tensor.offset + (outer * slices.count + first) * units * unitBytes,
    length: count * units * unitBytes,
  };
}

function scalesOf(tensor: Tensor, axis: Axis, outer: number, first: number, count: number): readonly number[] {
  const { scales, scaleAxis, shape } = tensor;
  if (scales.length <= 1) return scales;
  if (scaleAxis === axis.index) return scales.slice(first, first + count);
  if (!axis.isBefore(scaleAxis)) return scales;
  const runs = product(shape.slice(scaleAxis + 1, axis.index));
  const channel = Math.floor(outer / runs) % scales.length;
  return scales.slice(channel, channel + 1);
}
