/**
 * The encoder: cuts the target into segments, tries the plans for each, keeps the smallest, and writes the body. What is held
 * in memory is one segment, the source's index and the dictionary, whatever the sizes of the files.
 */

import { MallornError } from '../errors.js';
import type { ModelLayout, Tensor } from '../formats/model.js';
import { PROFILES, type Profile } from '../limits.js';
import {
  FLAG_DICTIONARY,
  FLAG_TO_GRID,
  FLAG_WHOLE_SOURCE,
  OP_COPY,
  SEGMENT_COPY,
  SEGMENT_STORED,
  SEGMENT_ZSTD,
} from '../patch/segment.js';
import type { ByteSource, Compressor } from '../ports.js';
import { ByteBuilder } from './byte-builder.js';
import { ByteMatcher } from './match-bytes.js';
import { type Piece, PlainEncoder, type ReadSource } from './pieces.js';
import { type Segment, SegmentPlanner } from './plan-segment.js';
import { SourceIndex } from './source-index.js';
import { SourceReader } from './source-reader.js';

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
  readonly profile: Profile;
  /** zstd level, 1 to 19. */
  readonly level: number;
  readonly compressor: Compressor;
  readonly spool: Spool;
  /** Called after each segment with the target bytes done; throws to abort. */
  readonly onProgress?: (done: number) => void;
}

/** What the header has to declare about the body. */
export interface EncodedBody {
  readonly packedBytes: number;
  readonly plainBytes: number;
  readonly dictionaryBytes: number;
  readonly tensorsModified: number;
  readonly tensorsUnchanged: number;
}

interface Candidate {
  readonly kind: typeof SEGMENT_STORED | typeof SEGMENT_ZSTD;
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

const NO_DICTIONARY: Dictionary = { offset: 0, bytes: new Uint8Array(0) };

export function encodeBody(options: EncodeOptions): EncodedBody {
  return new BodyEncoder(options).run();
}

class BodyEncoder {
  private readonly options: EncodeOptions;
  private readonly planner: SegmentPlanner;
  private readonly readSource: ReadSource;
  private readonly encoder = new PlainEncoder();
  private sourceBytes = new Uint8Array(0);
  private dictionary: Dictionary = NO_DICTIONARY;
  private packedBytes = 0;
  private plainBytes = 0;
  private dictionaryBytes = 0;
  // A copy that further segments may still lengthen.
  private copyStart = 0;
  private copySource = 0;
  private copyLength = 0;

  constructor(options: EncodeOptions) {
    this.options = options;
    const { source, targetLayout, bases } = options;
    this.readSource = (offset, length) => this.readSourceRange(offset, length);
    this.planner = new SegmentPlanner({
      tensors: targetLayout.tensors.map((tensor, i) => ({ tensor, base: bases[i] ?? null })),
      matcher: source === null ? null : createMatcher(source),
      readSource: this.readSource,
    });
  }

  run(): EncodedBody {
    const { target, profile, onProgress } = this.options;
    const { segmentBytes } = PROFILES[profile];
    const buffer = new Uint8Array(Math.min(segmentBytes, target.size));
    for (let start = 0; start < target.size; start += segmentBytes) {
      const bytes = buffer.subarray(0, Math.min(segmentBytes, target.size - start));
      target.read(start, bytes);
      this.encodeSegment({ start, bytes });
      onProgress?.(start + bytes.length);
    }
    this.endCopy();
    return { ...this.declared(), ...this.tensorCounts() };
  }

  private declared(): Pick<EncodedBody, 'packedBytes' | 'plainBytes' | 'dictionaryBytes'> {
    const { packedBytes, plainBytes, dictionaryBytes } = this;
    return { packedBytes, plainBytes, dictionaryBytes };
  }

  private tensorCounts(): Pick<EncodedBody, 'tensorsModified' | 'tensorsUnchanged'> {
    let tensorsModified = 0;
    let tensorsUnchanged = 0;
    this.options.targetLayout.tensors.forEach((tensor, i) => {
      const count = 1 + tensor.aliases.length;
      if (this.planner.modified[i] === 1) tensorsModified += count;
      else tensorsUnchanged += count;
    });
    return { tensorsModified, tensorsUnchanged };
  }

  private encodeSegment(segment: Segment): void {
    const plans = this.planner.plan(segment);
    const [first] = plans;
    if (first!.length === 1 && first![0]!.kind === OP_COPY) {
      this.extendCopy(segment, first![0]!);
      return;
    }
    this.endCopy();
    this.chooseDictionary(segment);
    let best: Candidate | null = null;
    for (const plan of plans) {
      const plain = this.encoder.encode(plan, segment.bytes, segment.start, this.readSource);
      best = this.stored(segment, plain, best);
      best = this.packed(segment, plain, NO_DICTIONARY, best);
      if (this.dictionary.bytes.length > 0) best = this.packed(segment, plain, this.dictionary, best);
    }
    this.write(best!);
  }

