/**
 * Quantisation scales of ONNX weights. The file ties them to weights through operators only: DequantizeLinear and the
 * QLinear pair take a weight, its scales and its zero points as inputs, all by name (onnx.ai/onnx/operators). A hint that may fail to be
 * found, so whatever does not fit is left out.
 */

import { MODEL_LIMITS } from '../limits.js';
import { packedBytes, sharedZeroPoint } from './dtype.js';
import type { Tensor } from './model.js';
import { type ProtoMessage, prefixedField, varintField } from './protobuf.js';
import type { WindowedSource } from './windowed-source.js';

const NODE = { input: prefixedField(1), attribute: prefixedField(5) } as const;
const ATTRIBUTE = { name: prefixedField(1), i: varintField(3) } as const;

interface Inputs {
  readonly weight: number;
  readonly scale: number;
  /** Dimension that per-channel scales run along, unless an attribute says otherwise; -1 is the last. */
  readonly axis: number;
}

/** Which inputs are a weight and its scale; the scale follows the weight, the zero point the scale. */
const OPERATORS: ReadonlyMap<string, Inputs> = new Map([
  ['DequantizeLinear', { weight: 0, scale: 1, axis: 1 }],
  ['QLinearConv', { weight: 3, scale: 4, axis: 0 }],
  ['QLinearMatMul', { weight: 3, scale: 4, axis: -1 }],
]);

const { nameBytes: MAX_NAME_BYTES, scales: MAX_SCALES } = MODEL_LIMITS;

interface Link {
  readonly scale: string;
  /** '' where there is none. */
  readonly zero: string;
  readonly axis: number;
}

export class OnnxScales {
  private readonly links = new Map<string, Link>();
  private readonly integers = new Map<string, readonly number[]>();

  /** Remembers what a node says of its weight's scales. Reads `node` from its start, and only if it is such a node. */
  note(opType: string, node: ProtoMessage): void {
    const inputs = OPERATORS.get(opType);
    if (inputs === undefined) return;
    let index = 0;
    let weight = '';
    let scale = '';
    let zero = '';
    let { axis } = inputs;
    node.rewind();
    while (node.next()) {
      if (node.tag === NODE.input) {
        if (index === inputs.weight) weight = node.text(MAX_NAME_BYTES, "bytes of an input's name");
        else if (index === inputs.scale) scale = node.text(MAX_NAME_BYTES, "bytes of an input's name");
        else if (index === inputs.scale + 1) zero = node.text(MAX_NAME_BYTES, "bytes of an input's name");
        index++;
      } else if (node.tag === NODE.attribute) axis = axisOf(node.message('an attribute')) ?? axis;
    }
    if (weight !== '' && scale !== '') this.links.set(weight, { scale, zero, axis });
  }

  /** Remembers a short tensor of integers that has no range in the file. */
  noteIntegers(name: string, values: readonly number[]): void {
    this.integers.set(name, values);
  }

  /** `tensors` with their scales, where the model has some that fit. Reads at most MAX_SCALES scales in all. */
  applyTo(tensors: Tensor[], file: WindowedSource): Tensor[] {
    if (this.links.size === 0) return tensors;
    const scales = new Map(tensors.filter(isScale).map((tensor) => [tensor.name, tensor]));
    const zeros = new Map(tensors.filter(isZeroPoint).map((tensor) => [tensor.name, tensor]));
    let left = MAX_SCALES;
    return tensors.map((tensor) => {
      const link = this.links.get(tensor.name);
      const scale = link === undefined ? undefined : scales.get(link.scale);
      if (link === undefined || scale === undefined || scale.length / 4 > left) return tensor;
      left -= scale.length / 4;
      const zero = zeros.get(link.zero);
      const zeroPoints = zero === undefined ? (this.integers.get(link.zero) ?? []) : readBytes(zero, file);
      return withScales(tensor, readF32s(scale, file), zeroPoints, link.axis);
    });
  }
}

/** The value of an attribute called 'axis', null of any other. */
function axisOf(attribute: ProtoMessage): number | null {
  let named = false;
  let value: number | null = null;
  while (attribute.next()) {
    if (attribute.tag === ATTRIBUTE.name)
      named = attribute.text(MAX_NAME_BYTES, "bytes of an attribute's name") === 'axis';
    else if (attribute.tag === ATTRIBUTE.i) value = attribute.signed("an attribute's value");
  }
  return named ? value : null;
}

/** Scales by block (opset 21) have the rank of the weight; they fit no axis. */
function isScale(tensor: Tensor): boolean {
  return tensor.dtype === 'f32' && tensor.shape.length <= 1;
}

function isZeroPoint(tensor: Tensor): boolean {
  return (tensor.dtype === 'i8' || tensor.dtype === 'u8') && tensor.shape.length <= 1 && tensor.length <= MAX_SCALES;
}

function readBytes(tensor: Tensor, file: WindowedSource): number[] {
  const isSigned = tensor.dtype === 'i8';
  return Array.from(file.bytes(tensor.offset, tensor.length, 'a zero point'), (byte) =>
    isSigned ? (byte << 24) >> 24 : byte,
  );
}

function readF32s(tensor: Tensor, file: WindowedSource): number[] {
  return Array.from({ length: tensor.length / 4 }, (_, i) => file.f32(tensor.offset + 4 * i, 'a scale'));
}

function withScales(tensor: Tensor, scales: readonly number[], zeros: readonly number[], axis: number): Tensor {
  const elements = tensor.shape.reduce((product, size) => product * size, 1);
  const scaleAxis = scales.length === 1 ? 0 : axis < 0 ? axis + tensor.shape.length : axis;
  const whole = packedBytes(tensor.dtype, elements) === tensor.length;
  const fits = scales.length === 1 || scales.length === tensor.shape[scaleAxis];
  return whole && fits ? { ...tensor, scales, scaleAxis, ...sharedZeroPoint(tensor.dtype, zeros) } : tensor;
}
