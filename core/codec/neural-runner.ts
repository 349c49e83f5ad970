/**
 * Decodes one neural segment: ops and elements come out of one range-coded payload, a bounded run at a time. Allocates nothing
 * after it was made. On gateways a byte model sees the segment so far and the base around it; the microcontroller class goes
 * without (SPEC.md, "Neural segments").
 */

import { InvalidPatch, invariant } from '../errors.js';
import { OP_CAST, OP_COPY, OP_LITERAL } from '../patch/segment.js';
import type { ByteSource } from '../ports.js';
import type { BitCoder } from './bit-coder.js';
import type { ByteModel } from './byte-model.js';
import { CastOp, NO_SCALES } from './cast-op.js';
import { CONTEXT_LAYOUTS } from './context-layout.js';
import { DEFAULT_PRIORS } from './default-priors.js';
import { ElementModels } from './element-models.js';
import { ELEMENT_BYTE, ELEMENT_BYTES, ELEMENT_FLOAT32 } from './elements.js';
import type { LiteralModel } from './literal-model.js';
import type { NarrowModel } from './narrow-model.js';
import { MIXED_MODELS_BYTES } from './neural-sizes.js';
import { type CodedOp, OpModels } from './op-models.js';
import type { ByteSink } from './op-runner.js';
import { Priors } from './priors.js';
import { CountedDecoder, type RangeDecoder, SingleRateDecoder } from './range-decoder.js';
import type { readTransposed, Transposed, transposedSpan } from './transposed-read.js';
import type { WideModel } from './wide-model.js';

/** Most scales that a cast may carry, by decode-cost class. */
export const MAX_NEURAL_SCALES: readonly number[] = [32, 4096];

/** Bytes of model state and scales, by decode-cost class: 0 without the mixed models, 1 with them. */
export const NEURAL_CONTEXT_BYTES: readonly number[] = [
  CONTEXT_LAYOUTS[0]!.bytes + 4 * MAX_NEURAL_SCALES[0]!,
  CONTEXT_LAYOUTS[1]!.bytes + MIXED_MODELS_BYTES + 4 * MAX_NEURAL_SCALES[1]!,
];

/** What class 1 has beside the plain contexts. */
export interface MixedModels {
  readonly bytes: ByteModel;
  readonly wide: WideModel;
  readonly narrow: NarrowModel;
  readonly literals: LiteralModel;
  readonly transposed: TransposedReader;
}

/** core/codec/transposed-read.ts */
export interface TransposedReader {
  readonly span: typeof transposedSpan;
  readonly read: typeof readTransposed;
}

/** Makes them over MIXED_MODELS_BYTES of `memory`; absent from devices that take class 0 only. */
export type MixedModelsFactory = (coder: BitCoder, memory: ArrayBuffer, offset: number) => MixedModels;

export interface NeuralSegment {
  readonly payload: Uint8Array;
  readonly targetOffset: number;
  readonly targetBytes: number;
  readonly dictionary: Uint8Array;
  readonly dictionaryOffset: number;
}

export interface NeuralRunnerOptions {
  readonly source: ByteSource;
  readonly sink: ByteSink;
  readonly io: Uint8Array;
  /** Model state, NEURAL_CONTEXT_BYTES of the class; begins at a multiple of 4. */
  readonly contexts: Uint8Array;
  /** The segment's target bytes while it is decoded, for class 1; empty for class 0. */
  readonly history: Uint8Array;
  /** Class 1 alone. */
  readonly mixedModels: MixedModelsFactory | null;
  /** The header's; class 1 looks at none. */
  readonly priors: Uint8Array;
}

export class NeuralRunner {
  private readonly source: ByteSource;
  private readonly sink: ByteSink;
  private readonly io: Uint8Array;
  private readonly history: Uint8Array;
  /** What the byte model sees of a segment. */
  private readonly text: {
    dictionary: Uint8Array;
    dictionaryOffset: number;
    readonly history: Uint8Array;
    targetBytes: number;
  };
  private readonly coder: RangeDecoder;
  private readonly ops: OpModels;
  private readonly elements: ElementModels;
  private readonly bytes: ByteModel | null;
  private readonly transposed: TransposedReader | null;
  private readonly op: CodedOp = {
    kind: 0,
    type: 0,
    length: 0,
    shift: 0,
    castTypes: 0,
    ...NO_SCALES,
    columns: 1,
    column: 0,
    stride: 0,
    learns: 0,
    sparse: 0,
  };
  private readonly cast: CastOp;
  private readonly scales: Uint8Array;
  private targetOffset = 0;
  private targetBytes = 0;
  /** Target bytes of the segment written. */
  private position = 0;
  private last = 0;
  private cursor = 0;
  private opSource = 0;
  private done = 0;

  constructor({ source, sink, io, contexts, history, mixedModels, priors }: NeuralRunnerOptions) {
    this.source = source;
    this.sink = sink;
    this.io = io;
    this.cast = new CastOp(io.length / 4);
    this.history = history;
    this.text = { dictionary: history.subarray(0, 0), dictionaryOffset: 0, history, targetBytes: 0 };
    invariant(contexts.byteOffset % 4 === 0, 'contexts begin at a multiple of 4');
    const layout = CONTEXT_LAYOUTS[mixedModels === null ? 0 : 1]!;
    const state = new Uint16Array(contexts.buffer, contexts.byteOffset, (layout.counted ? 2 : 1) * layout.contexts);
    this.coder = layout.counted
      ? new CountedDecoder(state)
      : new SingleRateDecoder(state, new Priors(DEFAULT_PRIORS, priors));
    this.ops = new OpModels(this.coder, layout);
    const mixedOffset = contexts.byteOffset + layout.bytes;
    const mixed = mixedModels === null ? null : mixedModels(this.coder, contexts.buffer as ArrayBuffer, mixedOffset);
    this.bytes = mixed?.bytes ?? null;
    this.transposed = mixed?.transposed ?? null;
    this.elements = new ElementModels(this.coder, layout, mixed);
    const mixedBytes = mixedModels === null ? 0 : MIXED_MODELS_BYTES;
    const scalesAt = layout.bytes + mixedBytes;
    this.scales = contexts.subarray(scalesAt, scalesAt + 4 * MAX_NEURAL_SCALES[mixedModels === null ? 0 : 1]!);
  }

