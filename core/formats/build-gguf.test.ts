/** Builds GGUF files for the tests after docs/gguf.md of ggml, apart from the reader. No tests of its own. */

/** enum ggml_type and gguf_metadata_value_type, as far as the tests name them. */
export const TYPE = { f32: 0, f16: 1, q4_0: 2, q8_0: 8, q4_k: 12, i8: 24, removed: 31 } as const;
export const VALUE = { u8: 0, u16: 2, u32: 4, f32: 6, bool: 7, string: 8, array: 9, u64: 10, f64: 12 } as const;

export interface GgufTensor {
  readonly name: string;
  /** enum ggml_type. */
  readonly type: number;
  readonly shape: readonly number[];
  readonly bytes: number;
  /** From the start of the data; behind the tensor before, aligned, when left out. */
  readonly offset?: number;
}

export interface GgufPair {
  readonly key: string;
  readonly type: number;
  readonly value: (out: GgufBuilder) => void;
}

export interface GgufModel {
  readonly version?: number;
  readonly pairs?: readonly GgufPair[];
  readonly tensors?: readonly GgufTensor[];
  /** What the data is laid out by; `pairs` say it to the reader. */
  readonly alignment?: number;
  /** Leaves the data away, for sources that are larger than memory. */
  readonly withoutData?: boolean;
}

export interface BuiltGguf {
  readonly bytes: Uint8Array;
  /** Where the data begins. */
  readonly dataStart: number;
  /** Bytes of the whole file, data included. */
  readonly size: number;
  /** Fields by name: 'tensor count', 'pair count', '<key>' (its length), '<key> value', '<tensor> name', .. rank, shape, type, offset. */
  readonly marks: Readonly<Record<string, number>>;
}

export class GgufBuilder {
  readonly marks: Record<string, number> = {};
  private bytes = new Uint8Array(1 << 12);
  private length = 0;
  private readonly version: number;

  constructor(version: number) {
    this.version = version;
  }

  mark(name: string): this {
    this.marks[name] = this.length;
    return this;
  }

  raw(bytes: ArrayLike<number>): this {
    while (this.length + bytes.length > this.bytes.length) {
      const grown = new Uint8Array(2 * this.bytes.length);
      grown.set(this.bytes);
      this.bytes = grown;
    }
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
    return this;
  }

  u8(value: number): this {
    return this.raw([value]);
  }

  u32(value: number): this {
    return this.raw(new Uint8Array(Uint32Array.of(value).buffer));
  }

  u64(value: number | bigint): this {
    return this.raw(new Uint8Array(BigUint64Array.of(BigInt(value)).buffer));
  }

  count(value: number): this {
    return this.version === 1 ? this.u32(value) : this.u64(value);
  }

  text(value: string): this {
    const bytes = new TextEncoder().encode(value);
    return this.count(bytes.length).raw(bytes);
  }

  /** An array's type, count and elements. */
  array(type: number, count: number, elements: (out: this) => void): this {
    this.u32(type).count(count);
    elements(this);
    return this;
  }

  position(): number {
    return this.length;
  }

  finish(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }
}

export function buildGguf(model: GgufModel): BuiltGguf {
  const { version = 3, pairs = [], tensors = [], alignment = 32 } = model;
  const align = (position: number) => Math.ceil(position / alignment) * alignment;
  const out = new GgufBuilder(version);
  out.raw([...'GGUF'].map((character) => character.charCodeAt(0))).u32(version);
  out.mark('tensor count').count(tensors.length).mark('pair count').count(pairs.length);
  for (const { key, type, value } of pairs) value(out.mark(key).text(key).u32(type).mark(`${key} value`));
  let end = 0;
  for (const { name, type, shape, bytes, offset = align(end) } of tensors) {
    out.mark(`${name} name`).text(name).mark(`${name} rank`).u32(shape.length).mark(`${name} shape`);
    for (const size of shape) out.count(size);
    out.mark(`${name} type`).u32(type).mark(`${name} offset`).u64(offset);
    end = Math.max(end, offset + bytes);
  }
  const dataStart = align(out.position());
  const size = tensors.length === 0 ? out.position() : dataStart + end;
  const header = out.finish();
  const file = new Uint8Array(model.withoutData === true ? header.length : size).fill(0x77, header.length);
  file.set(header);
  return { bytes: file, dataStart, size, marks: out.marks };
}

/** A pair of every kind, a tokenizer, an alignment; tensors of plain and block types, out of order, one empty. */
export const SMALL: GgufModel = {
  alignment: 64,
  pairs: [
    { key: 'general.architecture', type: VALUE.string, value: (out) => out.text('llama') },
    { key: 'a.u8', type: VALUE.u8, value: (out) => out.u8(7) },
    { key: 'a.bool', type: VALUE.bool, value: (out) => out.u8(1) },
    { key: 'a.u16', type: VALUE.u16, value: (out) => out.raw([1, 2]) },
    { key: 'a.f64', type: VALUE.f64, value: (out) => out.u64(1) },
    // As long as general.alignment.
    { key: 'general.alignmenT', type: VALUE.u32, value: (out) => out.u32(3) },
    { key: 'general.alignment', type: VALUE.u32, value: (out) => out.u32(64) },
    {
      key: 'tokens',
      type: VALUE.array,
      value: (out) => out.array(VALUE.string, 3, (list) => list.text('<s>').text('').text('né')),
    },
    { key: 'scores', type: VALUE.array, value: (out) => out.array(VALUE.f32, 2, (list) => list.u32(1).u32(2)) },
    {
      key: 'nested',
      type: VALUE.array,
      value: (out) =>
        out.array(VALUE.array, 2, (list) =>
          list
            .array(VALUE.string, 1, (inner) => inner.text('x'))
            .array(VALUE.array, 1, (inner) => inner.array(VALUE.u64, 2, (last) => last.u64(1).u64(2))),
        ),
    },
  ],
  tensors: [
    { name: 'blk.0.ffn', type: TYPE.q8_0, shape: [64, 3], bytes: 204, offset: 128 },
    { name: 'token_embd', type: TYPE.f32, shape: [5, 4], bytes: 80, offset: 0 },
    { name: 'empty', type: TYPE.f32, shape: [0, 4], bytes: 0, offset: 384 },
    { name: 'scale', type: TYPE.f16, shape: [], bytes: 2, offset: 384 },
    { name: 'output', type: TYPE.f32, shape: [20], bytes: 80, offset: 0 },
    { name: 'blk.0.né', type: TYPE.q4_k, shape: [256, 2, 1], bytes: 288, offset: 448 },
  ],
};
