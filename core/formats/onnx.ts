/**
 * Where an ONNX model keeps its weights. Field numbers are those of onnx/onnx.proto; the wire format is protobuf.ts's.
 *
 * A tensor gets a range when its elements lie in the file at a fixed width: `raw_data`, and `float_data` or `double_data`
 * in one packed run. Left to the byte-level delta are the varint fields (`int32_data`, `int64_data`, `uint64_data`: one
 * changed value moves all that follow), strings, and unpacked or split runs. Data of a tensor that is EXTERNAL is in
 * another file, which is patched as plain bytes.
 *
 * Taken from wherever a model may hold them: initializers, dense or sparse, and attributes (Constant nodes, mostly), of the
 * graph, of graphs in attributes (If, Loop, Scan), of functions and of training graphs.
 */

import { ModelFormatError } from '../errors.js';
import { MODEL_LIMITS } from '../limits.js';
import type { ByteSource } from '../ports.js';
import { elementBytes } from './dtype.js';
import { inFileOrder } from './file-order.js';
import type { DType, ModelLayout, Tensor } from './model.js';
import { OnnxScales } from './onnx-scales.js';
import { Protobuf, type ProtoMessage, prefixedField, varintField } from './protobuf.js';
import { WindowedSource } from './windowed-source.js';

const MODEL = { graph: prefixedField(7), trainingInfo: prefixedField(20), functions: prefixedField(25) } as const;
const TRAINING_INFO = { initialization: prefixedField(1), algorithm: prefixedField(2) } as const;
const FUNCTION = { node: prefixedField(7) } as const;
const GRAPH = { node: prefixedField(1), initializer: prefixedField(5), sparseInitializer: prefixedField(15) } as const;
const NODE = { output: prefixedField(2), opType: prefixedField(4), attribute: prefixedField(5) } as const;
const ATTRIBUTE = {
  t: prefixedField(5),
  g: prefixedField(6),
  tensors: prefixedField(10),
  graphs: prefixedField(11),
  sparseTensor: prefixedField(22),
  sparseTensors: prefixedField(23),
} as const;
const SPARSE_TENSOR = { values: prefixedField(1), indices: prefixedField(2) } as const;
const TENSOR = {
  dim: varintField(1),
  packedDims: prefixedField(1),
  dataType: varintField(2),
  floatData: prefixedField(4),
  int32Data: prefixedField(5),
  name: prefixedField(8),
  rawData: prefixedField(9),
  doubleData: prefixedField(10),
  dataLocation: varintField(14),
} as const;
const DATA_LOCATION_EXTERNAL = 1;

/** TensorProto.DataType, in its order; types that have no typed delta (string, complex, ...) are 'other'. */
const DATA_TYPES: readonly DType[] = [
  'other',
  'f32',
  'u8',
  'i8',
  'u16',
  'i16',
  'i32',
  'i64',
  'other',
  'bool',
  'f16',
  'f64',
  'u32',
  'u64',
  'other',
  'other',
  'bf16',
  'f8_e4m3',
  'other',
  'f8_e5m2',
  'other',
  // uint4 is packed as int4, and is told by the same ops.
  'i4',
  'i4',
];

/** Zero points, which may lie in varint fields, are read up to this; other data there is long. */
const MAX_FEW_BYTES = 64;
const {
  tensors: MAX_TENSORS,
  rank: MAX_RANK,
  nameBytes: MAX_NAME_BYTES,
  metadataBytes: MAX_METADATA_BYTES,
  onnxDepth: MAX_DEPTH,
} = MODEL_LIMITS;

/**
 * Tensors of all graphs that hold data, in file order. Throws ModelFormatError for a file that is no protobuf, cut short,
 * beyond the limits, or has no graph. Throws IoError when `source` cannot be read.
 */
export function readOnnx(source: ByteSource): ModelLayout {
  const file = new WindowedSource(source);
  const model = new Protobuf(file, { budgetBytes: MAX_METADATA_BYTES, maxDepth: MAX_DEPTH }).root();
  return { format: 'ONNX', tensors: new OnnxReader(file).read(model), warning: null };
}

class OnnxReader {
  private readonly file: WindowedSource;
  private readonly tensors: Tensor[] = [];
  private readonly scales = new OnnxScales();

  constructor(file: WindowedSource) {
    this.file = file;
  }

  read(model: ProtoMessage): Tensor[] {
    let graphs = 0;
    while (model.next()) {
      if (model.tag === MODEL.graph) {
        this.graph(model.message('a graph'));
        graphs++;
      } else if (model.tag === MODEL.trainingInfo) this.trainingInfo(model.message('training information'));
      else if (model.tag === MODEL.functions) this.function(model.message('a function'));
    }
    if (graphs === 0) throw new ModelFormatError('expected a graph, got none', this.file.size);
    // Fields are apart by construction; only the indices of a sparse tensor may come before its values.
    return this.scales.applyTo(inFileOrder(this.tensors), this.file);
  }

  private trainingInfo(info: ProtoMessage): void {
    while (info.next()) {
      if (info.tag === TRAINING_INFO.initialization || info.tag === TRAINING_INFO.algorithm)
        this.graph(info.message('a training graph'));
    }
  }

  private function(definition: ProtoMessage): void {
    while (definition.next()) if (definition.tag === FUNCTION.node) this.node(definition.message('a node'));
  }

