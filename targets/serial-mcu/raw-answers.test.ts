import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RawAnswers } from './raw-answers.js';

/** A read's answer, version 2, group 64, sequence 5, command 3: {"off": 1}. */
const ANSWER = Uint8Array.from(Buffer.from('0900000600400503a1636f666601', 'hex'));
const isWaitedFor = (header: Uint8Array): boolean => header[5] === 64 && header[6] === 5 && header[7] === 3;

test('answers are found between text and each other, in pieces of any size', () => {
  const text = Buffer.from('[00:01] <inf> loop\r\n');
  const stream = Buffer.concat([text, ANSWER, ANSWER, text, ANSWER]);
  for (let size = 1; size <= stream.length; size++) {
    const answers = new RawAnswers(isWaitedFor);
    let found = 0;
    for (let at = 0; at < stream.length; at += size) {
      for (const answer of answers.take(stream.subarray(at, at + size))) {
        assert.deepEqual(answer, ANSWER);
        found++;
      }
    }
    assert.equal(found, 3, `in pieces of ${size}`);
  }
});

test('an answer to nothing that was asked is passed over, and so is one with a damaged length', () => {
  const stranger = ANSWER.slice();
  stranger[6] = 4;
  const endless = ANSWER.slice();
  endless[2] = 0xff;
  const answers = new RawAnswers(isWaitedFor);
  assert.deepEqual(answers.take(Buffer.concat([stranger, endless, ANSWER])), [ANSWER]);
});

test('after a restart the rest of an answer is not waited for', () => {
  const answers = new RawAnswers(isWaitedFor);
  answers.take(ANSWER.subarray(0, 10));
  answers.restart();
  assert.deepEqual(answers.take(ANSWER), [ANSWER]);
});
