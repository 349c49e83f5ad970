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
import { InvalidPatch, invariant, NeedsFullImage, SourceHashMismatch, TargetHashMismatch } from '../errors.js';
import { toHex } from '../hex.js';
import { PROFILES } from '../limits.js';
import { HASH_BYTES } from '../patch/frames.js';
import { checkHeaderDigest, declaredBufferBytes, type PatchHeader, parseHeader } from '../patch/header.js';
import {
  emptySegmentHeader,
  isHashBehind,
  isKept,
  MAX_SEGMENT_HEADER_BYTES,
  readSegmentHeader,
  SEGMENT_COPY,
  SEGMENT_NEURAL,
  SEGMENT_STORED,
  type SegmentHeader,
} from '../patch/segment.js';
import { parseSignatures, requireSignature } from '../patch/signatures.js';
import { UNIT_HASH_BYTES, unitStart } from '../patch/unit.js';
import type { ByteSource, Decompressor, Hasher, SignatureVerifier } from '../ports.js';
import { BodyReader } from './body-reader.js';
import { InPlaceTarget, type SingleSlot, slotSource } from './in-place-target.js';
import { type Checkpoint, canGoOn, holdsOneModel, type Journal, type UpdateState } from './journal.js';
import { type ApplyPolicy, checkPolicy } from './policy.js';
import { PreambleReader } from './preamble-reader.js';
import { RemainingSource } from './remaining-source.js';
import type { TargetSink } from './target-sink.js';
import { UnitCheck } from './unit-check.js';

export interface ApplierOptions {
  /** The base model; null where the device has none, which only a stand-alone patch accepts, and for a single slot. */
  readonly source: ByteSource | null;
  /**
   * Opens the output, called once, after the header is authenticated and within policy; `buffer` is for its use. Or the
   * single slot of a device that has no other: it takes in-place patches alone, and needs a journal.
   */
  readonly target: ((header: PatchHeader, buffer: Uint8Array) => TargetSink) | SingleSlot;
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
  /** Shared with nothing. With it the units of an in-place patch are checked also where it is applied to a slot of its own. */
  readonly unitHasher?: Hasher;
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
  | 'unit-hash'
  | 'unit-check'
  | 'overwrite'
  | 'target-hash'
  | 'done';

/** How often a unit that does not decode to its hash is decoded again: reading flash can go wrong once. */
const UNIT_RETRIES = 1;

export class Applier {
  private readonly options: ApplierOptions;
  private phase: Phase = 'preamble';
  private readonly preamble = new PreambleReader();
  private preambleBytes = 0;
  private parsed: PatchHeader | null = null;
  private headerHash: Uint8Array = new Uint8Array(HASH_BYTES);
  private body!: BodyReader;
  private sink!: TargetSink;
  private journal: Journal | null = null;
  private runner!: OpRunner;
  private neural: NeuralRunner | null = null;
  private contexts!: Uint8Array;
  private source!: ByteSource;
  /** `source`, for an in-place patch. */
  private remaining: RemainingSource | null = null;
  /** `sink`, in a single slot. */
  private inPlace: InPlaceTarget | null = null;
  /** `sink`, with a hasher for units. */
  private unitCheck: UnitCheck | null = null;
  private readonly unitHash = new Uint8Array(UNIT_HASH_BYTES);
  private unitRetriesLeft = UNIT_RETRIES;
  private state: UpdateState = 'source-verified';
  /** The work done asks for body bytes from elsewhere. */
  private seekDue = false;
  private io!: Uint8Array;
  private targetBuffer!: Uint8Array;
  private packed!: Uint8Array;
  private plain!: Uint8Array;
  private dictionary!: Uint8Array;
  private readonly segment: SegmentHeader = emptySegmentHeader();
  private readonly segmentHeader = new Uint8Array(MAX_SEGMENT_HEADER_BYTES);
  private segmentHeaderFilled = 0;
  private segmentStart = 0;
  /** Bytes of the dictionary, payload or copy that are done. */
  private progress = 0;
  private sourceHashed = 0;
  private lastCheckpoint = 0;
  private readonly digest = new Uint8Array(32);
  /** Something was thrown: what a half-done step left behind must not be gone on with. */
  private spent = false;