  /** Kind and target bytes of the op under way, for whoever explains a patch. */
  get current(): { readonly kind: number; readonly length: number } {
    return this.op;
  }

  begin(segment: NeuralSegment): void {
    invariant(this.bytes === null || segment.targetBytes <= this.history.length, 'the segment fits the history');
    this.targetOffset = segment.targetOffset;
    this.targetBytes = segment.targetBytes;
    this.cursor = segment.targetOffset;
    this.position = 0;
    this.last = 0;
    this.done = 0;
    this.op.length = 0;
    this.coder.begin(segment.payload);
    this.ops.begin();
    this.elements.begin();
    this.text.dictionary = segment.dictionary;
    this.text.dictionaryOffset = segment.dictionaryOffset;
    this.text.targetBytes = segment.targetBytes;
    this.bytes?.begin(this.text);
  }

  /** Produces up to `io.length` target bytes; true when the segment is complete. @throws InvalidPatch BAD_OP */
  step(): boolean {
    if (this.done === this.op.length) this.nextOp();
    const { op } = this;
    const left = op.length - this.done;
    const run = op.kind === OP_CAST ? this.castRun(left) : this.plainRun(Math.min(this.io.length, left));
    this.done += run;
    return this.position === this.targetBytes;
  }

  private plainRun(run: number): number {
    const { op } = this;
    const target =
      this.bytes === null ? this.io.subarray(0, run) : this.history.subarray(this.position, this.position + run);
    if (op.kind === OP_LITERAL) this.literal(target, run);
    else if (op.kind === OP_COPY) this.source.read(this.opSource + this.done, target);
    else {
      const base = this.io.subarray(0, run);
      if (op.stride === 0) this.source.read(this.opSource + this.done, base);
      else this.transposed!.read(this.source, this.opSource, this.matrix(), this.done, base);
      this.elements.delta(op.type, base, target);
    }
    this.write(target);
    return run;
  }

  private matrix(): Transposed {
    const { columns, column, stride, type } = this.op;
    return { columns, column, stride, width: ELEMENT_BYTES[type]! };
  }

  private literal(target: Uint8Array, run: number): void {
    if (this.op.type === ELEMENT_BYTE && this.bytes !== null)
      this.bytes.code(this.position, run, this.opSource + this.done);
    else this.elements.literal(this.op.type, target, this.position, this.last);
  }

  private castRun(left: number): number {
    const { cast, op } = this;
    const run = Math.min(cast.runBytes, left);
    const base = this.io.subarray(0, cast.sourceBytes(run));
    this.source.read(this.opSource + cast.sourceBytes(this.done), base);
    const target = this.bytes === null ? cast.scratch(run) : this.history.subarray(this.position, this.position + run);
    if (cast.isRequantised) cast.codeBlocks(base, target, this.elements);
    else {
      const predicted = cast.predict(base, run, this.done, this.scales);
      if (cast.hasFractions) this.elements.rescaled(op.type, predicted, cast.fractions, target);
      else this.elements.delta(op.type, predicted, target);
    }
    this.write(target);
    return run;
  }

  private write(target: Uint8Array): void {
    // Before the sink may take the bytes for its own.
    this.last = target[target.length - 1]!;
    this.sink.write(target);
    this.position += target.length;
  }

  private nextOp(): void {
    const { op } = this;
    this.ops.op(op, this.cursor - this.targetOffset - this.position);
    this.done = 0;
    const width = ELEMENT_BYTES[op.type];
    const left = this.targetBytes - this.position;
    if (width === undefined) throw this.bad('a known element type', op.type);
    if (op.column >= op.columns) throw this.bad('a column of the row', op.column);
    if (op.length < 1 || op.length > left || op.length % width !== 0)
      throw this.bad(`1 to ${left} bytes in whole elements`, op.length);
    let sourceBytes = op.length;
    let perScale = 1;
    if (op.kind === OP_CAST) {
      const fault = this.cast.set(op, op.type, op.length, this.scales.length / 4);
      if (fault !== null) throw this.bad(fault, `a cast of ${op.length} bytes`);
      sourceBytes = this.cast.sourceBytes(op.length);
      perScale = this.cast.blockElements;
      this.elements.literal(ELEMENT_FLOAT32, this.scales.subarray(0, this.cast.scaleBytes), 0, 0);
    }
    this.elements.beginOp(op.columns, op.column, op.sparse === 1, perScale);
    this.opSource = this.cursor + op.shift;
    const reach = op.stride === 0 ? sourceBytes : this.transposed!.span(this.matrix(), op.length);
    const inside = this.opSource >= 0 && reach <= this.source.size - this.opSource;
    if (op.kind !== OP_LITERAL && !inside)
      throw this.bad(`a range inside the source's ${this.source.size} bytes`, `${this.opSource}+${reach}`);
    if (op.learns === 1) this.bytes?.learn(this.opSource, op.length);
    this.cursor = this.opSource + sourceBytes;
  }

  private bad(expected: string, got: string | number): InvalidPatch {
    return new InvalidPatch('BAD_OP', `segment at target byte ${this.targetOffset}: expected ${expected}, got ${got}`);
  }
}
