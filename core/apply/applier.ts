/**
 * The applier: takes a patch front to back in chunks of any size, does a bounded amount of work per call, and writes the
 * target strictly in order. No byte of the body is decoded before its frame matched the chain that starts in the header,
 * and nothing of the header is believed before its signature was checked. Resumes from a journal.
 *
 * Order of checks (SPEC.md): cap, digest, signature, semantic limits, source hash, frames, decode, target hash.
 */

import { equalBytes } from '../bytes.js';
import { type MixedModelsFactory, NeuralRunner } from '../codec/neural-runner.js';
import { OpRunner } from '../codec/op-runner.js';
import { InvalidPatch, invariant, SourceHashMismatch, TargetHashMismatch } from '../errors.js';
import { toHex } from '../hex.js';
import { MAX_PREAMBLE_BYTES, PROFILES } from '../limits.js';
import { FrameGeometry, FrameReader, HASH_BYTES } from '../patch/frames.js';
import {
  checkHeaderDigest,
  declaredBufferBytes,
  measurePreamble,
  type PatchHeader,
  parseHeader,
} from '../patch/header.js';
import {
  emptySegmentHeader,
  MAX_SEGMENT_HEADER_BYTES,
  readSegmentHeader,
  SEGMENT_COPY,
  SEGMENT_NEURAL,
  SEGMENT_STORED,
  type SegmentHeader,
} from '../patch/segment.js';
import { parseSignatures, requireSignature } from '../patch/signatures.js';
import type { ByteSource, Decompressor, Hasher, SignatureVerifier } from '../ports.js';
import type { Checkpoint, Journal } from './journal.js';
import { type ApplyPolicy, checkPolicy } from './policy.js';
import type { TargetSink } from './target-sink.js';

export interface ApplierOptions {
  /** The base model; null where the device has none, which only a stand-alone patch accepts. */
  readonly source: ByteSource | null;
  /** Opens the output, called once, after the header is authenticated and within policy. `buffer` is for its use. */
  readonly target: (header: PatchHeader, buffer: Uint8Array) => TargetSink;
  readonly hasher: Hasher;
  readonly verifier: SignatureVerifier;
  /** null on devices built without zstd. */
  readonly decompressor: Decompressor | null;
  /** Absent from devices that take the neural codec in its microcontroller class alone. */
  readonly mixedModels?: MixedModelsFactory;
  /** Ed25519 public keys, one of which must have signed; empty means that signatures are not looked at. */
  readonly trustedKeys: readonly Uint8Array[];
  readonly policy: ApplyPolicy;
  /** Opens the journal, called once, after the header is authenticated; absent where an update always starts afresh. */
  readonly journal?: (header: PatchHeader) => Journal;
  /** Gives the decoder's buffers, declaredBufferBytes long from a multiple of 4, called once; a microcontroller hands out a static arena. */
  readonly memory?: (byteLength: number) => Uint8Array;
  /** How often a frame that does not match is asked for again before the patch is refused. Default 0. */
  readonly frameRetries?: number;
  /** The caller has compared the source with the patch's hash already. */
  readonly sourceVerified?: boolean;
}

export type PushResult =
  /** All of the chunk was taken; more is wanted. */
  | { readonly kind: 'input'; readonly consumed: number }
  /** A bounded amount of work was done; call again with the rest of the chunk, which may be empty. */
  | { readonly kind: 'busy'; readonly consumed: number }
  /** Feed on from this offset of the patch file: a resumed update, or a damaged frame asked for again. */
  | { readonly kind: 'seek'; readonly consumed: number; readonly patchOffset: number }
  /** The target is whole, durable and has the promised hash. */
  | { readonly kind: 'done'; readonly consumed: number };

type Phase =
  | 'preamble'
  | 'source-hash'
  | 'segment-header'
  | 'copy'
  | 'dictionary'
  | 'payload'
  | 'decompress'
  | 'ops'
  | 'neural'
  | 'target-hash'
  | 'done';

