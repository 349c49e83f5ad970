/** What SPEC.md says of the neural codec in numbers is what the code has. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { CONTEXT_LAYOUTS, SIZES, TOP_BITS, TOP_SIZES, UNARY } from '../codec/context-layout.js';
import { DEFAULT_PRIORS } from '../codec/default-priors.js';
import { MAX_NEURAL_SCALES, NEURAL_CONTEXT_BYTES } from '../codec/neural-runner.js';
import * as sizes from '../codec/neural-sizes.js';
import { GAP_SIZE_BITS } from '../codec/sparse-model.js';

const spec = readFileSync(new URL('./SPEC.md', import.meta.url), 'utf8');
const section = /^## The neural payload\n[\s\S]*?^## /m.exec(spec)?.[0] ?? assert.fail('the section is there');

test('each decode class and the bytes its contexts take', () => {
  const rows = [...section.matchAll(/^\| (\d) +\| (\d+) +\|/gm)].map(([, name, bytes]) => [
    Number(name),
    Number(bytes),
  ]);
  assert.deepEqual(
    rows,
    NEURAL_CONTEXT_BYTES.map((bytes, decodeClass) => [decodeClass, bytes]),
  );
});

test('every context it names is laid out', () => {
  const places = new Set(Object.keys(CONTEXT_LAYOUTS[1]!));
  const names = [...section.matchAll(/`([a-z][a-zA-Z0-9]*)` ?\+/g)].map(([, name]) => name!);
  assert.ok(names.length > 15);
  for (const name of names.filter((one) => !/^[0-9a-f]{8}$/.test(one))) assert.ok(places.has(name), name);
});

test('the default priors', () => {
  const hex = /^```priors\n([\s\S]*?)```/m.exec(section)?.[1] ?? assert.fail('a block of them');
  assert.equal(hex.replace(/\s/g, ''), Buffer.from(DEFAULT_PRIORS).toString('hex'));
});

test('numbers that it spells out', () => {
  const { wideSize, wideZero, byteUnary, byteZero } = CONTEXT_LAYOUTS[0]!;
  // Class 0: buckets of differences, and how far apart their contexts lie.
  assert.deepEqual([(wideSize - wideZero) / 9, SIZES], [16, 32]);
  assert.deepEqual([(byteUnary - byteZero - 3) / 9, UNARY + 1], [8, 15]);
  assert.deepEqual(
    CONTEXT_LAYOUTS.map(({ levels, numberSizes, gapsBefore }) => [levels, numberSizes, gapsBefore]),
    [
      [1, 16, 1],
      [8, 24, 16],
    ],
  );
  assert.deepEqual([TOP_BITS, TOP_SIZES], [2, 16]);
  assert.deepEqual([GAP_SIZE_BITS, MAX_NEURAL_SCALES], [5, [32, 4096]]);
  const { WIDE_BUCKETS, WIDE_NODES, WIDE_TOP_BITS, WIDE_SIGN_MAPS, WIDE_TOP_MAPS, WIDE_SIGN_STATES, WIDE_COLUMNS } =
    sizes;
  assert.deepEqual(
    [WIDE_BUCKETS, WIDE_NODES, WIDE_TOP_BITS, WIDE_SIGN_MAPS, WIDE_TOP_MAPS, WIDE_SIGN_STATES, WIDE_COLUMNS],
    [64, 32, 4, 12288, 12800, 128, 8192],
  );
  const { EXPERTS, WIDE_ODDS, LOW_RANKS, LOW_RANK_COLUMNS } = sizes;
  assert.deepEqual([EXPERTS, WIDE_ODDS, LOW_RANKS, LOW_RANK_COLUMNS], [6, 5, 16, 2048]);
  const { NARROW_BUCKETS, NARROW_NODES, NARROW_SIZE_MAPS, NARROW_SIGN_STATES, NARROW_COLUMNS } = sizes;
  assert.deepEqual(
    [NARROW_BUCKETS, NARROW_NODES, NARROW_SIZE_MAPS, NARROW_SIGN_STATES, NARROW_COLUMNS],
    [32, 16, 5120, 256, 8192],
  );
  const { LITERAL_BUCKETS, LITERAL_CONTEXTS, LITERAL_NODES, LITERAL_INPUTS, LITERAL_ODDS } = sizes;
  assert.deepEqual(
    [LITERAL_BUCKETS, LITERAL_CONTEXTS, LITERAL_NODES, LITERAL_INPUTS, LITERAL_ODDS],
    [32, 64, 256, 7, 2],
  );
  const { TABLE_BITS, PLACE_BITS, HISTORIES, MATCH_MAPS, WORD_MAPS, POINTER_MAPS, NODE_SETS, MATCH_SETS, INPUTS } =
    sizes;
  assert.deepEqual(
    [TABLE_BITS, PLACE_BITS, HISTORIES, MATCH_MAPS, WORD_MAPS, POINTER_MAPS, NODE_SETS, MATCH_SETS, INPUTS],
    [22, 20, 128, 1152, 1218, 1282, 256, 33, 13],
  );
});
