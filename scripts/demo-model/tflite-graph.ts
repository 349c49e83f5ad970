/** Lays the quantised network out as TFLite tensors and operators: what a Keras model looks like after conversion. */

import { AXES, SAMPLES_PER_WINDOW } from './gestures.js';
import { CONV_KERNEL, CONV_STRIDE } from './network.js';
import type { QuantizedLayer, QuantizedNetwork } from './quantize.js';
import { TENSOR_INT8, TENSOR_INT32, type TfliteOperator, type TfliteTensor, writeTflite } from './tflite-file.js';

export function exportTflite(network: QuantizedNetwork): Uint8Array {
  const tensors: TfliteTensor[] = [];
  const operators: TfliteOperator[] = [];
  const add = (tensor: TfliteTensor): number => tensors.push(tensor) - 1;

  const input = add({
    name: 'serving_default_acceleration:0',
    type: TENSOR_INT8,
    shape: [1, SAMPLES_PER_WINDOW, 1, AXES],
    quantization: { scales: [network.input.scale], zeroPoint: network.input.zeroPoint },
  });

  let current = input;
  let flat = false;
  for (const [index, layer] of network.layers.entries()) {
    if (layer.shape.kind === 'dense' && !flat) {
      const { scale, zeroPoint } = network.layers[index - 1]!.output;
      const shape = [1, layer.shape.inputValues];
      const target = add({
        name: 'gestures/flatten/Const',
        type: TENSOR_INT32,
        shape: [2],
        data: littleEndian(Int32Array.from(shape)),
      });
      const output = add({
        name: 'gestures/flatten/Reshape',
        type: TENSOR_INT8,
        shape,
        quantization: { scales: [scale], zeroPoint },
      });
      operators.push({ inputs: [current, target], outputs: [output], options: { kind: 'reshape', shape } });
      current = output;
      flat = true;
    }
    const { weights, biases, output } = layerTensors(layer);
    const inputs = [current, add(weights), add(biases)];
    current = add(output);
    operators.push({ inputs, outputs: [current], options: layerOptions(layer) });
  }

  // TFLite fixes the scale of an int8 softmax: 256 steps over [0, 1).
  const output = add({
    name: 'StatefulPartitionedCall:0',
    type: TENSOR_INT8,
    shape: [1, network.layers.at(-1)!.shape.outputs],
    quantization: { scales: [1 / 256], zeroPoint: -128 },
  });
  operators.push({ inputs: [current], outputs: [output], options: { kind: 'softmax' } });
  return writeTflite({ description: 'Mallorn demo gestures', tensors, operators, inputs: [input], outputs: [output] });
}

function layerTensors({
  shape,
  weights,
  weightScales,
  biases,
  biasScales,
  output,
}: QuantizedLayer): Record<'weights' | 'biases' | 'output', TfliteTensor> {
  const prefix = `gestures/${shape.name}`;
  const conv = shape.kind === 'conv';
  return {
    weights: {
      name: `${prefix}/${conv ? 'Conv2D' : 'MatMul'}`,
      type: TENSOR_INT8,
      shape: conv ? [shape.outputs, CONV_KERNEL, 1, shape.window / CONV_KERNEL] : [shape.outputs, shape.window],
      data: littleEndian(weights),
      quantization: { scales: weightScales, zeroPoint: 0 },
    },
    biases: {
      name: `${prefix}/BiasAdd/ReadVariableOp`,
      type: TENSOR_INT32,
      shape: [shape.outputs],
      data: littleEndian(biases),
      quantization: { scales: biasScales, zeroPoint: 0 },
    },
    output: {
      name: `${prefix}/${shape.relu ? 'Relu' : 'BiasAdd'}`,
      type: TENSOR_INT8,
      shape: conv ? [1, shape.positions, 1, shape.outputs] : [1, shape.outputs],
      quantization: { scales: [output.scale], zeroPoint: output.zeroPoint },
    },
  };
}

function layerOptions({ shape }: QuantizedLayer): TfliteOperator['options'] {
  return shape.kind === 'conv'
    ? { kind: 'conv2d', strideHeight: CONV_STRIDE, relu: shape.relu }
    : { kind: 'fullyConnected', relu: shape.relu };
}

/** TFLite files are little-endian whatever machine trains them. */
function littleEndian(values: Int8Array | Int32Array): Uint8Array {
  const bytes = new Uint8Array(values.byteLength);
  const view = new DataView(bytes.buffer);
  if (values instanceof Int8Array) bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.length));
  else for (const [i, value] of values.entries()) view.setInt32(i * 4, value, true);
  return bytes;
}
