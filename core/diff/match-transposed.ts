/**
 * Tensors that another exporter keeps the other way round: [in, out] where there was [out, in], channels last where they came first.
 * What is looked for are axes that were rotated, behind a leading one that stayed or not; the tensor, or each of its leading
 * slices, is then one matrix transposed. Encoder side only.
 */

import { ELEMENT_BYTES } from '../codec/elements.js';
import type { Transposed } from '../codec/transposed-read.js';
import { elementBytes, elementReader } from '../formats/dtype.js';
import type { Tensor } from '../formats/model.js';
import type { ByteSource } from '../ports.js';
import { elementTypeOf } from './choose-piece.js';
import type { TensorPart } from './match-slices.js';
import type { ModelToMatch } from './match-tensors.js';
import { alike, distance, sampleOf } from './tensor-similarity.js';

/** Source tensors of one size that a target is compared with, those of its name aside. */
const CANDIDATES = 16;
const SAMPLE_ELEMENTS = 128;
const MOST_PARTS = 1 << 14;
const LEAST_PART_BYTES = 256;

/** `count` matrices one behind the other, of rows by columns in the target, of columns by rows in the source. */
interface Turn {
  readonly count: number;
  readonly rows: number;
  readonly columns: number;
}

/**
 * For each target tensor that `bases` leaves open, or gives a base of its shape that it is not like, its transposed parts or null.
 * Throws IoError when a source cannot be read.
 */
export function matchTransposed(
  source: ModelToMatch,
  target: ModelToMatch,
  bases: readonly (Tensor | null)[],
): (readonly TensorPart[] | null)[] {
  const byName = new Map(source.layout.tensors.map((tensor) => [tensor.name, tensor]));
  const bySize = new Map<string, Tensor[]>();
  for (const tensor of source.layout.tensors) {
    const key = sizeKey(tensor);
    const list = bySize.get(key) ?? [];
    if (list.length < CANDIDATES) bySize.set(key, [...list, tensor]);
  }
  return target.layout.tensors.map((tensor, i) => {
    const base = bases[i] ?? null;
    if (!isTyped(tensor) || (base !== null && !isSquare(tensor))) return null;
    // As close as the base is, another must be closer.
    let least = base === null ? Number.POSITIVE_INFINITY : likeness(base, tensor, null, source.bytes, target.bytes);
    let parts: TensorPart[] | null = null;
    const namesake = byName.get(tensor.name);
    const candidates = new Set([...(namesake === undefined ? [] : [namesake]), ...(bySize.get(sizeKey(tensor)) ?? [])]);
    for (const candidate of candidates) {
      if (sizeKey(candidate) !== sizeKey(tensor)) continue;
      for (const turn of turnsOf(storedShape(source, candidate), storedShape(target, tensor))) {
        const between = likeness(candidate, tensor, turn, source.bytes, target.bytes);
        if (between >= least || tensor.length < LEAST_PART_BYTES * turn.count) continue;
        least = between;
        parts = partsOf(candidate, tensor, turn);
      }
    }
    return parts;
  });
}

function sizeKey({ dtype, length }: Tensor): string {
  return `${dtype} ${length}`;
}

/** Elements are what DELTA takes differences of, and lie as the shape says. */
function isTyped({ dtype, shape, length, interleaved }: Tensor): boolean {
  const width = ELEMENT_BYTES[elementTypeOf(dtype)]!;
  const whole = shape.reduce((product, size) => product * size, width) === length;
  return whole && interleaved === undefined && elementBytes(dtype) === width && shape.length > 1;
}

function isSquare({ shape }: Tensor): boolean {
  return shape.length === 2 && shape[0] === shape[1];
}

/** Slowest axis first. */
function storedShape({ layout }: ModelToMatch, { shape }: Tensor): readonly number[] {
  return layout.format === 'GGUF' ? [...shape].reverse() : shape;
}

/** All ways in which a shape is another with its axes, or those behind the first, rotated. */
function turnsOf(old: readonly number[], now: readonly number[]): Turn[] {
  if (old.length !== now.length) return [];
  const turns: Turn[] = [];
  for (const fixed of [0, 1]) {
    const rest = old.slice(fixed);
    for (let cut = 1; cut < rest.length; cut++) {
      const rotated = [...old.slice(0, fixed), ...rest.slice(cut), ...rest.slice(0, cut)];
      const [columns, rows] = [product(rest.slice(0, cut)), product(rest.slice(cut))];
      const count = product(old.slice(0, fixed));
      if (rows > 1 && columns > 1 && count <= MOST_PARTS && rotated.every((size, axis) => size === now[axis]))
        turns.push({ count, rows, columns });
    }
  }
  return turns;
}

function product(sizes: readonly number[]): number {
  return sizes.reduce((result, size) => result * size, 1);
}

/** As `distance` has it; infinite where the samples are not alike. @param turn null to compare element by element */
function likeness(
  base: Tensor,
  tensor: Tensor,
  turn: Turn | null,
  sourceBytes: ByteSource,
  targetBytes: ByteSource,
): number {
  const width = elementBytes(tensor.dtype);
  const read = elementReader(tensor.dtype);
  const elements = tensor.length / width;
  const count = Math.min(elements, SAMPLE_ELEMENTS);
  const element = new Uint8Array(width);
  const valueAt = (source: ByteSource, offset: number): number => {
    source.read(offset, element);
    const value = read(element, 0);
    return Math.abs(value) < 3e38 ? value : 0;
  };
  const [old, now] = [new Float32Array(count), new Float32Array(count)];
  for (let i = 0; i < count; i++) {
    // Coprime to nearly all shapes, so that rows and columns are met alike.
    const place =
      elements <= SAMPLE_ELEMENTS ? i : Math.floor((i * elements) / count + ((i * 7919) % (elements / count)));
    now[i] = valueAt(targetBytes, tensor.offset + place * width);
    old[i] = valueAt(sourceBytes, base.offset + (turn === null ? place : placeIn(turn, place)) * width);
  }
  const [a, b] = [sampleOf(old), sampleOf(now)];
  const between = distance(a, b);
  return alike(between, b) ? between : Number.POSITIVE_INFINITY;
}

/** Where an element of the target lies in the source. */
function placeIn({ rows, columns }: Turn, place: number): number {
  const inMatrix = place % (rows * columns);
  return place - inMatrix + (inMatrix % columns) * rows + Math.floor(inMatrix / columns);
}

function partsOf(base: Tensor, tensor: Tensor, { count, rows, columns }: Turn): TensorPart[] {
  const length = tensor.length / count;
  const partOf = (whole: Tensor, part: number, shape: readonly number[]): Tensor => ({
    ...{ ...whole, shape, offset: whole.offset + part * length, length },
    ...{ scales: [], scaleAxis: 0 },
  });
  return Array.from({ length: count }, (_, part) => ({
    tensor: partOf(tensor, part, [rows, columns]),
    base: partOf(base, part, [columns, rows]),
    isTransposed: true,
  }));
}

/** Where in the base the piece of a transposed part from element `first` on begins to read, and how. */
export function transposedPlaces(part: TensorPart, first: number): Transposed & { readonly source: number } {
  const [rows = 1, columns = 1] = part.tensor.shape;
  const width = elementBytes(part.tensor.dtype);
  const source = part.base!.offset + Math.floor(first / columns) * width;
  return { columns, column: first % columns, stride: rows, width, source };
}