export class Applier {
  private readonly options: ApplierOptions;
  private phase: Phase = 'preamble';
  private readonly preamble = new Uint8Array(MAX_PREAMBLE_BYTES);
  private preambleFilled = 0;
  private preambleBytes = 0;
  private parsed: PatchHeader | null = null;
  private headerHash: Uint8Array = new Uint8Array(HASH_BYTES);
  private geometry = new FrameGeometry(HASH_BYTES, 0);
  private frames!: FrameReader;
  private sink!: TargetSink;
  private journal: Journal | null = null;
  private runner!: OpRunner;
  private neural: NeuralRunner | null = null;
  private contexts!: Uint8Array;
  private source!: ByteSource;
  private io!: Uint8Array;
  private targetBuffer!: Uint8Array;
  private packed!: Uint8Array;
  private plain!: Uint8Array;
  private dictionary!: Uint8Array;
  private readonly segment: SegmentHeader = emptySegmentHeader();
  private readonly segmentHeader = new Uint8Array(MAX_SEGMENT_HEADER_BYTES);
  private segmentHeaderFilled = 0;
  private segmentIndex = 0;
  private segmentStart = 0;
  private segmentBodyOffset = 0;
  /** Frame that holds the segment's first byte, and its hash: what a resume has to ask for. */
  private segmentFrame = 0;
  private readonly segmentFrameHash = new Uint8Array(HASH_BYTES);
  /** Hash of the frame whose payload is out, kept because the reader already expects the next one. */
  private readonly currentFrameHash = new Uint8Array(HASH_BYTES);
  /** Body bytes used so far. */
  private bodyOffset = 0;
  /** Bytes of the dictionary, payload or copy that are done. */
  private progress = 0;
  private sourceHashed = 0;
  private lastCheckpoint = 0;
  private retriesLeft: number;
  private readonly digest = new Uint8Array(32);
  /** Something was thrown: what a half-done step left behind must not be gone on with. */
  private spent = false;

  constructor(options: ApplierOptions) {
    this.options = options;
    this.retriesLeft = options.frameRetries ?? 0;
  }

  /** The header, once it is authenticated and within policy. */
  get header(): PatchHeader | null {
    return this.phase === 'preamble' ? null : this.parsed;
  }

  /** Target bytes produced so far. */
  get targetOffset(): number {
    return this.phase === 'preamble' || this.phase === 'source-hash' ? 0 : this.sink.written;
  }

  /** SHA-256 of what was written; all zeros before the target was hashed. */
  get actualTarget(): Uint8Array {
    return this.digest;
  }

  /** @throws InvalidPatch, SignatureError, SourceHashMismatch, TargetHashMismatch, IoError; the applier is then spent. */
  push(chunk: Uint8Array): PushResult {
    invariant(!this.spent, 'an applier that threw is not pushed again');
    try {
      return this.take(chunk);
    } catch (error) {
      this.spent = true;
      throw error;
    }
  }

  private take(chunk: Uint8Array): PushResult {
    let consumed = 0;
    let worked = 0;
    for (;;) {
      if (this.phase === 'done') {
        if (consumed < chunk.length) throw trailing(chunk.length - consumed);
        return { kind: 'done', consumed };
      }
      if (this.phase === 'preamble') {
        const before = consumed;
        consumed += this.gatherPreamble(chunk, consumed);
        if (this.isPreamblePhase()) {
          invariant(consumed > before || consumed === chunk.length, 'the preamble takes what it is given');
          if (consumed === chunk.length) return { kind: 'input', consumed };
          continue;
        }
        const seek = this.seekAfterPreamble();
        if (seek !== null) return { kind: 'seek', consumed, patchOffset: seek };
        continue;
      }
      if (this.needsFrame()) {
        consumed += this.frames.gather(chunk, consumed);
        if (!this.frames.complete) {
          if (consumed < chunk.length) throw trailing(chunk.length - consumed);
          return { kind: 'input', consumed };
        }
        if (!this.takeFrame()) {
          return {
            kind: 'seek',
            consumed,
            patchOffset: this.preambleBytes + this.geometry.wireOffset(this.frames.index),
          };
        }
        continue;
      }
      if (worked > 0) return { kind: 'busy', consumed };
      worked += this.work() ? 1 : 0;
    }
  }