  constructor(options: ApplierOptions) {
    this.options = options;
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
        consumed += this.body.gather(chunk, consumed);
        if (!this.body.complete) {
          if (consumed < chunk.length) throw trailing(chunk.length - consumed);
          return { kind: 'input', consumed };
        }
        if (!this.body.verify()) {
          return { kind: 'seek', consumed, patchOffset: this.frameOffset() };
        }
        continue;
      }
      if (worked > 0) return { kind: 'busy', consumed };
      worked += this.work() ? 1 : 0;
      if (this.seekDue) {
        this.seekDue = false;
        return { kind: 'seek', consumed, patchOffset: this.frameOffset() };
      }
    }
  }

  /** To be called when the input ends, after `push` answered 'input' or 'done'. @throws InvalidPatch TRUNCATED unless the target is done. */
  end(): void {
    if (this.phase === 'done') return;
    if (this.phase === 'preamble') {
      throw new InvalidPatch('TRUNCATED', `the patch ends inside its header, after ${this.preamble.filled} bytes`);
    }
    const expected = this.preambleBytes + this.body.geometry.wireBytes;
    throw new InvalidPatch(
      'TRUNCATED',
      `the patch is cut short: expected ${expected} bytes, frame ${this.body.frameIndex} is missing`,
    );
  }

  private isPreamblePhase(): boolean {
    return this.phase === 'preamble';
  }

  // --- header ---------------------------------------------------------------------------------------------------------

  private gatherPreamble(chunk: Uint8Array, start: number): number {
    const taken = this.preamble.gather(chunk, start);
    const { size } = this.preamble;
    if (size !== null) {
      this.preambleBytes = size.preambleBytes;
      this.open(this.preamble.header, size.signatureCount);
    }
    return taken;
  }

  private open(header: Uint8Array, signatureCount: number): void {
    const { hasher, trustedKeys, verifier, policy } = this.options;
    checkHeaderDigest(header, hasher);
    if (trustedKeys.length > 0) {
      const blocks = parseSignatures(this.preamble.signatures, signatureCount);
      requireSignature({ header, blocks, trustedKeys, verifier, hasher });
    }
    const parsed = parseHeader(header);
    const base = this.base();
    const decoders = {
      zstd: this.options.decompressor !== null,
      neuralClass: this.options.mixedModels === undefined ? 0 : 1,
    };
    checkPolicy(parsed, policy, base, decoders, trustedKeys.length > 0);
    this.parsed = parsed;
    this.headerHash = header.slice(header.length - HASH_BYTES);
    this.layOut(parsed, base);
    this.phase = 'source-hash';
    this.restore(parsed);
  }

  private base(): ByteSource | null {
    const { target, source } = this.options;
    return typeof target === 'function' ? source : slotSource(target.slot);
  }

  /** Cuts the decoder's one block of memory into its buffers. */
  private layOut(header: PatchHeader, base: ByteSource | null): void {
    const total = declaredBufferBytes(header);
    const memory = this.options.memory === undefined ? new Uint8Array(total) : this.options.memory(total);
    let used = 0;
    const take = (length: number): Uint8Array => {
      used += length;
      return memory.subarray(used - length, used);
    };
    invariant(memory.length >= total, 'memory as declared');
    const { ioBytes } = PROFILES[header.profile];
    // First, because its fields are wider than a byte.
    this.contexts = take(header.contextBytes);
    const { target, hasher, frameRetries = 0 } = this.options;
    this.body = new BodyReader(header, take(header.frameBytes), hasher, frameRetries);
    this.packed = take(header.packedBytes);
    this.plain = take(header.plainBytes);
    this.dictionary = take(header.dictionaryBytes);
    this.io = take(ioBytes);
    this.targetBuffer = take(ioBytes);
    // A stand-alone patch must give the same bytes on every device, so that a base at hand is out of its reach.
    this.source = header.standalone ? emptySource : base!;
    if (typeof target !== 'function') {
      this.inPlace = new InPlaceTarget({ ...target, header, hasher, buffer: this.targetBuffer });
    }
    if (header.unitBytes === 0) return;
    // A single slot is longer than the model in it.
    const size = this.inPlace === null ? this.source.size : header.sourceSize;
    this.remaining = new RemainingSource(this.source, size);
    this.source = this.remaining;
  }

  /** Not before the base was verified: opening a slot for writing costs the device its previous model. */
  private openTarget(): void {
    this.sink = this.inPlace ?? this.openSlot();
    this.runner = new OpRunner({ source: this.source, sink: this.sink, io: this.io });
    if (this.parsed!.codec === 'neural') this.neural = this.createNeural(this.parsed!);
  }

  private openSlot(): TargetSink {
    const { target, unitHasher } = this.options;
    invariant(typeof target === 'function', 'a single slot is open already');
    const header = this.parsed!;
    const sink = target(header, this.targetBuffer);
    if (unitHasher === undefined || header.unitBytes === 0) return sink;
    this.unitCheck = new UnitCheck(sink, unitHasher, header.unitBytes);
    return this.unitCheck;
  }

  private createNeural({ decodeClass, priors }: PatchHeader): NeuralRunner {
    return new NeuralRunner({
      source: this.source,
      sink: this.sink,
      io: this.io,
      contexts: this.contexts,
      history: this.plain,
      mixedModels: decodeClass === 0 ? null : (this.options.mixedModels ?? null),
      priors,
    });
  }

  private restore(header: PatchHeader): void {
    if (this.source.size !== header.sourceSize) {
      throw new SourceHashMismatch(`base model: expected ${header.sourceSize} bytes, got ${this.source.size}`);
    }
    this.journal = this.options.journal?.(header) ?? null;
    const checkpoint = this.journal?.load(this.headerHash) ?? null;
    if (checkpoint !== null && canGoOn(checkpoint.state)) {
      this.openTarget();
      this.goOn(checkpoint);
      return;
    }
    if (this.inPlace !== null) {
      invariant(this.journal !== null, 'a single slot has a journal');
      this.state = this.inPlace.start(this.journal);
    }
    if (this.options.sourceVerified === true || header.standalone) this.beginTarget();
  }

  private goOn(checkpoint: Checkpoint): void {
    this.state = checkpoint.state;
    if (this.inPlace === null) this.sink.resume(checkpoint.targetOffset);
    else this.inPlace.restore(checkpoint);
    this.segmentStart = checkpoint.segmentStart;
    this.lastCheckpoint = checkpoint.targetOffset;
    this.body.restart(checkpoint);
    this.segmentHeaderFilled = 0;
    this.progress = 0;
    // What lies in the scratch slot is checked before it is written once more.
    if (checkpoint.state === 'overwriting') this.phase = 'unit-hash';
    else this.startBody();
  }

  /** After the header of a resumed update: where in the file the body goes on; null when it starts at its start. */
  private seekAfterPreamble(): number | null {
    return this.body.frameIndex === 0 ? null : this.frameOffset();
  }

  /** Where in the file the frame begins that is wanted next. */
  private frameOffset(): number {
    return this.preambleBytes + this.body.frameOffset;
  }

  private startBody(): void {
    this.phase = this.sink.written === this.parsed!.targetSize ? this.finishTarget() : 'segment-header';
  }

  // --- frames ---------------------------------------------------------------------------------------------------------

  private needsFrame(): boolean {
    const { phase } = this;
    return (phase === 'segment-header' || phase === 'payload' || phase === 'unit-hash') && !this.body.hasPayload;
  }

  // --- work, one bounded step at a time -------------------------------------------------------------------------------

  /**
   * In a single slot, bytes that do not decode may be the fault of a source that rotted since it was verified: they are
   * treated as a unit whose hash is wrong.
   */
  private work(): boolean {
    if (this.inPlace === null) return this.step();
    try {
      return this.step();
    } catch (error) {
      if (!(error instanceof InvalidPatch) || (error.code !== 'BAD_SEGMENT' && error.code !== 'BAD_OP')) throw error;
      this.failUnit(error);
      return true;
    }
  }

  /** Returns false for steps so small that several may follow one another. */
  private step(): boolean {
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
      case 'unit-hash':
        this.takeUnitHash();
        return false;
      case 'unit-check':
        return this.checkUnit(this.inPlace!);
      case 'overwrite':
        return this.overwrite(this.inPlace!);
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
    const message = `base model: expected SHA-256 ${toHex(header.sourceHash)}, got ${toHex(this.digest)}`;
    this.digest.fill(0);
    if (!matches) throw new SourceHashMismatch(message);
    this.beginTarget();
    return true;
  }

  /** Remembers that the source was verified, so that a cut does not cost hashing it again. */
  private beginTarget(): void {
    this.openTarget();
    this.body.mark();
    this.journalCheckpoint();
    this.startBody();
  }

  private takeSegmentHeader(): void {
    if (this.segmentHeaderFilled === 0) this.body.mark();
    const { payload } = this.body;
    const before = this.segmentHeaderFilled;
    const take = Math.min(payload.length, this.segmentHeader.length - before);
    this.segmentHeader.set(payload.subarray(0, take), before);
    const used = readSegmentHeader(this.segmentHeader, before + take, this.segmentStart, this.parsed!, this.segment);
    if (used === 0) {
      this.segmentHeaderFilled += take;
      this.body.use(take);
      if (this.body.left === 0) throw this.bodyEnded();
      return;
    }
    this.segmentHeaderFilled = 0;
    this.body.use(used - before);
    this.beginSegment();
  }

  private beginSegment(): void {
    const { segment } = this;
    this.progress = 0;
    if (this.remaining !== null) this.remaining.floor = unitStart(this.segmentStart, this.parsed!.unitBytes);
    if (this.inPlace !== null && isKept(segment, this.segmentStart, this.parsed!)) {
      this.inPlace.keep(segment.targetBytes);
      this.endSegment();
      return;
    }
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
    if (payload > this.body.left) throw this.bodyEnded();
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
    const into = stored ? this.plain : this.packed;
    this.progress += this.body.take(into.subarray(this.progress), wanted - this.progress);
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
    const hashed = isHashBehind(this.segment, this.segmentStart, this.parsed!);
    this.segmentStart = this.sink.written;
    if (!hashed) {
      this.nextSegment();
      return;
    }
    if (this.body.left === 0) throw this.bodyEnded();
    // Here an interrupted overwrite is gone on with.
    this.body.mark();
    this.progress = 0;
    this.phase = 'unit-hash';
  }

  private nextSegment(): void {
    if (this.sink.written === this.parsed!.targetSize) {
      if (this.body.left !== 0) {
        throw new InvalidPatch(
          'BAD_SEGMENT',
          `expected the last segment to end the body, got ${this.body.left} more bytes`,
        );
      }
      this.phase = this.finishTarget();
      return;
    }
    if (this.body.left === 0) throw this.bodyEnded();
    this.phase = 'segment-header';
    if (this.journal !== null && this.sink.checkpoint()) {
      this.body.mark();
      this.journalCheckpoint();
    }
  }

  // --- units of an in-place patch -------------------------------------------------------------------------------------

  private takeUnitHash(): void {
    this.progress += this.body.take(this.unitHash.subarray(this.progress), UNIT_HASH_BYTES - this.progress);
    if (this.progress < UNIT_HASH_BYTES) {
      if (this.body.left === 0) throw this.bodyEnded();
      return;
    }
    if (this.inPlace === null) {
      if (this.unitCheck?.matches(this.unitHash) === false) throw this.wrongUnit();
      this.nextSegment();
      return;
    }
    if (this.state !== 'overwriting') this.inPlace.endUnit();
    this.phase = 'unit-check';
  }

  private checkUnit(inPlace: InPlaceTarget): boolean {
    if (!inPlace.stepUnitDigest(this.digest)) return true;
    const matches = equalBytes(this.digest.subarray(0, UNIT_HASH_BYTES), this.unitHash);
    this.digest.fill(0);
    if (!matches) throw this.wrongUnit();
    if (this.state !== 'overwriting') {
      this.state = 'overwriting';
      this.journalCheckpoint();
    }
    this.phase = 'overwrite';
    return true;
  }

  private overwrite(inPlace: InPlaceTarget): boolean {
    if (!inPlace.stepOverwrite()) return true;
    this.state = 'mixed';
    this.unitRetriesLeft = UNIT_RETRIES;
    this.body.mark();
    this.journalCheckpoint();
    this.nextSegment();
    return true;
  }

  private wrongUnit(): InvalidPatch {
    return new InvalidPatch('BAD_SEGMENT', `the unit that ends at target byte ${this.sink.written} has another hash`);
  }

  /** Decodes the unit once more, from the last checkpoint; then gives up, and says what the slot is worth. */
  private failUnit(cause: InvalidPatch): void {
    // The scratch slot is all there is of a unit that may be half written over.
    if (this.unitRetriesLeft > 0 && this.state !== 'overwriting') {
      this.unitRetriesLeft--;
      this.goOn(this.journal!.load(this.headerHash)!);
      this.seekDue = true;
      return;
    }
    if (holdsOneModel(this.state)) {
      this.forgetProgress('none');
      throw cause;
    }
    throw this.slotLost(cause);
  }

  private slotLost(cause: Error): NeedsFullImage {
    this.forgetProgress('needs-full-image');
    return new NeedsFullImage(`the only slot holds no whole model: ${cause.message}`, { cause });
  }

  private journalCheckpoint(): void {
    this.lastCheckpoint = this.sink.written;
    this.journal?.append(this.headerHash, {
      segmentStart: this.segmentStart,
      targetOffset: this.sink.written,
      bodyOffset: this.body.markedOffset,
      frameHash: this.body.markedFrameHash,
      frameIndex: this.body.markedFrame,
      state: this.state,
      scratchSlot: this.inPlace?.scratchSlot ?? 0,
    });
  }

  private finishTarget(): 'target-hash' {
    this.sink.finish();
    if (this.lastCheckpoint < this.sink.written) {
      this.body.mark();
      this.journalCheckpoint();
    }
    return 'target-hash';
  }

  private hashTarget(): boolean {
    if (!this.sink.stepDigest(this.digest)) return true;
    const expected = this.parsed!.targetHash;
    if (!equalBytes(this.digest, expected)) {
      const error = new TargetHashMismatch(`target: expected SHA-256 ${toHex(expected)}, got ${toHex(this.digest)}`);
      // Nothing was written over as long as the source is merely verified.
      if (this.inPlace !== null && this.state !== 'source-verified') throw this.slotLost(error);
      this.forgetProgress('none');
      throw error;
    }
    if (this.inPlace !== null && this.state !== 'whole') {
      this.state = 'whole';
      this.body.mark();
      this.journalCheckpoint();
    }
    this.phase = 'done';
    return true;
  }

  /** What the slot or the base held was wrong: the next attempt trusts neither, or it would end here for ever. */
  private forgetProgress(state: 'none' | 'needs-full-image'): void {
    this.journal?.append(this.headerHash, {
      segmentStart: 0,
      targetOffset: 0,
      bodyOffset: 0,
      frameHash: this.parsed!.firstFrameHash,
      frameIndex: 0,
      state,
      scratchSlot: this.inPlace?.scratchSlot ?? 0,
    });
  }

  private bodyEnded(): InvalidPatch {
    const left = this.parsed!.targetSize - this.sink.written;
    return new InvalidPatch(
      'BAD_SEGMENT',
      `the body ends ${left} target bytes early, after ${this.body.offset} of its bytes`,
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
