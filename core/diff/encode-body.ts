/**
 * The encoder: cuts the target into segments, tries the plans for each, keeps the smallest, and writes the body. What is held
 * in memory is one segment, the source's index and the dictionary, whatever the sizes of the files.
 */

import { CONTEXT_LAYOUTS } from '../codec/context-layout.js';
import { MAX_NEURAL_SCALES, NEURAL_CONTEXT_BYTES } from '../codec/neural-runner.js';
import { MallornError } from '../errors.js';
import type { ModelLayout, Tensor } from '../formats/model.js';
import { PROFILES, type Profile, STANDALONE_SEGMENT_BYTES } from '../limits.js';
import {
  FLAG_DICTIONARY,
  FLAG_TO_GRID,
  FLAG_WHOLE_SOURCE,
  mostDictionaryBytes,
  OP_COPY,
  SEGMENT_NEURAL,
  SEGMENT_STORED,
  SEGMENT_ZSTD,
} from '../patch/segment.js';
import { unitStart } from '../patch/unit.js';
import type { ByteSource, Compressor, Hasher } from '../ports.js';
import { BodyWriter } from './body-writer.js';
import { ByteBuilder } from './byte-builder.js';
import { planesCost } from './choose-piece.js';
import { ByteMatcher } from './match-bytes.js';
import type { TensorPart } from './match-slices.js';
import { NeuralEncoder } from './neural-encoder.js';
import { byteLiterals, mergePieces, type Piece, PlainEncoder, type ReadSource } from './pieces.js';
import { type Segment, SegmentPlanner } from './plan-segment.js';
import { SourceIndex } from './source-index.js';
import { SourceReader } from './source-reader.js';
import { defaultPriors, PriorTrainer } from './train-priors.js';

/** Where the body is kept until its length and hashes are known: a temporary file, or memory. */
export interface Spool {
  readonly size: number;
  append(bytes: Uint8Array): void;
  read(offset: number, into: Uint8Array): void;
}

export interface EncodeOptions {
  /** null makes a stand-alone patch. */
  readonly source: ByteSource | null;
  readonly target: ByteSource;
  readonly targetLayout: ModelLayout;
  /** For each target tensor its base in the source, or null (core/diff/match-tensors.ts). */
  readonly bases: readonly (Tensor | null)[];
  /** Of tensors that grew or shrank, what they are made of (core/diff/match-slices.ts); none known where absent. */
  readonly parts?: readonly (readonly TensorPart[] | null)[];
  /** The same as bases for targetLayout.scaleVectors; none known where absent. */
  readonly scaleBases?: readonly (Tensor | null)[];
  readonly profile: Profile;
  /** zstd level, 1 to 19. */
  readonly level: number;
  /** Neural segments, and zstd only where that is smaller and the profile has room for it. */
  readonly neural?: boolean;
  /** Absent: the patch needs a slot of its own. */
  readonly inPlace?: InPlaceUnits | null;
  readonly compressor: Compressor;
  readonly spool: Spool;
  /** Called after each segment with the target bytes done; throws to abort. */
  readonly onProgress?: (done: number) => void;
}

/** A patch that can be written over its own source. */
export interface InPlaceUnits {
  /** A power of two from the profile's segmentBytes to MAX_UNIT_BYTES. */
  readonly unitBytes: number;
  /** Shared with nothing while the body is encoded. */
  readonly hasher: Hasher;
}

/** What the header has to declare about the body. */
export interface EncodedBody {
  readonly segmentBytes: number;
  /** 1 where neural segments need the byte model; see PatchHeader. */
  readonly decodeClass: number;
  readonly unitBytes: number;
  readonly contextBytes: number;
  readonly packedBytes: number;
  readonly plainBytes: number;
  readonly dictionaryBytes: number;
  readonly tensorsModified: number;
  readonly tensorsUnchanged: number;
  readonly priors: Uint8Array;
}

interface Candidate {
  readonly kind: typeof SEGMENT_STORED | typeof SEGMENT_ZSTD | typeof SEGMENT_NEURAL;
  readonly header: Uint8Array;
  readonly payload: Uint8Array;
  readonly plainBytes: number;
  readonly dictionaryBytes: number;
}