  /** To be called when the input ends, after `push` answered 'input' or 'done'. @throws InvalidPatch TRUNCATED unless the target is done. */
  end(): void {
    if (this.phase === 'done') return;
    if (this.phase === 'preamble') {
      throw new InvalidPatch('TRUNCATED', `the patch ends inside its header, after ${this.preambleFilled} bytes`);
    }
    const expected = this.preambleBytes + this.geometry.wireBytes;
    throw new InvalidPatch(
      'TRUNCATED',
      `the patch is cut short: expected ${expected} bytes, frame ${this.frames.index} is missing`,
    );
  }

  private isPreamblePhase(): boolean {
    return this.phase === 'preamble';
  }

  // --- header ---------------------------------------------------------------------------------------------------------

  private gatherPreamble(chunk: Uint8Array, start: number): number {
    // Byte ranges are taken in the steps in which their length becomes known, so that no body byte is swallowed.
    let taken = 0;
    for (;;) {
      const size = measurePreamble(this.preamble, this.preambleFilled);
      const wanted = size === null ? this.nextPreambleStep() : size.preambleBytes;
      if (size !== null && this.preambleFilled === wanted) {
        this.preambleBytes = wanted;
        this.open(size.headerBytes, size.signatureCount);
        return taken;
      }
      const take = Math.min(wanted - this.preambleFilled, chunk.length - start - taken);
      if (take === 0) return taken;
      this.preamble.set(chunk.subarray(start + taken, start + taken + take), this.preambleFilled);
      this.preambleFilled += take;
      taken += take;
    }
  }

  /** 14 bytes tell the header's length; header and count byte tell that of the signatures. */
  private nextPreambleStep(): number {
    return this.preambleFilled < 14 ? 14 : (this.preamble[12]! | (this.preamble[13]! << 8)) + 1;
  }

  private open(headerBytes: number, signatureCount: number): void {
    const { hasher, trustedKeys, verifier, policy } = this.options;
    const header = this.preamble.subarray(0, headerBytes);
    checkHeaderDigest(header, hasher);
    if (trustedKeys.length > 0) {
      const blocks = parseSignatures(this.preamble.subarray(headerBytes + 1, this.preambleBytes), signatureCount);
      requireSignature({ header, blocks, trustedKeys, verifier, hasher });
    }
    const parsed = parseHeader(header);
    const decoders = {
      zstd: this.options.decompressor !== null,
      neuralClass: this.options.mixedModels === undefined ? 0 : 1,
    };
    checkPolicy(parsed, policy, this.options.source, decoders, trustedKeys.length > 0);
    this.parsed = parsed;
    this.headerHash = header.slice(headerBytes - HASH_BYTES);
    this.layOut(parsed);
    this.phase = 'source-hash';
    this.restore(parsed);
  }

  /** Cuts the decoder's one block of memory into its buffers. */
  private layOut(header: PatchHeader): void {
    const total = declaredBufferBytes(header);
    const memory = this.options.memory === undefined ? new Uint8Array(total) : this.options.memory(total);
    let used = 0;
    const take = (length: number): Uint8Array => {
      used += length;
      return memory.subarray(used - length, used);
    };
    invariant(memory.length >= total, 'memory as declared');
    const { ioBytes } = PROFILES[header.profile];
    this.geometry = new FrameGeometry(header.frameBytes, header.bodyBytes);
    // First, because its fields are wider than a byte.
    this.contexts = take(header.contextBytes);
    this.frames = new FrameReader(this.geometry, take(header.frameBytes), this.options.hasher, header.firstFrameHash);
    this.packed = take(header.packedBytes);
    this.plain = take(header.plainBytes);
    this.dictionary = take(header.dictionaryBytes);
    this.io = take(ioBytes);
    this.targetBuffer = take(ioBytes);
    // A stand-alone patch must give the same bytes on every device, so that a base at hand is out of its reach.
    this.source = header.standalone ? emptySource : this.options.source!;
  }

  /** Not before the base was verified: opening a slot for writing costs the device its previous model. */
  private openTarget(): void {
    this.sink = this.options.target(this.parsed!, this.targetBuffer);
    this.runner = new OpRunner({ source: this.source, sink: this.sink, io: this.io });
    if (this.parsed!.codec === 'neural') this.neural = this.createNeural(this.parsed!);
  }

