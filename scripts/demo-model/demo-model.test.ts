/**
 * The demo's figures mean something only if its models are really trained and the same everywhere; this holds it to
 * both.
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { before, describe, it } from 'node:test';
import { ByteBuffer } from 'flatbuffers';
import { cosTurns, expNegative, sinTurns } from './exact-math.js';
import { type DemoPair, type DemoPlan, FULL_PLAN, trainDemoPair } from './index.js';

/** About a second a run: enough to learn, though less well than the demo's own plan. */
const SHORT_PLAN: DemoPlan = {
  ...FULL_PLAN,
  trainWindows: 1600,
  tuneWindows: 512,
  replayWindows: 128,
  otherWindows: 256,
  testWindows: 400,
  calibrationWindows: 128,
  training: { epochs: 3, learningRate: 0.03 },
  tuning: { epochs: 2, learningRate: 0.004 },
};

/**
 * Of seed 1 under SHORT_PLAN. A change of generator, training or writer must change them knowingly; an engine must not.
 */
const SHORT_PLAN_SHA256 = {
  v1: '46cc510d421b90f10205f80cb08dfb55c3beb7b59201d55ddd32233e88c3dca3',
  v2: '556478f922a69914ce5867586a4eca51a867ab9a5227376302c58479eb54cf98',
  other: '1d9535c96d1562efc8ea7541258fbd91e0a42a6f28b46305333f3c98a260d8a2',
};

const NAMES = ['v1', 'v2', 'other'] as const;

describe('the demo model pair', () => {
  let pair: DemoPair;
  before(() => {
    pair = trainDemoPair(1, undefined, SHORT_PLAN);
  });

  it('is the same, byte for byte, in two runs with one seed', () => {
    const again = trainDemoPair(1, undefined, SHORT_PLAN);
    for (const name of NAMES) assert.equal(sha256(again[name]), sha256(pair[name]), name);
    assert.deepEqual(again.accuracy, pair.accuracy);
  });

  it('is the same on every machine', () => {
    assert.deepEqual({ v1: sha256(pair.v1), v2: sha256(pair.v2), other: sha256(pair.other) }, SHORT_PLAN_SHA256);
  });

  it('learns its task, fails on shifted data, and recovers by fine-tuning', () => {
    const { v1OnOld, v1OnShifted, v2OnShifted } = pair.accuracy;
    assert.ok(v1OnOld > 0.85, `v1 on its own users: ${v1OnOld}`);
    assert.ok(v1OnShifted < v1OnOld - 0.1, `v1 on new users: ${v1OnShifted}`);
    assert.ok(v2OnShifted > v1OnShifted + 0.1, `v2 on new users: ${v2OnShifted}`);
  });

  it('is three schema-version-3 TFLite files of one layout and different content', () => {
    for (const name of NAMES) {
      const buffer = new ByteBuffer(pair[name]);
      assert.ok(buffer.__has_identifier('TFL3'), name);
      const root = buffer.readInt32(0);
      const versionField = buffer.__offset(root, 4);
      assert.equal(buffer.readInt32(root + versionField), 3, name);
      assert.equal(pair[name].length, pair.v1.length, name);
    }
    assert.equal(new Set(NAMES.map((name) => sha256(pair[name]))).size, 3);
  });

  it('keeps most of its bytes through the fine-tune, and few in a model trained apart', () => {
    assert.ok(shareEqual(pair.v1, pair.v2) > 0.6, `v2: ${shareEqual(pair.v1, pair.v2)}`);
    assert.ok(shareEqual(pair.v1, pair.other) < 0.2, `other: ${shareEqual(pair.v1, pair.other)}`);
  });
});

describe('exact math', () => {
  it('agrees with the engine to seven digits', () => {
    for (let x = -3; x <= 3; x += 0.01) {
      assert.ok(Math.abs(sinTurns(x) - Math.sin(2 * Math.PI * x)) < 1e-7, `sin at ${x} turns`);
      assert.ok(Math.abs(cosTurns(x) - Math.cos(2 * Math.PI * x)) < 1e-7, `cos at ${x} turns`);
    }
    for (let x = -40; x <= 0; x += 0.05) {
      assert.ok(Math.abs(expNegative(x) / Math.exp(x) - 1) < 1e-7, `exp at ${x}`);
    }
  });
});

function shareEqual(a: Uint8Array, b: Uint8Array): number {
  return a.reduce((equal, byte, index) => equal + (byte === b[index] ? 1 : 0), 0) / a.length;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
