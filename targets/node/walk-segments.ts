/**
 * Reads the segments of a patch and the ops in them without running any. The frame chain is to be checked before: what is
 * read here is then what the patch's maker wrote, and the encoding is core's (core/patch/segment.ts, core/codec/op-runner.ts).
 */

import { VarintReader } from '../../core/bytes.js';
import { CastOp } from '../../core/codec/cast-op.js';
import { createMixedModels } from '../../core/codec/mixed-models.js';
import { NeuralRunner } from '../../core/codec/neural-runner.js';
import { InvalidPatch } from '../../core/errors.js';
import { PROFILES } from '../../core/limits.js';
import type { PatchHeader } from '../../core/patch/header.js';
import {
  emptySegmentHeader,
  isHashBehind,
  MAX_SEGMENT_HEADER_BYTES,
  OP_CAST,
  OP_COPY,
  OP_LITERAL,
  readSegmentHeader,
  SEGMENT_COPY,
  SEGMENT_NEURAL,
  SEGMENT_STORED,
  type SegmentHeader,
} from '../../core/patch/segment.js';
import { UNIT_HASH_BYTES } from '../../core/patch/unit.js';
import type { ByteSource, Decompressor } from '../../core/ports.js';
import type { SegmentOps } from './api-types.js';
import { BodySource } from './frame-chain.js';
import type { Preamble } from './inputs.js';
import { createDecompressor } from './zstd-decompressor.js';

const KINDS = ['copy', 'stored', 'zstd', 'neural'] as const;

/** Target bytes made by one op. */
export interface TargetRun {
  /** OP_COPY, OP_DELTA, OP_CAST or OP_LITERAL. */
  readonly kind: number;
  readonly start: number;
  readonly length: number;
}

/** `runs` are null where a dictionary hides the ops and `source` is null. @throws InvalidPatch */
export function walkSegments(
  patch: ByteSource,
  preamble: Preamble,
  source: ByteSource | null,
  use: (segment: SegmentOps, runs: readonly TargetRun[] | null) => void,
): void {
  const { header } = preamble;
  const reader = new SegmentReader(new BodySource(patch, preamble), header, source);
  for (let targetOffset = 0; targetOffset < header.targetSize; ) {
    const { segment, patchBytes, runs } = reader.next(targetOffset);
    const kind = KINDS[segment.kind]!;
    const { targetBytes, dictionaryBytes } = segment;
    use({ kind, targetOffset, targetBytes, patchBytes, dictionaryBytes, ops: runs?.length ?? null }, runs);
    targetOffset += targetBytes;
  }
}

class SegmentReader {
  private readonly body: BodySource;
  private readonly header: PatchHeader;
  private readonly source: ByteSource | null;
  private readonly decompressor: Decompressor = createDecompressor();
  private readonly segment: SegmentHeader = emptySegmentHeader();
  private readonly cast = new CastOp(0);
  private bodyOffset = 0;
  /** One for all neural segments: class 1 holds megabytes. */
  private runner: NeuralRunner | null = null;
  /** Where the runner is in the target. */
  private decoded = 0;

  constructor(body: BodySource, header: PatchHeader, source: ByteSource | null) {
    this.body = body;
    this.header = header;
    this.source = source;
  }

  next(targetOffset: number): { segment: SegmentHeader; patchBytes: number; runs: TargetRun[] | null } {
    const { segment } = this;
    const start = this.bodyOffset;
    const used = readSegmentHeader(...this.headerBytes(), targetOffset, this.header, segment);
    if (used === 0) throw this.bad(targetOffset, 'a whole segment header');
    this.bodyOffset += used;
    const runs =
      segment.kind === SEGMENT_COPY ? [runOf(OP_COPY, targetOffset, segment.targetBytes)] : this.coded(targetOffset);
    if (isHashBehind(segment, targetOffset, this.header)) this.bodyOffset += UNIT_HASH_BYTES;
    return { segment, patchBytes: this.bodyOffset - start, runs };
  }