  private createNeural({ decodeClass }: PatchHeader): NeuralRunner {
    return new NeuralRunner({
      source: this.source,
      sink: this.sink,
      io: this.io,
      contexts: this.contexts,
      history: this.plain,
      mixedModels: decodeClass === 0 ? null : (this.options.mixedModels ?? null),
    });
  }

  private restore(header: PatchHeader): void {
    if (this.source.size !== header.sourceSize) {
      throw new SourceHashMismatch(`base model: expected ${header.sourceSize} bytes, got ${this.source.size}`);
    }
    this.journal = this.options.journal?.(header) ?? null;
    const checkpoint = this.journal?.load(this.headerHash) ?? null;
    if (checkpoint?.sourceVerified === true) this.goOn(checkpoint);
    else if (this.options.sourceVerified === true || header.standalone) this.beginTarget();
  }

  private goOn(checkpoint: Checkpoint): void {
    this.openTarget();
    this.sink.resume(checkpoint.targetOffset);
    this.segmentIndex = checkpoint.segmentIndex;
    this.segmentStart = checkpoint.segmentStart;
    this.bodyOffset = checkpoint.bodyOffset;
    this.lastCheckpoint = checkpoint.targetOffset;
    this.frames.restart(checkpoint.frameIndex, checkpoint.frameHash);
    this.startBody();
  }

  /** After the header of a resumed update: where in the file the body goes on; null when it starts at its start. */
  private seekAfterPreamble(): number | null {
    return this.frames.index === 0 ? null : this.preambleBytes + this.geometry.wireOffset(this.frames.index);
  }

  private startBody(): void {
    this.phase = this.sink.written === this.parsed!.targetSize ? this.finishTarget() : 'segment-header';
  }

  // --- frames ---------------------------------------------------------------------------------------------------------

  private needsFrame(): boolean {
    return (this.phase === 'segment-header' || this.phase === 'payload') && !this.frames.hasPayload;
  }

  /** Checks a gathered frame; false asks for it again. A resumed segment begins inside its first frame. */
  private takeFrame(): boolean {
    const index = this.frames.index;
    this.currentFrameHash.set(this.frames.expectedHash);
    if (!this.frames.verify()) {
      if (this.retriesLeft-- > 0) return false;
      throw new InvalidPatch('BAD_FRAME', `frame ${index} does not match the hash chain: damaged or forged`);
    }
    this.retriesLeft = this.options.frameRetries ?? 0;
    const skip = this.bodyOffset - this.geometry.bodyOffset(index);
    if (skip > 0) this.frames.drop(skip);
    return true;
  }

  private useBody(count: number): void {
    this.frames.drop(count);
    this.bodyOffset += count;
  }

  // --- work, one bounded step at a time -------------------------------------------------------------------------------

  /** Returns false for steps so small that several may follow one another. */
  private work(): boolean {
    switch (this.phase) {
      case 'source-hash':
        return this.hashSource();
      case 'segment-header':
        this.takeSegmentHeader();
        return false;
      case 'copy':
        return this.copy();
      case 'dictionary':
        return this.loadDictionary();
      case 'payload':
        return this.gatherPayload();
      case 'decompress':
        return this.decompress();
      case 'ops':
        if (this.runner.step()) this.endSegment();
        return true;
      case 'neural':
        if (this.neural!.step()) this.endSegment();
        return true;
      case 'target-hash':
        return this.hashTarget();
      default:
        throw new Error(`invariant broken: no work in phase ${this.phase}`);
    }
  }

  private hashSource(): boolean {
    const header = this.parsed!;
    if (this.sourceHashed === 0) this.options.hasher.reset();
    const run = this.io.subarray(0, Math.min(this.io.length, header.sourceSize - this.sourceHashed));
    if (run.length > 0) this.source.read(this.sourceHashed, run);
    this.options.hasher.update(run);
    this.sourceHashed += run.length;
    if (this.sourceHashed < header.sourceSize) return true;
    this.options.hasher.digest(this.digest);
    const matches = equalBytes(this.digest, header.sourceHash);
    const got = toHex(this.digest);
    this.digest.fill(0);
    if (!matches) throw new SourceHashMismatch(`base model: expected SHA-256 ${toHex(header.sourceHash)}, got ${got}`);
    this.beginTarget();
    return true;
  }