interface Dictionary {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** From here on a dictionary is only as long as a segment: both sides hold it several times over. */
const LARGE_BYTES = 64 << 20;
const LARGE_DICTIONARY_BYTES = 1 << 20;

/** Neural coding is slow: only plans that zstd makes no larger than this, against its best, are tried with it. */
const WORTH_A_TRY = 1.25;
/** And of small containers, where it learns the source first, all that are no longer than this. */
const WORTH_A_TRY_BYTES = 2048;

/** Bytes that the byte model codes in a tenth of a second, and how many times as many are worth it. */
const FEW_LITERAL_BYTES = 128 << 10;
const MUCH_MORE = 4;

/** Weights come to at least this part of their bytes' order-0 entropy behind zstd, unless some of them come again. */
const REPEATED = 0.75;

const NO_PRIORS = new Uint8Array(0);
const NO_DICTIONARY: Dictionary = { offset: 0, bytes: new Uint8Array(0) };

/** Segments that priors are learnt from; of larger targets, so many at even distances. */
const TRAINED_SEGMENTS = 256;

export function encodeBody(options: EncodeOptions): EncodedBody {
  const isTrained = options.neural === true && decodeClassOf(options.profile) === 0;
  const priors = isTrained ? trainPriors(options) : NO_PRIORS;
  return new BodyEncoder(options, priors, null).run(1);
}

/** Encodes once for what the contexts see. */
function trainPriors(options: EncodeOptions): Uint8Array {
  const scale = Math.max(1, Math.ceil(options.target.size / PROFILES[options.profile].segmentBytes / TRAINED_SEGMENTS));
  const trainer = measureContexts(options, scale);
  return trainer.train(defaultPriors(), scale);
}

/** What the contexts of class 0 see in every `stride`th segment. */
export function measureContexts(options: EncodeOptions, stride: number): PriorTrainer {
  const { onProgress } = options;
  const trainer = new PriorTrainer(CONTEXT_LAYOUTS[0]!.contexts);
  const toAbort = onProgress === undefined ? {} : { onProgress: () => onProgress(0) };
  new BodyEncoder({ ...options, ...toAbort, spool: nowhere, inPlace: null }, NO_PRIORS, trainer).run(stride);
  return trainer;
}

/** By profile: only those with room for a dictionary have it for the byte model. */
function decodeClassOf(profile: Profile): number {
  return PROFILES[profile].dictionaryBytes > 0 ? 1 : 0;
}

/** Where the body of a pass goes that is only looked at. */
const nowhere: Spool = {
  size: 0,
  append: () => {},
  read: () => {},
};

class BodyEncoder {
  private readonly options: EncodeOptions;
  private readonly planner: SegmentPlanner;
  private readonly reader: SourceReader | null;
  private readonly readSource: ReadSource;
  private readonly encoder = new PlainEncoder();
  /** The smallest way found to say the segment under way. */
  private best: Candidate | null = null;
  /** Its payload: one memory for all, or V8 would gather megabytes a segment before it lets go. */
  private readonly kept = new ByteBuilder();
  private readonly neural: NeuralEncoder | null;
  private readonly decodeClass: number;
  private readonly priors: Uint8Array;
  private readonly trainer: PriorTrainer | null;
  /** Of `best`, where it is neural and there is a trainer. */
  private trace = new Uint32Array(0);
  private sourceBytes = new Uint8Array(0);
  private dictionary: Dictionary = NO_DICTIONARY;
  private packedBytes = 0;
  private plainBytes = 0;
  private dictionaryBytes = 0;
  private readonly unitBytes: number;
  private readonly segmentBytes: number;
  private readonly writer: BodyWriter;

