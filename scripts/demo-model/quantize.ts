/**
 * Post-training quantisation to full int8, following TFLite's 8-bit quantization specification
 * (https://ai.google.dev/edge/litert/models/quantization_spec): weights symmetric in [-127, 127], per output channel
 * for CONV_2D and per tensor for FULLY_CONNECTED (older runtimes know no other), activations asymmetric from calibrated
 * ranges, int32 biases at scale input x weight. Also runs the result, so that the accuracies the demo prints are those
 * of the integers that ship.
 */

import { type Dataset, WINDOW_VALUES } from './gestures.js';
import { affine, type Layer, type LayerShape, type Network } from './network.js';
import { createActivations, forward, shareCorrect } from './training.js';

/** real = scale * (quantised - zeroPoint); the scale is a float32 value, as the file stores it. */
export interface ActivationScale {
  readonly scale: number;
  readonly zeroPoint: number;
}

export interface QuantizedLayer {
  readonly shape: LayerShape;
  /** [outputs, window] */
  readonly weights: Int8Array;
  /** One per output channel for conv, exactly one for dense. */
  readonly weightScales: Float32Array;
  readonly biases: Int32Array;
  /** Float32 scales of the biases, as many as weightScales. */
  readonly biasScales: Float32Array;
  readonly output: ActivationScale;
}

export interface QuantizedNetwork {
  readonly input: ActivationScale;
  readonly layers: readonly QuantizedLayer[];
}

/** Ranges are the extremes met on `calibration`, as TFLite's converter takes them. */
export function quantize(network: Network, calibration: Dataset): QuantizedNetwork {
  const activations = createActivations(network, calibration.count);
  activations[0]!.set(calibration.windows);
  forward(network, calibration.count, activations);
  const scales = activations.map(activationScale);
  return {
    input: scales[0]!,
    layers: network.map((layer, index) => quantizeLayer(layer, scales[index]!, scales[index + 1]!)),
  };
}

function activationScale(values: Float64Array): ActivationScale {
  // Zero must be exactly representable, so the range always includes it.
  let low = 0;
  let high = 0;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const scale = Math.fround((high - low) / 255) || 1;
  return { scale, zeroPoint: clampInt8(roundHalfAway(-128 - low / scale)) };
}

function quantizeLayer(
  { shape, weights, biases }: Layer,
  input: ActivationScale,
  output: ActivationScale,
): QuantizedLayer {
  const perScale = shape.kind === 'conv' ? shape.window : weights.length;
  const weightScales = Float32Array.from({ length: weights.length / perScale }, (_, channel) =>
    symmetricScale(weights.subarray(channel * perScale, (channel + 1) * perScale)),
  );
  const biasScales = weightScales.map((scale) => input.scale * scale);
  const channelOf = (o: number): number => (weightScales.length === 1 ? 0 : o);
  return {
    shape,
    weights: Int8Array.from(weights, (w, i) => roundHalfAway(w / weightScales[Math.floor(i / perScale)]!)),
    weightScales,
    biases: Int32Array.from(biases, (b, o) => roundHalfAway(b / biasScales[channelOf(o)]!)),
    biasScales,
    output,
  };
}

function symmetricScale(weights: Float64Array): number {
  let largest = 0;
  for (const weight of weights) {
    const size = weight < 0 ? -weight : weight;
    if (size > largest) largest = size;
  }
  return largest / 127 || 1;
}

/** Int8 logits [count, classes] by integer arithmetic, one rounding per output value like TFLite's kernels. */
export function runQuantized(network: QuantizedNetwork, data: Dataset): Float64Array {
  let zeroPoint = network.input.zeroPoint;
  let values: Float64Array = new Float64Array(data.count * WINDOW_VALUES);
  for (const [i, real] of data.windows.entries()) {
    values[i] = clampInt8(roundHalfAway(real / network.input.scale) + zeroPoint);
  }
  let inputScale = network.input.scale;
  for (const layer of network.layers) {
    values = runQuantizedLayer(layer, values, { scale: inputScale, zeroPoint }, data.count);
    zeroPoint = layer.output.zeroPoint;
    inputScale = layer.output.scale;
  }
  return values;
}

function runQuantizedLayer(
  { shape, weights, weightScales, biases, output }: QuantizedLayer,
  values: Float64Array,
  input: ActivationScale,
  samples: number,
): Float64Array {
  // The float kernel on whole numbers: every product and sum stays far below 2^53, so the doubles are exact integers.
  const centred = values.map((value) => value - input.zeroPoint);
  const sums = new Float64Array(samples * shape.outputValues);
  affine({ shape, weights: Float64Array.from(weights), biases: Float64Array.from(biases) }, centred, samples, sums);
  const lowest = shape.relu ? output.zeroPoint : -128;
  return sums.map((sum, i) => {
    const weightScale = weightScales.length === 1 ? weightScales[0]! : weightScales[i % shape.outputs]!;
    const rescaled = roundHalfAway((sum * input.scale * weightScale) / output.scale) + output.zeroPoint;
    return Math.max(lowest, clampInt8(rescaled));
  });
}

export function quantizedAccuracy(network: QuantizedNetwork, data: Dataset): number {
  return shareCorrect(runQuantized(network, data), data.labels);
}

/** Half away from zero, as TFLite rounds; Math.round sends -2.5 to -2. */
function roundHalfAway(value: number): number {
  return value < 0 ? -Math.floor(0.5 - value) : Math.floor(value + 0.5);
}

function clampInt8(value: number): number {
  return Math.max(-128, Math.min(127, value));
}
