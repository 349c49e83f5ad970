/**
 * The demo's data: windows of a wrist-worn accelerometer, generated from simple movements. A model learns the people it
 * was trained on, then meets somebody who wears the device turned and moves slower and more weakly: the everyday reason
 * for shipping a fine-tuned model.
 */

import { cosTurns, sinTurns } from './exact-math.js';
import { gaussian, type Random, uniform } from './random.js';

export const SAMPLES_PER_WINDOW = 64;
export const AXES = 3;
export const WINDOW_VALUES = SAMPLES_PER_WINDOW * AXES;

export const GESTURES = ['idle', 'circle', 'shake', 'tap', 'double-tap', 'swipe-left', 'swipe-right', 'raise'] as const;
type Gesture = (typeof GESTURES)[number];

/** How a group of people wears the device and moves. Angles are in turns (1 = 360 degrees), accelerations in g. */
export interface Population {
  /** Mean rotation of the device about the arm's normal, and how much it varies. */
  readonly mountTurns: number;
  readonly mountSpreadTurns: number;
  /** Mean duration of a gesture as a share of the window. */
  readonly duration: number;
  readonly strength: number;
  readonly noise: number;
  /** Constant error of the sensor's x axis. */
  readonly biasX: number;
  /** Relative frequency of each gesture, in the order of GESTURES. */
  readonly balance: readonly number[];
}

/** The people v1 is trained on. */
export const ORIGINAL_USERS: Population = {
  mountTurns: 0,
  mountSpreadTurns: 0.03,
  duration: 0.55,
  strength: 1,
  noise: 0.2,
  biasX: 0,
  balance: [1, 1, 1, 1, 1, 1, 1, 1],
};

/** The people v2 is tuned for: device turned by about 60 degrees, slower, weaker, a drifted sensor, mostly swiping. */
export const NEW_USERS: Population = {
  mountTurns: 0.17,
  mountSpreadTurns: 0.03,
  duration: 0.75,
  strength: 0.75,
  noise: 0.2,
  biasX: 0.25,
  balance: [1, 1, 1, 1, 1, 2, 2, 1],
};

export interface Dataset {
  readonly count: number;
  /** Accelerations in g, [count, SAMPLES_PER_WINDOW, AXES]. */
  readonly windows: Float64Array;
  /** Index into GESTURES, [count]. */
  readonly labels: Uint8Array;
}

export function generateGestures(random: Random, population: Population, count: number): Dataset {
  const windows = new Float64Array(count * WINDOW_VALUES);
  const labels = new Uint8Array(count);
  for (let index = 0; index < count; index++) {
    const label = drawLabel(random, population.balance);
    labels[index] = label;
    const window = windows.subarray(index * WINDOW_VALUES, (index + 1) * WINDOW_VALUES);
    recordWindow(random, population, GESTURES[label]!, window);
  }
  return { count, windows, labels };
}

/** Both sets, one after the other; training shuffles anyway. */
export function concatenate(first: Dataset, second: Dataset): Dataset {
  const windows = new Float64Array(first.windows.length + second.windows.length);
  windows.set(first.windows);
  windows.set(second.windows, first.windows.length);
  return {
    count: first.count + second.count,
    windows,
    labels: Uint8Array.from([...first.labels, ...second.labels]),
  };
}

function drawLabel(random: Random, balance: readonly number[]): number {
  const total = balance.reduce((sum, share) => sum + share, 0);
  let ticket = random.next() * total;
  for (const [label, share] of balance.entries()) {
    ticket -= share;
    if (ticket < 0) return label;
  }
  return balance.length - 1;
}

function recordWindow(random: Random, population: Population, gesture: Gesture, out: Float64Array): void {
  const mount = population.mountTurns + population.mountSpreadTurns * gaussian(random);
  const cos = cosTurns(mount);
  const sin = sinTurns(mount);
  const tilt = 0.15 * gaussian(random);
  const duration = population.duration * uniform(random, 0.75, 1.25);
  const start = uniform(random, 0, Math.max(0, 1 - duration));
  const strength = population.strength * uniform(random, 0.6, 1.3);
  const phaseTurns = random.next();
  for (let t = 0; t < SAMPLES_PER_WINDOW; t++) {
    const progress = (t / SAMPLES_PER_WINDOW - start) / duration;
    const [x, y, z] = accelerationOf(gesture, progress, phaseTurns);
    const noise = population.noise;
    out[t * AXES] = strength * (cos * x - sin * y) + tilt + population.biasX + noise * gaussian(random);
    out[t * AXES + 1] = strength * (sin * x + cos * y) - tilt + noise * gaussian(random);
    out[t * AXES + 2] = strength * z + 1 + noise * gaussian(random);
  }
}

/** The hand's own acceleration at `progress` (0 = gesture begins, 1 = it ends), before gravity, mounting and noise. */
function accelerationOf(gesture: Gesture, progress: number, phaseTurns: number): [x: number, y: number, z: number] {
  if (progress < 0 || progress > 1) return [0, 0, 0];
  const envelope = pulse(progress, 0.5, 0.5);
  switch (gesture) {
    case 'idle':
      return [0, 0, 0];
    case 'circle':
      return [envelope * sinTurns(2 * progress + phaseTurns), envelope * cosTurns(2 * progress + phaseTurns), 0];
    case 'shake':
      return [1.2 * envelope * sinTurns(5 * progress + phaseTurns), 0.2 * envelope * sinTurns(3 * progress), 0];
    case 'tap':
      return [0, 0, 1.6 * pulse(progress, 0.5, 0.12)];
    case 'double-tap':
      return [0, 0, 1.5 * pulse(progress, 0.3, 0.12) + 1.5 * pulse(progress, 0.7, 0.12)];
    case 'swipe-left':
      return [-swing(progress), 0.3 * envelope, 0];
    case 'swipe-right':
      return [swing(progress), 0.3 * envelope, 0];
    case 'raise':
      return [0, 0.4 * swing(progress), swing(progress)];
  }
}

/** A smooth bump of height 1 around `centre`, zero beyond `halfWidth`. */
function pulse(progress: number, centre: number, halfWidth: number): number {
  const d = (progress - centre) / halfWidth;
  return d > -1 && d < 1 ? (1 - d * d) * (1 - d * d) : 0;
}

/** Speeding up, then slowing down: a push one way followed by the opposite one. */
function swing(progress: number): number {
  const d = 2 * progress - 1;
  return -3.5 * d * (1 - d * d) * (1 - d * d);
}