  /** Remembers that the source was verified, so that a cut does not cost hashing it again. */
  private beginTarget(): void {
    this.openTarget();
    this.markSegment();
    this.journalCheckpoint();
    this.startBody();
  }

  private takeSegmentHeader(): void {
    if (this.segmentHeaderFilled === 0) this.markSegment();
    const payload = this.frames.payload;
    const before = this.segmentHeaderFilled;
    const take = Math.min(payload.length, this.segmentHeader.length - before);
    this.segmentHeader.set(payload.subarray(0, take), before);
    const used = readSegmentHeader(this.segmentHeader, before + take, this.segmentStart, this.parsed!, this.segment);
    if (used === 0) {
      this.segmentHeaderFilled += take;
      this.useBody(take);
      if (this.bodyOffset === this.geometry.bodyBytes) throw this.bodyEnded();
      return;
    }
    this.segmentHeaderFilled = 0;
    this.useBody(used - before);
    this.beginSegment();
  }

  private markSegment(): void {
    this.segmentBodyOffset = this.bodyOffset;
    this.segmentFrame = this.frames.index;
    this.segmentFrameHash.set(this.frames.hasPayload ? this.currentFrameHash : this.frames.expectedHash);
  }

  private beginSegment(): void {
    const { segment } = this;
    this.progress = 0;
    if (segment.kind === SEGMENT_COPY) {
      // A resumed copy has part of itself in the slot already.
      this.progress = this.sink.written - this.segmentStart;
      if (this.progress >= segment.targetBytes)
        throw new InvalidPatch('BAD_SEGMENT', 'the journal points past its segment');
      this.phase = 'copy';
      return;
    }
    if (this.sink.written !== this.segmentStart)
      throw new InvalidPatch('BAD_SEGMENT', 'the journal points into a coded segment');
    const payload = segment.kind === SEGMENT_STORED ? segment.plainBytes : segment.packedBytes;
    if (payload > this.geometry.bodyBytes - this.bodyOffset) throw this.bodyEnded();
    this.phase = segment.dictionaryBytes > 0 ? 'dictionary' : 'payload';
    if (this.phase === 'payload' && payload === 0) this.payloadComplete();
  }

  private copy(): boolean {
    const { segment } = this;
    const run = this.io.subarray(0, Math.min(this.io.length, segment.targetBytes - this.progress));
    this.source.read(segment.sourceOffset + this.progress, run);
    this.sink.write(run);
    this.progress += run.length;
    if (this.progress === segment.targetBytes) this.endSegment();
    else if (this.journal !== null && this.copyIsDue() && this.sink.checkpoint()) this.journalCheckpoint();
    return true;
  }

  /** A long copy is journaled as often as coded segments are: a device that loses power often must get through it too. */
  private copyIsDue(): boolean {
    return this.sink.written - this.lastCheckpoint >= this.parsed!.segmentBytes;
  }

  private loadDictionary(): boolean {
    const { segment } = this;
    const end = Math.min(this.progress + this.io.length, segment.dictionaryBytes);
    this.source.read(segment.dictionaryOffset + this.progress, this.dictionary.subarray(this.progress, end));
    this.progress = end;
    if (end === segment.dictionaryBytes) {
      this.progress = 0;
      this.phase = 'payload';
      if (segment.packedBytes === 0) this.payloadComplete();
    }
    return true;
  }

  private gatherPayload(): boolean {
    const stored = this.segment.kind === SEGMENT_STORED;
    const wanted = stored ? this.segment.plainBytes : this.segment.packedBytes;
    const payload = this.frames.payload;
    const take = Math.min(payload.length, wanted - this.progress);
    (stored ? this.plain : this.packed).set(payload.subarray(0, take), this.progress);
    this.progress += take;
    this.useBody(take);
    if (this.progress === wanted) this.payloadComplete();
    return true;
  }