  private headerBytes(): [Uint8Array, number] {
    const length = Math.min(MAX_SEGMENT_HEADER_BYTES, this.body.size - this.bodyOffset);
    return [this.read(this.bodyOffset, length), length];
  }

  private coded(targetOffset: number): TargetRun[] | null {
    const { segment, source } = this;
    const stored = segment.kind === SEGMENT_STORED;
    const length = stored ? segment.plainBytes : segment.packedBytes;
    if (length > this.body.size - this.bodyOffset) throw this.bad(targetOffset, 'a payload inside the body');
    const payload = this.read(this.bodyOffset, length);
    this.bodyOffset += length;
    if (stored) return this.runsOf(payload, targetOffset);
    if (segment.dictionaryBytes > 0 && source === null) return null;
    if (segment.kind === SEGMENT_NEURAL) return source === null ? null : this.neural(payload, source, targetOffset);
    const dictionary = new Uint8Array(segment.dictionaryBytes);
    source?.read(segment.dictionaryOffset, dictionary);
    const plain = new Uint8Array(segment.plainBytes);
    this.decompressor.decompress(dictionary, payload, plain);
    return this.runsOf(plain, targetOffset);
  }

  /** The ops of a neural segment only come out as it is decoded. */
  private neural(payload: Uint8Array, source: ByteSource, targetOffset: number): TargetRun[] {
    const { segment } = this;
    const dictionary = new Uint8Array(segment.dictionaryBytes);
    source.read(segment.dictionaryOffset, dictionary);
    this.runner ??= this.createRunner(source);
    this.decoded = targetOffset;
    this.runner.begin({ ...segment, payload, targetOffset, dictionary });
    const runs: TargetRun[] = [];
    let opEnd = targetOffset;
    for (let complete = false; !complete; ) {
      const start = this.decoded;
      complete = this.runner.step();
      if (start < opEnd) continue;
      const { kind, length } = this.runner.current;
      opEnd = start + length;
      runs.push(runOf(kind, start, length));
    }
    return runs;
  }

  private createRunner(source: ByteSource): NeuralRunner {
    const { header } = this;
    return new NeuralRunner({
      source,
      sink: {
        write: (bytes) => {
          this.decoded += bytes.length;
        },
      },
      io: new Uint8Array(PROFILES[header.profile].ioBytes),
      contexts: new Uint8Array(header.contextBytes),
      history: new Uint8Array(header.plainBytes),
      mixedModels: header.decodeClass === 0 ? null : createMixedModels,
      priors: header.priors,
    });
  }

  /** No ops at all mean one literal. */
  private runsOf(plain: Uint8Array, targetOffset: number): TargetRun[] {
    const end = targetOffset + this.segment.targetBytes;
    const ops = new VarintReader();
    ops.reset(plain, 0, plain.length);
    const opsBytes = ops.unsigned();
    if (opsBytes === 0) return [runOf(OP_LITERAL, targetOffset, end - targetOffset)];
    ops.reset(plain, ops.position, Math.min(plain.length, ops.position + opsBytes));
    const runs: TargetRun[] = [];
    for (let at = targetOffset; at < end; ) {
      const head = ops.byte();
      const length = ops.unsigned();
      if ((head & 0x20) !== 0) ops.signed();
      if ((head & 3) === OP_CAST && this.cast.read(ops, (head >> 2) & 7, length) !== null) {
        throw this.bad(targetOffset, 'sound casts');
      }
      if (ops.short || ops.failed || length < 1 || length > end - at)
        throw this.bad(targetOffset, 'ops that cover the segment');
      runs.push(runOf(head & 3, at, length));
      at += length;
    }
    return runs;
  }

  private read(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.body.read(offset, bytes);
    return bytes;
  }

  private bad(targetOffset: number, expected: string): InvalidPatch {
    return new InvalidPatch('BAD_SEGMENT', `segment at target byte ${targetOffset}: expected ${expected}`);
  }
}

function runOf(kind: number, start: number, length: number): TargetRun {
  return { kind, start, length };
}
