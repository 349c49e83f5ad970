/**
 * The network's shape and its two kernels, forward and backward.
 *
 * One kernel serves both layer kinds. In a channels-last signal a 1-D convolution without padding reads, for each
 * position, one contiguous run of input values, so it is a dense layer applied to overlapping rows.
 * Everything is kept in doubles: IEEE arithmetic on them is the same on every machine, and V8 converts nothing.
 */

import { AXES, GESTURES, SAMPLES_PER_WINDOW } from './gestures.js';
import { gaussian, type Random } from './random.js';

export interface LayerShape {
  readonly name: string;
  readonly kind: 'conv' | 'dense';
  /** Output channels or units; a multiple of 4, see `affine`. */
  readonly outputs: number;
  /** Input values that one output value sees. */
  readonly window: number;
  /** Rows per sample (a dense layer has 1), and input values from the start of one row to the start of the next. */
  readonly positions: number;
  readonly step: number;
  /** Values per sample on either side. */
  readonly inputValues: number;
  readonly outputValues: number;
  readonly relu: boolean;
}

export interface Layer {
  readonly shape: LayerShape;
  /** [outputs, window], which is also TFLite's order for both kinds. */
  readonly weights: Float64Array;
  readonly biases: Float64Array;
}

export type Network = readonly Layer[];

export const CONV_KERNEL = 5;
export const CONV_STRIDE = 2;

/** 64 x 3 accelerations, two strided convolutions, three dense layers: 95 k weights, almost all of them in dense1. */
export const ARCHITECTURE: readonly LayerShape[] = describe([
  { name: 'conv1', kind: 'conv', outputs: 16 },
  { name: 'conv2', kind: 'conv', outputs: 32 },
  { name: 'dense1', kind: 'dense', outputs: 192 },
  { name: 'dense2', kind: 'dense', outputs: 64 },
  { name: 'logits', kind: 'dense', outputs: GESTURES.length },
]);

function describe(plan: readonly Pick<LayerShape, 'name' | 'kind' | 'outputs'>[]): LayerShape[] {
  let rows = SAMPLES_PER_WINDOW;
  let channels = AXES;
  return plan.map(({ name, kind, outputs }, index) => {
    const inputValues = rows * channels;
    const conv = kind === 'conv';
    const positions = conv ? Math.floor((rows - CONV_KERNEL) / CONV_STRIDE) + 1 : 1;
    const window = conv ? CONV_KERNEL * channels : inputValues;
    const step = conv ? CONV_STRIDE * channels : 0;
    rows = positions;
    channels = outputs;
    const relu = index < plan.length - 1;
    return { name, kind, outputs, window, positions, step, inputValues, outputValues: rows * channels, relu };
  });
}

/** He initialisation: variance 2 / fan-in keeps a ReLU network's signals at one scale. */
export function createNetwork(random: Random): Network {
  return ARCHITECTURE.map((shape) => {
    const deviation = Math.sqrt(2 / shape.window);
    const weights = new Float64Array(shape.outputs * shape.window).map(() => deviation * gaussian(random));
    return { shape, weights, biases: new Float64Array(shape.outputs) };
  });
}

export function cloneNetwork(network: Network): Network {
  return network.map(({ shape, weights, biases }) => ({ shape, weights: weights.slice(), biases: biases.slice() }));
}

/**
 * output[sample, position, o] = biases[o] + weights[o] . input row, no activation. Four outputs at a time share each
 * load of the input, about twice as fast as one (measured); the order of additions is fixed.
 */