  /** @param trainer is told what the contexts see */
  constructor(options: EncodeOptions, priors: Uint8Array, trainer: PriorTrainer | null) {
    this.options = options;
    this.priors = priors;
    this.trainer = trainer;
    const { source, targetLayout, bases, parts = [], scaleBases = [] } = options;
    const useNeural = options.neural === true;
    this.decodeClass = useNeural ? decodeClassOf(options.profile) : 0;
    this.neural = useNeural ? new NeuralEncoder(this.decodeClass, priors, trainer !== null) : null;
    const { spool, target, inPlace = null } = options;
    this.writer = new BodyWriter({ spool, targetSize: target.size, inPlace });
    this.unitBytes = inPlace?.unitBytes ?? 0;
    const hasHistoryOnly = this.decodeClass === 1 && source === null && inPlace === null;
    this.segmentBytes = hasHistoryOnly ? STANDALONE_SEGMENT_BYTES : PROFILES[options.profile].segmentBytes;
    this.reader = source === null ? null : new SourceReader(source);
    this.readSource = (offset, length) => this.readSourceRange(offset, length);
    this.planner = new SegmentPlanner({
      tensors: targetLayout.tensors.map((tensor, i) => parts[i] ?? [{ tensor, base: bases[i] ?? null }]),
      matcher: this.reader === null ? null : new ByteMatcher(this.reader, new SourceIndex(this.reader)),
      readSource: this.readSource,
      isNeural: useNeural,
      canTranspose: this.decodeClass === 1,
      scaleVectors: (targetLayout.scaleVectors ?? []).map((tensor, i) => ({ tensor, base: scaleBases[i] ?? null })),
      mostScales: MAX_NEURAL_SCALES[useNeural ? this.decodeClass : MAX_NEURAL_SCALES.length - 1]!,
      firstAxisIsRow: targetLayout.format === 'GGUF',
    });
  }

  /** @param stride every how manieth segment is encoded: 1 for all */
  run(stride: number): EncodedBody {
    const { target, onProgress } = this.options;
    const { segmentBytes } = this;
    const buffer = new Uint8Array(Math.min(segmentBytes, target.size));
    for (let start = 0; start < target.size; start += stride * segmentBytes) {
      const bytes = buffer.subarray(0, Math.min(segmentBytes, target.size - start));
      target.read(start, bytes);
      this.encodeSegment({ start, bytes, floor: unitStart(start, this.unitBytes) });
      this.writer.endRun(start, bytes);
      onProgress?.(start + bytes.length);
    }
    this.writer.endCopy();
    return { ...this.declared(), ...this.tensorCounts() };
  }

  private declared(): Omit<EncodedBody, 'tensorsModified' | 'tensorsUnchanged'> {
    const { segmentBytes, packedBytes, plainBytes, dictionaryBytes, decodeClass, unitBytes, priors } = this;
    const contextBytes = this.neural === null ? 0 : NEURAL_CONTEXT_BYTES[decodeClass]!;
    return { segmentBytes, packedBytes, plainBytes, dictionaryBytes, decodeClass, contextBytes, unitBytes, priors };
  }

  private tensorCounts(): Pick<EncodedBody, 'tensorsModified' | 'tensorsUnchanged'> {
    let tensorsModified = 0;
    let tensorsUnchanged = 0;
    const { targetLayout, parts = [] } = this.options;
    targetLayout.tensors.forEach((tensor, i) => {
      const count = 1 + tensor.aliases.length;
      const isReshaped = (parts[i] ?? null) !== null;
      if (isReshaped || this.planner.modified[i] === 1) tensorsModified += count;
      else tensorsUnchanged += count;
    });
    return { tensorsModified, tensorsUnchanged };
  }

  private encodeSegment(segment: Segment): void {
    const plans = this.planner.plan(segment);
    const [first] = plans;
    const [only, ...more] = mergePieces(first!);
    if (only!.kind === OP_COPY && more.length === 0) {
      this.writer.copy(segment.start, only!.source, only!.length);
      return;
    }
    this.chooseDictionary(segment);
    this.best = null;
    // Plain bytes know no transposed tensors.
    const plain = plans.filter((plan) => !isTransposed(plan));
    const costs = plain.map((plan) => this.offerPlain(plan, segment));
    if (this.neural !== null) {
      const promising = [
        ...promisingPlans(plain, costs, this.hasRepeats(segment, costs.at(-1)!)),
        ...plans.filter(isTransposed),
      ];
      for (const plan of promising) this.offerNeural(this.neural, plan, segment);
    }
    if (this.trainer !== null && this.best!.kind === SEGMENT_NEURAL) this.trainer.add(this.trace);
    this.write(this.best!);
  }

