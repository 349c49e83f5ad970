/**
 * Which tensor of the old model predicts each tensor of the new one. By name where the data agrees, else by shape, type
 * and likeness, else by place in the file. A proposal is only a hint: the encoder still takes the cheapest op, and
 * anything unmatched goes through the byte-level delta. Encoder side only.
 *
 * Deterministic. Work per target tensor is bounded: candidates come from buckets, at most CANDIDATES of a bucket are
 * compared, and each tensor is sampled once (1 KiB). Memory is one sample (512 bytes) per sampled tensor.
 */

import type { ModelLayout, Tensor } from '../formats/model.js';
import type { ByteSource } from '../ports.js';
import { alike, distance, sampleTensor, type TensorSample } from './tensor-similarity.js';

/** Most tensors of one bucket that a target is compared with: the nearest ones in file order. */
const CANDIDATES = 64;

export interface ModelToMatch {
  readonly layout: ModelLayout;
  readonly bytes: ByteSource;
}

/**
 * For each tensor of `target.layout`, in its order, the source tensor to predict it from, or null. A pair always agrees
 * in dtype and length. One source tensor may serve several targets. Throws IoError when a source cannot be read.
 */
export function matchTensors(source: ModelToMatch, target: ModelToMatch): (Tensor | null)[] {
  const matching = new Matching(source, target);
  matching.byName();
  matching.byLikeness();
  matching.byNameAlone();
  matching.byPlace();
  return matching.result();
}

/** A source tensor and its place in the list. */
interface Entry {
  readonly tensor: Tensor;
  readonly index: number;
}

class Matching {
  private readonly targets: readonly Tensor[];
  /** Chosen source index per target; -1 while open. */
  private readonly chosen: Int32Array;
  private readonly claimed: Uint8Array;
  private readonly names = new Map<string, Entry[]>();
  /** Same dtype and length, in file order. */
  private readonly buckets = new Map<string, Entry[]>();
  private readonly sources: readonly Tensor[];
  private readonly sourceSamples: Sampler;
  private readonly targetSamples: Sampler;

  constructor(source: ModelToMatch, target: ModelToMatch) {
    this.sources = source.layout.tensors;
    this.targets = target.layout.tensors;
    this.chosen = new Int32Array(this.targets.length).fill(-1);
    this.claimed = new Uint8Array(this.sources.length);
    this.sourceSamples = new Sampler(source);
    this.targetSamples = new Sampler(target);
    this.sources.forEach((tensor, index) => {
      const entry = { tensor, index };
      for (const name of namesOf(tensor)) append(this.names, name, entry);
      append(this.buckets, bucketKey(tensor), entry);
    });
  }

  /** The namesake, where nothing else could do or the data agrees: exporters also give old names to other layers. */
  byName(): void {
    this.forEachOpen((target, index, expected) => {
      const namesake = this.namesake(target, expected);
      if (namesake === null) return -1;
      const alone = this.bucket(target).length === 1 && sameShape(namesake.tensor, target);
      return alone || this.isAlike(namesake, index) ? namesake.index : -1;
    });
  }

  /** Renamed tensors: the most alike in the bucket; of equals, one with the same shape and not yet used, then the nearest. */
  byLikeness(): void {
    this.forEachOpen((target, index, expected) => {
      let best: Entry | null = null;
      let bestScore: readonly number[] = [];
      for (const entry of nearest(this.bucket(target), expected, CANDIDATES)) {
        const between = this.between(entry, index);
        if (!alike(between, this.targetSamples.of(index))) continue;
        const score = [
          between,
          sameShape(entry.tensor, target) ? 0 : 1,
          this.claimed[entry.index]!,
          Math.abs(entry.index - expected),
        ];
        if (best === null || isLess(score, bestScore)) [best, bestScore] = [entry, score];
      }
      return best === null ? -1 : best.index;
    });
  }

  /** Retrained from scratch: nothing is alike, the namesake still has the same distribution. */
  byNameAlone(): void {
    this.forEachOpen((target, _, expected) => {
      const namesake = this.namesake(target, expected);
      return namesake !== null && sameShape(namesake.tensor, target) ? namesake.index : -1;
    });
  }