export function affine(
  layer: Pick<Layer, 'shape' | 'weights' | 'biases'>,
  input: Float64Array,
  samples: number,
  output: Float64Array,
): void {
  const { outputs, window, positions, step, inputValues } = layer.shape;
  const { weights, biases } = layer;
  for (let o = 0; o < outputs; o += 4) {
    const w0 = o * window;
    const w1 = w0 + window;
    const w2 = w1 + window;
    const w3 = w2 + window;
    for (let sample = 0; sample < samples; sample++) {
      for (let position = 0; position < positions; position++) {
        const from = sample * inputValues + position * step;
        let sum0 = biases[o]!;
        let sum1 = biases[o + 1]!;
        let sum2 = biases[o + 2]!;
        let sum3 = biases[o + 3]!;
        for (let i = 0; i < window; i++) {
          const x = input[from + i]!;
          sum0 += x * weights[w0 + i]!;
          sum1 += x * weights[w1 + i]!;
          sum2 += x * weights[w2 + i]!;
          sum3 += x * weights[w3 + i]!;
        }
        const to = (sample * positions + position) * outputs + o;
        output[to] = sum0;
        output[to + 1] = sum1;
        output[to + 2] = sum2;
        output[to + 3] = sum3;
      }
    }
  }
}

/** Gradients of one layer, same shapes as the layer's own arrays. */
export interface Gradients {
  readonly weights: Float64Array;
  readonly biases: Float64Array;
}

/**
 * Adds a batch's gradients to `into`, and writes the gradient at the layer's input to `inputGradient` (overwritten).
 * More than half of the output gradients are zero behind a ReLU, so only the others are gathered and summed.
 */
export function affineBackward(
  layer: Layer,
  input: Float64Array,
  samples: number,
  outputGradient: Float64Array,
  into: Gradients,
  inputGradient: Float64Array,
): void {
  const { outputs, window, positions, step, inputValues } = layer.shape;
  const rows = samples * positions;
  const rowOffset = (row: number): number => Math.floor(row / positions) * inputValues + (row % positions) * step;
  const terms = createTerms(Math.max(rows, outputs));

  for (let o = 0; o < outputs; o++) {
    terms.count = 0;
    for (let row = 0; row < rows; row++) {
      const g = outputGradient[row * outputs + o]!;
      if (g === 0) continue;
      into.biases[o] = into.biases[o]! + g;
      addTerm(terms, g, rowOffset(row));
    }
    addScaledRuns(into.weights, o * window, window, input, terms);
  }

  inputGradient.fill(0, 0, samples * inputValues);
  for (let row = 0; row < rows; row++) {
    terms.count = 0;
    for (let o = 0; o < outputs; o++) {
      const g = outputGradient[row * outputs + o]!;
      if (g !== 0) addTerm(terms, g, o * window);
    }
    addScaledRuns(inputGradient, rowOffset(row), window, layer.weights, terms);
  }
}

/** Factors, and where in a source array the run that each one scales begins. */
interface Terms {
  readonly factors: Float64Array;
  readonly offsets: Uint32Array;
  count: number;
}

function createTerms(capacity: number): Terms {
  // Room for the padding of addScaledRuns.
  return { factors: new Float64Array(capacity + 3), offsets: new Uint32Array(capacity + 3), count: 0 };
}

function addTerm(terms: Terms, factor: number, offset: number): void {
  terms.factors[terms.count] = factor;
  terms.offsets[terms.count] = offset;
  terms.count++;
}

/** target[to + i] += sum of factors[k] * source[offsets[k] + i]; four terms share one load and store of the target. */
function addScaledRuns(target: Float64Array, to: number, length: number, source: Float64Array, terms: Terms): void {
  while (terms.count % 4 !== 0) addTerm(terms, 0, 0);
  const { factors, offsets, count } = terms;
  for (let k = 0; k < count; k += 4) {
    const g0 = factors[k]!;
    const g1 = factors[k + 1]!;
    const g2 = factors[k + 2]!;
    const g3 = factors[k + 3]!;
    const s0 = offsets[k]!;
    const s1 = offsets[k + 1]!;
    const s2 = offsets[k + 2]!;
    const s3 = offsets[k + 3]!;
    for (let i = 0; i < length; i++) {
      target[to + i] =
        target[to + i]! + g0 * source[s0 + i]! + g1 * source[s1 + i]! + g2 * source[s2 + i]! + g3 * source[s3 + i]!;
    }
  }
}
