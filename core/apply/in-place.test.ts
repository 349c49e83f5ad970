import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { buildFullImage, buildInPlaceUpdate, type InPlaceShape } from '../../hil-tests/power/in-place-images.js';
import { NodeHasher } from '../../targets/node/hashing.js';
import { PowerCut } from '../../targets/sim/nor-flash.js';
import { copy, delta, literal } from '../diff/pieces.js';
import { buildPatch, noise, type PlannedSegment } from '../patch/build-patch.test.js';
import { declaredBufferBytes } from '../patch/header.js';
import { FlashRig, type Update } from './flash-rig.test.js';
import { type InPlaceLayout, InPlaceRig } from './in-place-rig.test.js';
import { holdsOneModel } from './journal.js';
import { applied, Probe, samplePatch } from './run-patch.test.js';

const SHAPE: InPlaceShape = { profile: 'mcu', segmentBytes: 1024, frameBytes: 200, unitBytes: 2048, units: 9 };
const LAYOUT: InPlaceLayout = {
  part: { blockLength: 1024, writeAlign: 8, eraseValue: 0xff },
  slotBytes: 20 * 1024,
  scratchBytes: 3 * 2048,
  journalBlocks: 2,
};
/** Of patches that a test spells out. */
const SMALL_UNITS = { segmentBytes: 1024, unitBytes: 2048, frameBytes: 200 };
const WRITTEN_UNITS = 8;
const KEPT_BLOCKS = [8, 9];

const sample = buildInPlaceUpdate(SHAPE, 'zstd');
const full = buildFullImage(sample, SHAPE);

/** Boots until the power fails at operation `operation`. */
function cutAt(rig: InPlaceRig, update: Update, operation: number): void {
  rig.part.planCut({ operation, kind: 'before' });
  assert.throws(() => rig.boot(update), PowerCut);
}

/** A rig whose power failed while it wrote over the `unit`th unit of the model: one block is new, one still old. */
function cutWithin(unit: number): InPlaceRig {
  const rig = new InPlaceRig(LAYOUT, sample.source);
  for (let operation = 0; ; operation++) {
    const image = rig.part.snapshot();
    cutAt(rig, sample, operation);
    const checkpoint = rig.checkpoint(sample);
    if (checkpoint?.state === 'overwriting' && checkpoint.targetOffset === (unit + 1) * SHAPE.unitBytes) {
      const firstBlock = rig.read(unit * SHAPE.unitBytes, 1024);
      if (Buffer.compare(firstBlock, sample.target.subarray(unit * SHAPE.unitBytes).subarray(0, 1024)) === 0)
        return rig;
    }
    rig.part.restore(image);
  }
}

describe('an update in place', () => {
  for (const codec of ['zstd', 'neural'] as const) {
    test(`ends with the target in the slot, a ${codec} patch fed in chunks of any size`, () => {
      const update = buildInPlaceUpdate(SHAPE, codec);
      for (const chunkBytes of [1, 333, 100_000]) {
        const rig = new InPlaceRig(LAYOUT, update.source);
        rig.boot(update, { chunkBytes });
        assert.ok(rig.holds(update.target));
        assert.equal(rig.state(), 'whole');
      }
    });
  }

  test('erases each block of the model once, none of a unit that stays, and wears the scratch area evenly', () => {
    const rig = new InPlaceRig(LAYOUT, sample.source);
    rig.boot(sample);
    const { slot, scratch, journal } = rig.wear();
    const expected = slot.map((_, block) => (KEPT_BLOCKS.includes(block) || block >= 18 ? 0 : 1));
    assert.deepEqual(slot, expected);
    assert.equal(Math.max(...scratch), Math.ceil(WRITTEN_UNITS / 3));
    assert.ok(Math.min(...scratch) >= Math.floor(WRITTEN_UNITS / 3) - 1);
    const sum = (erases: readonly number[]): number => erases.reduce((total, each) => total + each, 0);
    const ideal = sum(slot);
    const all = ideal + sum(scratch);
    assert.ok(all <= 2 * ideal, `${all} erases, ${ideal} of them of the model`);
    assert.ok(Math.max(...journal) <= 2);
  });

  test('begins in the scratch slot behind the one that the last update ended in', () => {
    const rig = new InPlaceRig(LAYOUT, sample.source);
    rig.boot(sample);
    rig.boot(full);
    const { scratch } = rig.wear();
    assert.ok(Math.max(...scratch) - Math.min(...scratch) <= 1, `${scratch}`);
  });

  test('holds what the header declares and no more, in memory that is asked for once', () => {
    const sizes: number[] = [];
    const rig = new InPlaceRig(LAYOUT, sample.source);
    const memory = (byteLength: number): Uint8Array => {
      sizes.push(byteLength);
      return new Uint8Array(byteLength);
    };
    rig.boot(sample, { changes: { memory } });
    assert.deepEqual(sizes, [declaredBufferBytes(sample.header)]);
  });

  test('does nothing but read when it is fed again', () => {
    const rig = new InPlaceRig(LAYOUT, sample.source);
    rig.boot(sample);
    const { operations } = rig.part;
    assert.equal(rig.boot(sample).done, true);
    assert.equal(rig.part.operations, operations);
  });

  test('takes a patch that keeps every byte, and erases nothing for it but in the journal', () => {
    const source = noise(9000, 5);
    const segments: PlannedSegment[] = [{ kind: 'copy', length: 9000, source: 0 }];
    const built = buildPatch({ source, target: source, segments, header: SMALL_UNITS });
    const rig = new InPlaceRig(LAYOUT, source);
    rig.boot({ ...built, source, target: source });
    assert.equal(rig.state(), 'whole');
    assert.ok([...rig.wear().slot, ...rig.wear().scratch].every((erases) => erases === 0));
  });

  test('works in a scratch area of one unit', () => {
    const rig = new InPlaceRig({ ...LAYOUT, scratchBytes: 2048 }, sample.source);
    rig.boot(sample);
    assert.ok(rig.holds(sample.target));
  });
});