  /** Offers the plan as plain bytes, stored and behind zstd; returns the smallest of those in bytes. */
  private offerPlain(plan: readonly Piece[], segment: Segment): number {
    const plain = this.encoder.encode(mergePieces(plan), segment.bytes, segment.start, this.readSource);
    const stored = this.offerStored(segment, plain);
    // The microcontroller class of the neural codec does without zstd.
    if (this.neural !== null && this.decodeClass === 0) return 0;
    const packed = this.offerPacked(segment, plain, NO_DICTIONARY);
    if (this.dictionary.bytes.length === 0) return Math.min(stored, packed);
    return Math.min(stored, packed, this.offerPacked(segment, plain, this.dictionary));
  }

  private offerStored(segment: Segment, plain: Uint8Array): number {
    const header = new ByteBuilder(16);
    header.byte(SEGMENT_STORED | FLAG_TO_GRID);
    header.signed(plain.length - segment.bytes.length);
    const plainBytes = plain.length;
    return this.offer({ kind: SEGMENT_STORED, header: header.view(), payload: plain, plainBytes, dictionaryBytes: 0 });
  }

  private offerPacked(segment: Segment, plain: Uint8Array, dictionary: Dictionary): number {
    const payload = this.options.compressor.compress(dictionary.bytes, plain, this.options.level);
    const header = this.codedHeader(SEGMENT_ZSTD, segment, plain.length, payload.length, dictionary);
    const dictionaryBytes = dictionary.bytes.length;
    return this.offer({ kind: SEGMENT_ZSTD, header, payload, plainBytes: plain.length, dictionaryBytes });
  }

  /** Whether a stand-alone segment, `packed` as bytes by zstd, holds weights twice: the byte model looks back, that of weights does not. */
  private hasRepeats({ bytes }: Segment, packed: number): boolean {
    return this.options.source === null && 8 * packed < REPEATED * planesCost(bytes, 1);
  }

  private offerNeural(neural: NeuralEncoder, plan: readonly Piece[], segment: Segment): void {
    const pieces = mergePieces(plan, true);
    const coded = neural.encode(pieces, segment.bytes, segment.start, this.readSource, this.dictionary);
    // The format knows no empty payload; a zero byte says the same.
    const payload = coded.length === 0 ? new Uint8Array(1) : coded;
    const before = this.best;
    this.offer({
      kind: SEGMENT_NEURAL,
      header: this.codedHeader(SEGMENT_NEURAL, segment, 0, payload.length, this.dictionary),
      payload,
      plainBytes: this.decodeClass === 0 ? 0 : segment.bytes.length,
      dictionaryBytes: this.dictionary.bytes.length,
    });
    if (this.trainer !== null && this.best !== before) this.trace = neural.trace.slice();
  }

  /** Keeps a copy of the candidate if it is smaller than all before. Of equals the first, so that the order decides. */
  private offer(candidate: Candidate): number {
    const size = sizeOf(candidate);
    if (this.best !== null && sizeOf(this.best) <= size) return size;
    this.kept.clear();
    this.kept.append(candidate.payload);
    this.best = { ...candidate, payload: this.kept.view() };
    return size;
  }

  /** Coded segments always end on the grid. */
  private codedHeader(
    kind: typeof SEGMENT_ZSTD | typeof SEGMENT_NEURAL,
    segment: Segment,
    plainBytes: number,
    packedBytes: number,
    dictionary: Dictionary,
  ): Uint8Array {
    const some = dictionary.bytes.length > 0;
    const whole = some && dictionary.bytes.length === this.options.source?.size;
    const header = new ByteBuilder(32);
    header.byte(kind | FLAG_TO_GRID | (some ? FLAG_DICTIONARY : 0) | (whole ? FLAG_WHOLE_SOURCE : 0));
    if (kind === SEGMENT_ZSTD) header.signed(plainBytes - segment.bytes.length);
    header.unsigned(packedBytes);
    if (some && !whole) {
      header.unsigned(dictionary.bytes.length);
      header.signed(dictionary.offset - segment.start);
    }
    return header.view();
  }

