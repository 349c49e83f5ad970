/** A few thousand mutations a target; `npm run fuzz` does the millions. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../targets/sim/prng.js';
import { FIXTURES } from './fixtures.js';
import { fuzz } from './fuzz.js';
import { mutated } from './mutate.js';
import { type FuzzTarget, Hang } from './target.js';
import { TARGETS } from './targets.js';

const MUTATIONS = 3000;
const SEED = 1;

for (const create of TARGETS) {
  const target = create();
  test(`${target.name} takes or refuses ${MUTATIONS} mutated inputs of seed ${SEED}: no crash and no hang`, () => {
    const report = fuzz(target, { count: MUTATIONS, seed: SEED });
    assert.deepEqual(report.failures, []);
    assert.equal(report.mutations, MUTATIONS);
    assert.ok(report.repaired === null || report.repaired > MUTATIONS / 2, `${report.repaired} got past the hashes`);
    assert.ok(report.taken > 20 && report.refused > 100, `mutations reach both ends: ${report.taken} taken`);
  });

  test(`${target.name} takes its own seeds`, () => {
    for (const seed of target.seeds()) assert.equal(target.run(seed, 100_000), 'taken');
  });
}

for (const { target, name, hex, outcome } of FIXTURES) {
  test(`${target}: ${name}, is ${outcome}`, () => {
    const found = TARGETS.map((create) => create()).find((one) => one.name === target);
    assert.equal(found?.run(new Uint8Array(Buffer.from(hex, 'hex')), 100_000), outcome);
  });
}

test('crashes and hangs are counted and kept with the bytes that made them', () => {
  const broken: FuzzTarget = {
    name: 'broken',
    share: 1,
    seeds: () => [Uint8Array.of(1), Uint8Array.of(2), Uint8Array.of(3)],
    run: ([first]) => {
      if (first === 1) throw new TypeError('crash');
      if (first === 2) throw new Hang('hang');
      return 'taken';
    },
  };
  const report = fuzz(broken, { count: 3, seed: 4 });
  assert.deepEqual([report.mutations, report.crashes, report.hangs, report.taken], [3, 1, 1, 1]);
  assert.match(report.failures[0]!, /^broken seed 4 mutation 0: TypeError: crash\n {2}01$/);
});

test('the same seed makes the same mutations', () => {
  const seeds = [Uint8Array.of(1, 2, 3, 4), Uint8Array.of(9)];
  const run = (): Uint8Array[] => {
    const random = new Prng(7);
    return Array.from({ length: 50 }, () => mutated(seeds, random));
  };
  assert.deepEqual(run(), run());
});