describe('who may serve the slot', () => {
  test('nobody from the first overwritten byte to the end, and whoever asks at any other time', () => {
    const rig = new InPlaceRig(LAYOUT, sample.source);
    const start = rig.part.snapshot();
    rig.boot(sample);
    const { operations } = rig.part;
    rig.part.restore(start);
    let mixed = 0;
    for (let operation = 0; operation < operations - start.operations; operation++) {
      rig.part.restore(start);
      cutAt(rig, sample, operation);
      const serves = holdsOneModel(rig.state());
      const whole = rig.holds(sample.source) || rig.holds(sample.target);
      assert.ok(whole || !serves, `operation ${operation}: half a model would be served`);
      if (!serves) mixed++;
    }
    assert.ok(mixed > 50);
  });
});

describe('a single slot refuses, and keeps its model', () => {
  const refusals: [string, Update, InPlaceLayout, string][] = [
    ['a patch that needs a slot of its own', samplePatch(), LAYOUT, 'NOT_IN_PLACE'],
    [
      'erase blocks larger than the unit',
      sample,
      { ...LAYOUT, part: { ...LAYOUT.part, blockLength: 4096 }, scratchBytes: 8192 },
      'FLASH_EXCEEDED',
    ],
    ['a scratch area smaller than the unit', sample, { ...LAYOUT, scratchBytes: 1024 }, 'FLASH_EXCEEDED'],
    ['models larger than the slot', sample, { ...LAYOUT, slotBytes: 18 * 1024 }, 'FLASH_EXCEEDED'],
  ];
  for (const [what, update, layout, code] of refusals) {
    test(what, () => {
      const source = update.source.subarray(0, layout.slotBytes);
      const rig = new InPlaceRig(layout, source);
      const { operations } = rig.part;
      assert.throws(() => rig.boot(update), { name: 'InvalidPatch', code });
      assert.equal(rig.part.operations, operations);
      assert.ok(holdsOneModel(rig.state()));
    });
  }

  test('a patch whose first unit has another hash than it says: the source was right, so nothing is lost', () => {
    const wrong = withWrongUnit(0);
    const rig = new InPlaceRig(LAYOUT, wrong.source);
    assert.throws(() => rig.boot(wrong), { name: 'InvalidPatch', code: 'BAD_SEGMENT' });
    assert.ok(rig.holds(wrong.source));
    assert.equal(rig.state(), 'none');
    assert.ok(rig.wear().slot.every((erases) => erases === 0));
  });
});

/** Three units of literals, one of which is said to have another hash. */
function withWrongUnit(wrongUnit: number): Update {
  const source = noise(6144, 1);
  const target = noise(6144, 2);
  const segments = Array.from({ length: 6 }, () => ({ kind: 'stored', pieces: [literal(1024)] }) as const);
  return { ...buildPatch({ source, target, segments, wrongUnit, header: SMALL_UNITS }), source, target };
}