  private write({ kind, header, payload, plainBytes, dictionaryBytes }: Candidate): void {
    this.plainBytes = Math.max(this.plainBytes, plainBytes);
    this.dictionaryBytes = Math.max(this.dictionaryBytes, dictionaryBytes);
    if (kind !== SEGMENT_STORED) this.packedBytes = Math.max(this.packedBytes, payload.length);
    this.writer.coded(header, payload);
  }

  /** The source bytes around where the segment's counterpart lies; the whole source, or what is left of it, where it fits. */
  private chooseDictionary(segment: Segment): void {
    const { source, profile } = this.options;
    const most = Math.min(
      PROFILES[profile].dictionaryBytes,
      this.neural === null ? Number.POSITIVE_INFINITY : mostDictionaryBytes(segment.bytes.length),
    );
    if (source === null || most === 0) return;
    const left = Math.max(0, source.size - segment.floor);
    const length = Math.min(left, source.size < LARGE_BYTES ? most : Math.min(most, LARGE_DICTIONARY_BYTES));
    if (length === 0) {
      this.dictionary = NO_DICTIONARY;
      return;
    }
    const middle = segment.start + segment.bytes.length / 2 + this.planner.expectedDrift;
    const offset = Math.max(segment.floor, Math.min(source.size - length, Math.floor(middle - length / 2)));
    if (this.dictionary.bytes.length === length && this.dictionary.offset === offset) return;
    const held = this.reader?.held(offset, length) ?? null;
    const bytes = held ?? (this.dictionary.bytes.length === length ? this.dictionary.bytes : new Uint8Array(length));
    if (held === null) source.read(offset, bytes);
    this.dictionary = isTrainedDictionary(bytes) ? NO_DICTIONARY : { offset, bytes };
  }

  private readSourceRange(offset: number, length: number): Uint8Array {
    const held = this.reader?.held(offset, length) ?? null;
    if (held !== null) return held;
    if (this.sourceBytes.length < length) this.sourceBytes = new Uint8Array(Math.max(length, 1 << 16));
    const bytes = this.sourceBytes.subarray(0, length);
    const { source } = this.options;
    if (source === null) throw new MallornError('IO', 'a stand-alone patch has no source to read');
    source.read(offset, bytes);
    return bytes;
  }
}

/**
 * Those near the best, but where they are long without those that leave the byte model, a megabyte a second, much more to do.
 * @param keepsBytes whether the last, bytes alone, is tried even so
 */
function promisingPlans(
  plans: readonly (readonly Piece[])[],
  costs: readonly number[],
  keepsBytes: boolean,
): (readonly Piece[])[] {
  const most = WORTH_A_TRY * Math.min(...costs) + WORTH_A_TRY_BYTES;
  const near = plans.filter((plan, i) => costs[i]! <= most && !isRepeat(plan, plans.slice(0, i)));
  const literalBytes = near.map(byteLiterals);
  const mostLiteral = Math.max(FEW_LITERAL_BYTES, MUCH_MORE * Math.min(...literalBytes));
  return near.filter((plan, i) => literalBytes[i]! <= mostLiteral || (keepsBytes && plan === plans.at(-1)));
}

function isTransposed(plan: readonly Piece[]): boolean {
  return plan.some(({ stride }) => stride !== undefined);
}

/** Of plans that come to the same ops the first. */
function isRepeat(plan: readonly Piece[], before: readonly (readonly Piece[])[]): boolean {
  const merged = mergePieces(plan, true);
  return before.some((other) => {
    const pieces = mergePieces(other, true);
    return pieces.length === merged.length && pieces.every((piece, i) => isSame(piece, merged[i]!));
  });
}

function isSame(a: Piece, b: Piece): boolean {
  const { kind, type, length, source, cast, columns, column, stride } = a;
  const isAlike = kind === b.kind && type === b.type && length === b.length && source === b.source;
  return isAlike && cast === b.cast && columns === b.columns && column === b.column && stride === b.stride;
}

function sizeOf({ header, payload }: Candidate): number {
  return header.length + payload.length;
}

/** zstd would parse such a dictionary as a trained one (RFC 8878, 5), and ours are raw content. */
function isTrainedDictionary(bytes: Uint8Array): boolean {
  return bytes[0] === 0x37 && bytes[1] === 0xa4 && bytes[2] === 0x30 && bytes[3] === 0xec;
}