  /** The better of `best` and the plain bytes as they are. */
  private stored(segment: Segment, plain: Uint8Array, best: Candidate | null): Candidate {
    const header = new ByteBuilder(16);
    header.byte(SEGMENT_STORED | FLAG_TO_GRID);
    header.signed(plain.length - segment.bytes.length);
    if (best !== null && sizeOf(best) <= header.length + plain.length) return best;
    return {
      kind: SEGMENT_STORED,
      header: header.view(),
      payload: plain.slice(),
      plainBytes: plain.length,
      dictionaryBytes: 0,
    };
  }

  /** The better of `best` and the plain bytes behind zstd. Of equals the first, so that the order of trying decides. */
  private packed(segment: Segment, plain: Uint8Array, dictionary: Dictionary, best: Candidate | null): Candidate {
    const payload = this.options.compressor.compress(dictionary.bytes, plain, this.options.level);
    const whole = dictionary.bytes.length > 0 && dictionary.bytes.length === this.options.source?.size;
    const some = dictionary.bytes.length > 0 ? FLAG_DICTIONARY : 0;
    // Coded segments always end on the grid.
    const header = new ByteBuilder(32);
    header.byte(SEGMENT_ZSTD | FLAG_TO_GRID | (whole ? FLAG_DICTIONARY | FLAG_WHOLE_SOURCE : some));
    header.signed(plain.length - segment.bytes.length);
    header.unsigned(payload.length);
    if (some !== 0 && !whole) {
      header.unsigned(dictionary.bytes.length);
      header.signed(dictionary.offset - segment.start);
    }
    if (best !== null && sizeOf(best) <= header.length + payload.length) return best;
    return {
      kind: SEGMENT_ZSTD,
      header: header.view(),
      payload,
      plainBytes: plain.length,
      dictionaryBytes: dictionary.bytes.length,
    };
  }

  private write({ kind, header, payload, plainBytes, dictionaryBytes }: Candidate): void {
    this.plainBytes = Math.max(this.plainBytes, plainBytes);
    this.dictionaryBytes = Math.max(this.dictionaryBytes, dictionaryBytes);
    if (kind === SEGMENT_ZSTD) this.packedBytes = Math.max(this.packedBytes, payload.length);
    this.options.spool.append(header);
    this.options.spool.append(payload);
  }

  private extendCopy(segment: Segment, piece: Piece): void {
    const follows = this.copyLength > 0 && piece.source === this.copySource + this.copyLength;
    if (!follows) {
      this.endCopy();
      this.copyStart = segment.start;
      this.copySource = piece.source;
    }
    this.copyLength += piece.length;
  }

  private endCopy(): void {
    if (this.copyLength === 0) return;
    const header = new ByteBuilder(32);
    header.byte(SEGMENT_COPY);
    header.unsigned(this.copyLength);
    header.signed(this.copySource - this.copyStart);
    this.options.spool.append(header.view());
    this.copyLength = 0;
  }

  /** The source bytes around where the segment's counterpart lies; the whole source where it fits. */
  private chooseDictionary(segment: Segment): void {
    const { source, profile } = this.options;
    const most = PROFILES[profile].dictionaryBytes;
    const length = Math.min(
      source?.size ?? 0,
      (source?.size ?? 0) < LARGE_BYTES ? most : Math.min(most, LARGE_DICTIONARY_BYTES),
    );
    if (source === null || length === 0) return;
    const middle = segment.start + segment.bytes.length / 2 + this.planner.expectedDrift;
    const offset = Math.max(0, Math.min(source.size - length, Math.floor(middle - length / 2)));
    if (this.dictionary.bytes.length === length && this.dictionary.offset === offset) return;
    const bytes = this.dictionary.bytes.length === length ? this.dictionary.bytes : new Uint8Array(length);
    source.read(offset, bytes);
    this.dictionary = isTrainedDictionary(bytes) ? NO_DICTIONARY : { offset, bytes };
  }

  private readSourceRange(offset: number, length: number): Uint8Array {
    if (this.sourceBytes.length < length) this.sourceBytes = new Uint8Array(Math.max(length, 1 << 16));
    const bytes = this.sourceBytes.subarray(0, length);
    const { source } = this.options;
    if (source === null) throw new MallornError('IO', 'a stand-alone patch has no source to read');
    source.read(offset, bytes);
    return bytes;
  }
}

function createMatcher(source: ByteSource): ByteMatcher {
  const reader = new SourceReader(source);
  return new ByteMatcher(reader, new SourceIndex(reader));
}

function sizeOf({ header, payload }: Candidate): number {
  return header.length + payload.length;
}

/** zstd would parse such a dictionary as a trained one (RFC 8878, 5), and ours are raw content. */
function isTrainedDictionary(bytes: Uint8Array): boolean {
  return bytes[0] === 0x37 && bytes[1] === 0xa4 && bytes[2] === 0x30 && bytes[3] === 0xec;
}