describe('a source that rots under way', () => {
  test('is noticed before anything is written over with it: the slot needs a full image, which brings it back', () => {
    const rig = cutWithin(0);
    rig.rot(rig.slot, 6 * 2048 + 40);
    assert.throws(() => rig.boot(sample), { name: 'NeedsFullImage', code: 'NEEDS_FULL_IMAGE' });
    assert.equal(rig.state(), 'needs-full-image');
    assert.throws(() => rig.boot(sample), { code: 'NEEDS_FULL_IMAGE' });
    const erases = rig.wear().slot[12];
    assert.equal(erases, 1, 'by the rot alone');
    rig.boot(full);
    assert.ok(rig.holds(sample.target));
    assert.equal(rig.state(), 'whole');
  });

  test('a scratch slot that rots while its unit is half written over needs a full image', () => {
    const rig = cutWithin(1);
    rig.rot(rig.scratch, rig.checkpoint(sample)!.scratchSlot * 2048 + 9);
    assert.throws(() => rig.boot(sample), { code: 'NEEDS_FULL_IMAGE' });
    rig.boot(full);
    assert.ok(rig.holds(sample.target));
  });

  test('a unit that was misread once is decoded again, into another scratch slot, and the update ends well', () => {
    const rig = cutWithin(0);
    let faults = 1;
    const slot = {
      status: () => rig.slot.status(),
      read: (offset: number, into: Uint8Array) => {
        rig.slot.read(offset, into);
        if (offset >= 6 * 2048 && faults-- > 0) into[0]! ^= 1;
      },
      eraseBlock: (index: number) => rig.slot.eraseBlock(index),
      program: (offset: number, bytes: Uint8Array) => rig.slot.program(offset, bytes),
      sync: () => rig.slot.sync(),
    };
    rig.boot(sample, { changes: { target: { slot, scratch: rig.scratch } } });
    assert.ok(rig.holds(sample.target));
  });

  test('is noticed at the end at the latest: a kept unit that rots needs a full image too', () => {
    const rig = cutWithin(1);
    rig.rot(rig.slot, 4 * 2048 + 3);
    assert.throws(() => rig.boot(sample), { code: 'NEEDS_FULL_IMAGE' });
    assert.equal(rig.state(), 'needs-full-image');
  });

  test('a slot that is half-way through one update takes no other base for it but a stand-alone patch', () => {
    const rig = cutWithin(1);
    const other = buildInPlaceUpdate(SHAPE, 'zstd', 7);
    assert.throws(() => rig.boot(other), { code: 'NEEDS_FULL_IMAGE' });
    assert.equal(rig.state(), 'overwriting', 'the update can still be gone on with');
    rig.boot(sample);
    assert.ok(rig.holds(sample.target));
  });

  test('the slot stays unserved while a stand-alone patch is under way over half a model', () => {
    const rig = cutWithin(1);
    const start = rig.part.snapshot();
    for (let operation = 1; operation < 40; operation++) {
      rig.part.restore(start);
      cutAt(rig, full, operation);
      assert.equal(holdsOneModel(rig.state()), false);
      if (operation % 8 === 0) {
        rig.boot(full);
        assert.ok(rig.holds(sample.target));
      }
    }
  });
});

describe('an in-place patch where there is a second slot', () => {
  test('is applied as any other', () => {
    const probe = new Probe();
    const { source, bytes, target } = sample;
    assert.deepEqual(applied(bytes, probe.options({ source }), probe.target), target);
    const rig = new FlashRig(LAYOUT.part, target.length);
    rig.boot(sample);
    rig.assertHolds(target);
  });

  test('is refused for a read of what would be written over by then', () => {
    const source = noise(8192, 1);
    const target = noise(8192, 2);
    const header = SMALL_UNITS;
    const literals = (count: number): PlannedSegment[] =>
      Array.from({ length: count }, () => ({ kind: 'stored', pieces: [literal(1024)] }));
    const behind: [string, PlannedSegment, string][] = [
      ['an op', { kind: 'stored', pieces: [delta(1024, 4095, 0)] }, 'BAD_OP'],
      ['a copied run', { kind: 'copy', length: 1024, source: 4095 }, 'BAD_SEGMENT'],
      [
        'a dictionary',
        { kind: 'zstd', pieces: [literal(1024)], dictionary: { offset: 4095, length: 500 } },
        'BAD_SEGMENT',
      ],
    ];
    for (const [what, segment, code] of behind) {
      const segments = [...literals(4), segment, ...literals(3)];
      if (segment.kind === 'copy') target.set(source.subarray(4095, 4095 + 1024), 4096);
      const { bytes } = buildPatch({ source, target, segments, header });
      assert.throws(() => applied(bytes, new Probe().options({ source }), new Probe().target), { code }, what);
    }
  });

  test('is refused for a wrong unit hash by whoever checks units: verify, and the encoder of itself', () => {
    for (let unit = 0; unit < 3; unit++) {
      const { bytes, source, target } = withWrongUnit(unit);
      const probe = new Probe();
      const options = probe.options({ source }, { unitHasher: new NodeHasher() });
      assert.throws(() => applied(bytes, options, probe.target), { code: 'BAD_SEGMENT' });
      const lenient = new Probe();
      assert.deepEqual(applied(bytes, lenient.options({ source }), lenient.target), target);
    }
  });

  test('is refused for a segment that reaches into the next unit, unless it keeps whole units', () => {
    const source = noise(8192, 1);
    const target = source.slice();
    const header = SMALL_UNITS;
    const across: PlannedSegment[] = [
      { kind: 'copy', length: 1024, source: 0 },
      { kind: 'copy', length: 2048, source: 1024 },
    ];
    const rest: PlannedSegment[] = [{ kind: 'stored', pieces: [copy(1024, 3072)] }];
    const kept: PlannedSegment[] = [{ kind: 'copy', length: 4096, source: 4096 }];
    const { bytes } = buildPatch({ source, target, segments: [...across, ...rest, ...kept], header });
    assert.throws(() => applied(bytes, new Probe().options({ source }), new Probe().target), {
      code: 'BAD_SEGMENT',
      message: /left of the unit/,
    });
  });
});
