import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Evaluated, freeze } from './freeze.js';

const HEADLESS = 0x70000000;

/** What a heap of blocks holds: numbers, and addresses in it or in the code. */
type Word = number | { readonly heap: number } | { readonly code: number };

function evaluated(blocks: readonly (readonly Word[])[], heapStart: number, codeStart: number): Evaluated {
  const memory = new Uint8Array(1024);
  const view = new DataView(memory.buffer);
  let at = heapStart;
  for (const block of blocks) {
    view.setUint32(at, 4 + 4 * block.length, true);
    at += 4;
    for (const word of block) {
      const value = typeof word === 'number' ? word : 'heap' in word ? heapStart + word.heap : codeStart + word.code;
      view.setUint32(at, value, true);
      at += 4;
    }
  }
  view.setUint32(at, 4, true);
  // The runtime is the first block, the context the second; the runtime is written to.
  for (const [i, value] of [heapStart + 4, heapStart + 16, heapStart + 4, 0].entries()) {
    view.setUint32(4 * i, value, true);
  }
  const symbols = [
    { address: 0, name: 'evaluated_runtime' },
    { address: 4, name: 'evaluated_context' },
    { address: 8, name: 'evaluated_writable' },
    { address: codeStart, name: 'JS_RunGC' },
    { address: codeStart + 32, name: 'js_array_push' },
    { address: heapStart, name: '__heap_start' },
  ];
  return { memory, symbols };
}

function frozen(blocks: readonly (readonly Word[])[], others = blocks): ReturnType<typeof freeze> {
  return freeze(evaluated(blocks, 256, 64), evaluated(others, 512, 128));
}

test('addresses become names, numbers stay, and what nothing refers to is left out', () => {
  const { source, names } = frozen([
    [{ heap: 28 }, 7],
    [1, 2],
    [{ code: 33 }, 300],
    [9, 9],
  ]);
  assert.match(source, /\.set F2, \. - 0\n\.word js_array_push,300\n/);
  assert.match(source, /F0: \.word F2,7\n/);
  assert.doesNotMatch(source, /9,9/);
  assert.deepEqual(names, ['js_array_push']);
});

test('what is written to lies in RAM, in blocks that the heap can take back', () => {
  const { source, flashBytes, ramBytes } = frozen([
    [0, 7],
    [1, 2],
  ]);
  assert.match(source, /\.data\.frozen.*\n\.balign 4\n\.word 16\nF0: \.word 0,7\n\.word 0\n\.word 4\n/);
  assert.deepEqual([flashBytes, ramBytes], [8, 16]);
});

test('the part of a block that is not looked at takes no flash', () => {
  const { source, flashBytes } = frozen([
    [0, 7],
    [HEADLESS + 4, 2],
  ]);
  assert.match(source, /\.set F1, \. - 4\n\.word 2\n/);
  assert.equal(flashBytes, 4);
});

test('a word that differs and is no address stops the build', () => {
  assert.throws(
    () =>
      frozen(
        [
          [0, 7],
          [1, 2],
        ],
        [
          [0, 8],
          [1, 2],
        ],
      ),
    /no address/,
  );
});

test('an address of memory that was given back becomes null', () => {
  assert.match(
    frozen([
      [{ heap: 700 }, 7],
      [1, 2],
    ]).source,
    /F0: \.word 0,7\n/,
  );
});
