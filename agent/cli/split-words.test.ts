import assert from 'node:assert/strict';
import { test } from 'node:test';
import { splitWords } from './split-words.js';

test('splits at white space, and keeps what quotes hold together', () => {
  for (const [text, words] of [
    ['sign', ['sign']],
    ['  a  b\tc ', ['a', 'b', 'c']],
    ['\'a b\' "c d"', ['a b', 'c d']],
    ['"a\\"b" "c\\\\d" \'e\\f\' g\\h', ['a"b', 'c\\d', 'e\\f', 'g\\h']],
    [`--pin='1 2'"3"4 x`, ['--pin=1 234', 'x']],
    [`'' ""`, ['', '']],
    ['$HOME * ;', ['$HOME', '*', ';']],
    ['', []],
  ] as const) {
    assert.deepEqual(splitWords(text), words, text);
  }
});

test('refuses a quote that is left open', () => {
  for (const text of [`a 'b`, `a "b`, `"a\\"`]) assert.throws(() => splitWords(text), /closing quote/);
});