  private graph(graph: ProtoMessage): void {
    while (graph.next()) {
      if (graph.tag === GRAPH.node) this.node(graph.message('a node'));
      else if (graph.tag === GRAPH.initializer) this.tensor(graph.message('an initializer'), '');
      else if (graph.tag === GRAPH.sparseInitializer) this.sparse(graph.message('a sparse initializer'), '');
    }
  }

  /** Twice through the fields, since attributes are named by the node's output, wherever that comes. */
  private node(node: ProtoMessage): void {
    let output = '';
    let opType = '';
    while (node.next()) {
      if (node.tag === NODE.output && output === '') output = node.text(MAX_NAME_BYTES, "bytes of an output's name");
      else if (node.tag === NODE.opType) opType = node.text(MAX_NAME_BYTES, 'bytes of an operator');
    }
    this.scales.note(opType, node);
    node.rewind();
    while (node.next()) if (node.tag === NODE.attribute) this.attribute(node.message('an attribute'), output);
  }

  private attribute(attribute: ProtoMessage, output: string): void {
    while (attribute.next()) {
      switch (attribute.tag) {
        case ATTRIBUTE.t:
        case ATTRIBUTE.tensors:
          this.tensor(attribute.message('a tensor'), output);
          break;
        case ATTRIBUTE.g:
        case ATTRIBUTE.graphs:
          this.graph(attribute.message('a sub-graph'));
          break;
        case ATTRIBUTE.sparseTensor:
        case ATTRIBUTE.sparseTensors:
          this.sparse(attribute.message('a sparse tensor'), output);
          break;
      }
    }
  }

  /** Values and indices are a tensor each; both go by the values' name. */
  private sparse(sparse: ProtoMessage, output: string): void {
    let values: ProtoMessage | null = null;
    let indices: ProtoMessage | null = null;
    while (sparse.next()) {
      if (sparse.tag === SPARSE_TENSOR.values) values = sparse.message('the values of a sparse tensor');
      else if (sparse.tag === SPARSE_TENSOR.indices) indices = sparse.message('the indices of a sparse tensor');
    }
    const name = values === null ? output : this.tensor(values, output);
    if (indices !== null) this.tensor(indices, `${name}/indices`);
  }

  /** Adds the tensor if its data has a range. `output`: the value it becomes, '' when it has none but its own name. */
  private tensor(message: ProtoMessage, output: string): string {
    const fields = readFields(message);
    const name = output === '' ? fields.name : output;
    const { data, shape, integers } = fields;
    if (integers.length > 0) this.scales.noteIntegers(name, integers);
    if (data === null || data.length === 0) return name;
    if (this.tensors.length >= MAX_TENSORS) {
      throw new ModelFormatError(`expected at most ${MAX_TENSORS} tensors`, data.offset);
    }
    const dtype = data.length % elementBytes(data.dtype) === 0 ? data.dtype : 'other';
    this.tensors.push({ ...data, name, dtype, shape, aliases: [], scales: [], scaleAxis: 0 });
    return name;
  }
}

interface DataRange {
  readonly dtype: DType;
  readonly offset: number;
  readonly length: number;
}

interface TensorFields {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: DataRange | null;
  /** `int32_data`, where that is short. */
  readonly integers: readonly number[];
}

/** A TensorProto. Of a field that comes twice, the last counts, as protobuf has it; a run in two parts is no range. */
function readFields(message: ProtoMessage): TensorFields {
  const shape: number[] = [];
  let name = '';
  let dataType = 0;
  let external = false;
  let raw: { offset: number; length: number } | null = null;
  let typed: DataRange | null = null;
  let runs = 0;
  const integers: number[] = [];
  while (message.next()) {
    const { position: offset, length } = message;
    switch (message.tag) {
      case TENSOR.dim:
      case TENSOR.packedDims:
        message.packedSigned(shape, MAX_RANK, "of a tensor's dimensions");
        requireDimensions(shape, offset);
        break;
      case TENSOR.dataType:
        dataType = message.signed("a tensor's type");
        break;
      case TENSOR.name:
        name = message.text(MAX_NAME_BYTES, "bytes of a tensor's name");
        break;
      case TENSOR.rawData:
        raw = { offset, length };
        break;
      case TENSOR.floatData:
      case TENSOR.doubleData:
        typed = { dtype: message.tag === TENSOR.floatData ? 'f32' : 'f64', offset, length };
        runs++;
        break;
      case TENSOR.int32Data:
        if (length <= MAX_FEW_BYTES && integers.length === 0) message.packedSigned(integers, MAX_FEW_BYTES, 'integers');
        break;
      case TENSOR.dataLocation:
        external = message.signed("a tensor's data location") === DATA_LOCATION_EXTERNAL;
        break;
    }
  }
  if (external) return { name, shape, integers, data: null };
  if (raw !== null) return { name, shape, integers, data: { ...raw, dtype: DATA_TYPES[dataType] ?? 'other' } };
  return { name, shape, integers, data: runs === 1 ? typed : null };
}

function requireDimensions(shape: readonly number[], at: number): void {
  const negative = shape.find((size) => size < 0);
  if (negative !== undefined) throw new ModelFormatError(`expected dimensions of at least 0, got ${negative}`, at);
}
