import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stripMessages } from './strip-messages.js';

test('texts for people are taken out of a firmware, and what the program works with stays', () => {
  const code = "throw new E('a slot is full', `got too few`); f('staged', 'mallorn key\\0', 7, ' ');";
  assert.equal(stripMessages(code), "throw new E('', ''); f('staged', 'mallorn key\\0', 7, '');");
});
