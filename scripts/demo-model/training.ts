/**
 * Trains the demo's network: plain stochastic gradient descent with momentum on softmax cross-entropy. SGD rather than
 * Adam, because Adam moves every weight by about the learning rate whatever its gradient, while SGD leaves the weights
 * that do not matter nearly where they were; that is what fine-tuned models look like in the field.
 */

import { expNegative } from './exact-math.js';
import { type Dataset, WINDOW_VALUES } from './gestures.js';
import { affine, affineBackward, type Gradients, type Network } from './network.js';
import { type Random, shuffledIndices } from './random.js';

const BATCH = 32;
const MOMENTUM = 0.9;

export interface TrainingPlan {
  readonly epochs: number;
  /** Falls in equal parts from epoch to epoch, to a tenth in the last. */
  readonly learningRate: number;
}

/** Changes `network` in place. */
export function train(network: Network, data: Dataset, plan: TrainingPlan, random: Random): void {
  const workspace = createWorkspace(network, BATCH);
  const velocity = zeroGradients(network);
  for (let epoch = 0; epoch < plan.epochs; epoch++) {
    const decay = plan.epochs > 1 ? 1 - (0.9 * epoch) / (plan.epochs - 1) : 1;
    const order = shuffledIndices(random, data.count);
    for (let first = 0; first + BATCH <= data.count; first += BATCH) {
      const labels = loadBatch(data, order.subarray(first, first + BATCH), workspace.activations[0]!);
      accumulateGradients(network, labels, workspace);
      descend(network, workspace.gradients, velocity, plan.learningRate * decay);
    }
  }
}

/** Runs `samples` windows; activations[0] holds the input, activations[i + 1] receives layer i's output. */
export function forward(network: Network, samples: number, activations: readonly Float64Array[]): void {
  for (const [index, layer] of network.entries()) {
    const output = activations[index + 1]!;
    affine(layer, activations[index]!, samples, output);
    if (layer.shape.relu) clampNegative(output, samples * layer.shape.outputValues);
  }
}

export function createActivations(network: Network, samples: number): Float64Array[] {
  const inputs = new Float64Array(samples * WINDOW_VALUES);
  return [inputs, ...network.map(({ shape }) => new Float64Array(samples * shape.outputValues))];
}

/** Share of windows whose largest logit is the labelled one. */
export function floatAccuracy(network: Network, data: Dataset): number {
  const activations = createActivations(network, data.count);
  activations[0]!.set(data.windows);
  forward(network, data.count, activations);
  return shareCorrect(activations.at(-1)!, data.labels);
}

/** logits: [labels.length, classes]; the first of equal logits counts, as in TFLite's ARG_MAX. */
export function shareCorrect(logits: ArrayLike<number>, labels: Uint8Array): number {
  const classes = logits.length / labels.length;
  let correct = 0;
  for (const [sample, label] of labels.entries()) {
    let best = 0;
    for (let c = 1; c < classes; c++) {
      if (logits[sample * classes + c]! > logits[sample * classes + best]!) best = c;
    }
    if (best === label) correct++;
  }
  return correct / labels.length;
}

interface Workspace {
  readonly activations: Float64Array[];
  /** Gradient at each activation, same sizes. */
  readonly deltas: Float64Array[];
  readonly gradients: Gradients[];
}

function createWorkspace(network: Network, samples: number): Workspace {
  return {
    activations: createActivations(network, samples),
    deltas: createActivations(network, samples),
    gradients: zeroGradients(network),
  };
}

function zeroGradients(network: Network): Gradients[] {
  return network.map(({ weights, biases }) => ({
    weights: new Float64Array(weights.length),
    biases: new Float64Array(biases.length),
  }));
}

function loadBatch(data: Dataset, picks: Uint32Array, input: Float64Array): Uint8Array {
  for (const [slot, index] of picks.entries()) {
    input.set(data.windows.subarray(index * WINDOW_VALUES, (index + 1) * WINDOW_VALUES), slot * WINDOW_VALUES);
  }
  return Uint8Array.from(picks, (index) => data.labels[index]!);
}

function accumulateGradients(
  network: Network,
  labels: Uint8Array,
  { activations, deltas, gradients }: Workspace,
): void {
  const samples = labels.length;
  forward(network, samples, activations);
  softmaxGradient(activations.at(-1)!, labels, deltas.at(-1)!);
  for (let index = network.length - 1; index >= 0; index--) {
    const layer = network[index]!;
    const into = gradients[index]!;
    into.weights.fill(0);
    into.biases.fill(0);
    if (layer.shape.relu) maskInactive(activations[index + 1]!, deltas[index + 1]!);
    affineBackward(layer, activations[index]!, samples, deltas[index + 1]!, into, deltas[index]!);
  }
}

/** d(mean cross-entropy) / d(logits) = (softmax - one-hot) / samples. */
function softmaxGradient(logits: Float64Array, labels: Uint8Array, gradient: Float64Array): void {
  const classes = logits.length / labels.length;
  for (const [sample, label] of labels.entries()) {
    const row = gradient.subarray(sample * classes, (sample + 1) * classes);
    row.set(logits.subarray(sample * classes, (sample + 1) * classes));
    const top = row.reduce((a, b) => Math.max(a, b));
    let sum = 0;
    for (let c = 0; c < classes; c++) {
      row[c] = expNegative(row[c]! - top);
      sum += row[c]!;
    }
    for (let c = 0; c < classes; c++) row[c] = (row[c]! / sum - (c === label ? 1 : 0)) / labels.length;
  }
}

function descend(
  network: Network,
  gradients: readonly Gradients[],
  velocity: readonly Gradients[],
  rate: number,
): void {
  for (const [index, layer] of network.entries()) {
    step(layer.weights, gradients[index]!.weights, velocity[index]!.weights, rate);
    step(layer.biases, gradients[index]!.biases, velocity[index]!.biases, rate);
  }
}

function step(values: Float64Array, gradient: Float64Array, velocity: Float64Array, rate: number): void {
  for (let i = 0; i < values.length; i++) {
    const v = MOMENTUM * velocity[i]! - rate * gradient[i]!;
    velocity[i] = v;
    values[i] = values[i]! + v;
  }
}

function clampNegative(values: Float64Array, count: number): void {
  for (let i = 0; i < count; i++) if (values[i]! < 0) values[i] = 0;
}

function maskInactive(activation: Float64Array, delta: Float64Array): void {
  for (let i = 0; i < delta.length; i++) if (activation[i] === 0) delta[i] = 0;
}