  /** Renamed and retrained: the unused tensor of the same shape that is nearest to where this one should be. */
  byPlace(): void {
    this.forEachOpen((target, _, expected) => {
      const free = nearest(this.bucket(target), expected, CANDIDATES).filter(
        (entry) => this.isFree(entry) && sameShape(entry.tensor, target),
      );
      return free[0]?.index ?? -1;
    });
  }

  result(): (Tensor | null)[] {
    return Array.from(this.chosen, (index) => this.sources[index] ?? null);
  }

  /** `choose` returns a source index or -1. `expected` is where file order would have the match. */
  private forEachOpen(choose: (target: Tensor, index: number, expected: number) => number): void {
    let offset = 0;
    this.targets.forEach((target, index) => {
      if (this.chosen[index]! < 0) {
        const source = choose(target, index, index + offset);
        if (source < 0) return;
        this.chosen[index] = source;
        this.claimed[source] = 1;
      }
      offset = this.chosen[index]! - index;
    });
  }

  /** The source tensor of the same name, dtype and length; of several one with the same shape, then the nearest. */
  private namesake(target: Tensor, expected: number): Entry | null {
    const key = bucketKey(target);
    for (const name of namesOf(target)) {
      const entries = nearest(this.names.get(name) ?? [], expected, CANDIDATES);
      const fitting = entries.filter((entry) => bucketKey(entry.tensor) === key);
      const found = fitting.find((entry) => sameShape(entry.tensor, target)) ?? fitting[0];
      if (found !== undefined) return found;
    }
    return null;
  }

  private isAlike(entry: Entry, target: number): boolean {
    return alike(this.between(entry, target), this.targetSamples.of(target));
  }

  private between(entry: Entry, target: number): number {
    return distance(this.sourceSamples.of(entry.index), this.targetSamples.of(target));
  }

  private bucket(target: Tensor): readonly Entry[] {
    return this.buckets.get(bucketKey(target)) ?? [];
  }

  private isFree(entry: Entry): boolean {
    return this.claimed[entry.index] === 0;
  }
}

/** Samples of one model's tensors, each read once and only when asked for. */
class Sampler {
  private readonly model: ModelToMatch;
  private readonly samples = new Map<number, TensorSample>();

  constructor(model: ModelToMatch) {
    this.model = model;
  }

  of(index: number): TensorSample {
    const known = this.samples.get(index);
    if (known !== undefined) return known;
    const sample = sampleTensor(this.model.layout.tensors[index]!, this.model.bytes);
    this.samples.set(index, sample);
    return sample;
  }
}

/** A shared buffer may have thousands of names; the first few find its counterpart. */
const MAX_NAMES = 16;

function namesOf(tensor: Tensor): string[] {
  return [tensor.name, ...tensor.aliases.slice(0, MAX_NAMES - 1)].filter((name) => name !== '');
}

function bucketKey(tensor: Tensor): string {
  return `${tensor.dtype} ${tensor.length}`;
}

function sameShape(a: Tensor, b: Tensor): boolean {
  return a.shape.length === b.shape.length && a.shape.every((size, i) => size === b.shape[i]);
}

/** Lexicographic, for arrays of one length. */
function isLess(a: readonly number[], b: readonly number[]): boolean {
  const i = a.findIndex((value, at) => value !== b[at]);
  return i >= 0 && a[i]! < b[i]!;
}

function append<K>(map: Map<K, Entry[]>, key: K, entry: Entry): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [entry]);
  else list.push(entry);
}

/** At most `limit` of `entries` (ascending by index), those nearest to `index` first; of two as near, the earlier. */
function nearest(entries: readonly Entry[], index: number, limit: number): Entry[] {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (entries[middle]!.index < index) low = middle + 1;
    else high = middle;
  }
  let before = low - 1;
  let after = low;
  const found: Entry[] = [];
  while (found.length < limit && (before >= 0 || after < entries.length)) {
    const left = before >= 0 ? index - entries[before]!.index : Infinity;
    const right = after < entries.length ? entries[after]!.index - index : Infinity;
    found.push(left <= right ? entries[before--]! : entries[after++]!);
  }
  return found;
}