  private payloadComplete(): void {
    if (this.segment.kind === SEGMENT_STORED) this.runSegment();
    else if (this.segment.kind === SEGMENT_NEURAL) this.beginNeural();
    else if (this.options.decompressor === null)
      throw new InvalidPatch('UNSUPPORTED_CODEC', 'a zstd segment on a device without zstd');
    else this.phase = 'decompress';
  }

  private beginNeural(): void {
    const { segment } = this;
    this.neural!.begin({
      payload: this.packed.subarray(0, segment.packedBytes),
      targetOffset: this.segmentStart,
      targetBytes: segment.targetBytes,
      dictionary: this.dictionary.subarray(0, segment.dictionaryBytes),
      dictionaryOffset: segment.dictionaryOffset,
    });
    this.phase = 'neural';
  }

  private decompress(): boolean {
    const { segment } = this;
    this.options.decompressor!.decompress(
      this.dictionary.subarray(0, segment.dictionaryBytes),
      this.packed.subarray(0, segment.packedBytes),
      this.plain.subarray(0, segment.plainBytes),
    );
    this.runSegment();
    return true;
  }

  private runSegment(): void {
    this.runner.begin(this.plain.subarray(0, this.segment.plainBytes), this.segmentStart, this.segment.targetBytes);
    this.phase = 'ops';
  }

  private endSegment(): void {
    this.segmentIndex++;
    this.segmentStart = this.sink.written;
    if (this.sink.written === this.parsed!.targetSize) {
      if (this.bodyOffset !== this.geometry.bodyBytes) {
        throw new InvalidPatch(
          'BAD_SEGMENT',
          `expected the last segment to end the body, got ${this.geometry.bodyBytes - this.bodyOffset} more bytes`,
        );
      }
      this.phase = this.finishTarget();
      return;
    }
    if (this.bodyOffset === this.geometry.bodyBytes) throw this.bodyEnded();
    this.phase = 'segment-header';
    if (this.journal !== null && this.sink.checkpoint()) {
      this.markSegment();
      this.journalCheckpoint();
    }
  }

  private journalCheckpoint(): void {
    this.lastCheckpoint = this.sink.written;
    this.journal?.append(this.headerHash, {
      segmentIndex: this.segmentIndex,
      segmentStart: this.segmentStart,
      targetOffset: this.sink.written,
      bodyOffset: this.segmentBodyOffset,
      frameHash: this.segmentFrameHash,
      frameIndex: this.segmentFrame,
      sourceVerified: true,
    });
  }

  private finishTarget(): 'target-hash' {
    this.sink.finish();
    if (this.lastCheckpoint < this.sink.written) {
      this.markSegment();
      this.journalCheckpoint();
    }
    return 'target-hash';
  }

  private hashTarget(): boolean {
    if (!this.sink.stepDigest(this.digest)) return true;
    const expected = this.parsed!.targetHash;
    if (!equalBytes(this.digest, expected)) {
      this.forgetProgress();
      throw new TargetHashMismatch(`target: expected SHA-256 ${toHex(expected)}, got ${toHex(this.digest)}`);
    }
    this.phase = 'done';
    return true;
  }

  /** What the slot or the base held was wrong: the next attempt trusts neither, or it would end here for ever. */
  private forgetProgress(): void {
    this.journal?.append(this.headerHash, {
      segmentIndex: 0,
      segmentStart: 0,
      targetOffset: 0,
      bodyOffset: 0,
      frameHash: this.parsed!.firstFrameHash,
      frameIndex: 0,
      sourceVerified: false,
    });
  }

  private bodyEnded(): InvalidPatch {
    const left = this.parsed!.targetSize - this.sink.written;
    return new InvalidPatch(
      'BAD_SEGMENT',
      `the body ends ${left} target bytes early, after ${this.bodyOffset} of its bytes`,
    );
  }
}

function trailing(count: number): InvalidPatch {
  return new InvalidPatch('TRAILING_BYTES', `expected the patch to end, got at least ${count} more bytes`);
}

const emptySource: ByteSource = {
  size: 0,
  read(offset, into) {
    invariant(offset === 0 && into.length === 0, 'ranges were checked against the empty source');
  },
};
