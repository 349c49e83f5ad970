import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeCbor } from '../../hil-tests/board/decode-cbor.js';
import { CborReader } from './cbor-reader.js';
import { CborWriter } from './cbor-writer.js';

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));

test('what the writer writes, another decoder and the reader read', () => {
  const buffer = new Uint8Array(200);
  const writer = new CborWriter(buffer);
  const numbers = [0, 23, 24, 255, 256, 65535, 65536, 4294967295, 4294967296, Number.MAX_SAFE_INTEGER];
  writer.begin();
  for (const [i, value] of numbers.entries()) writer.putUint(`n${i}`, value);
  writer.beginMap('err');
  writer.putUint('rc', 3);
  writer.end();
  writer.putBoolean('yes', true);
  writer.putText('state', 'idle');
  writer.putBytes('sha', Uint8Array.of(1, 2, 3));
  writer.end();
  const written = buffer.subarray(0, writer.length);
  const map = decodeCbor(written) as Record<string, unknown>;
  const reader = new CborReader();
  assert.ok(reader.reset(written));
  for (const [i, value] of numbers.entries()) {
    assert.equal(map[`n${i}`], value);
    assert.equal(reader.uint(`n${i}`), value);
  }
  assert.deepEqual(map['err'], { rc: 3 });
  assert.equal(map['yes'], true);
  assert.deepEqual(reader.byteString('sha'), Uint8Array.of(1, 2, 3));
  assert.deepEqual(Buffer.from(reader.text('state')!).toString(), 'idle');
  assert.equal(reader.uint('state'), null);
  assert.equal(reader.uint('rc'), null);
});

test('a map of definite length is read as well, past items the reader has no use for', () => {
  const reader = new CborReader();
  // {"a": [1, {"off": 9}], "x": -5, "f": 1.5, "t": 0("x"), "off": 300, "data": h'0102'}
  const map = 'a6 6161 82 01 a1 636f6666 09 6178 24 6166 f93e00 6174 c0 6178 636f6666 19012c 6464617461 420102';
  assert.ok(reader.reset(bytes(map.replaceAll(' ', ''))));
  assert.equal(reader.uint('off'), 300);
  assert.deepEqual(reader.byteString('data'), Uint8Array.of(1, 2));
  assert.equal(reader.uint('none'), null);
});

test('whatever is cut short, nested deeply, or claims more than there is, is no map', () => {
  const reader = new CborReader();
  const whole = bytes('a2636f666619012c6464617461420102');
  for (let length = 0; length < whole.length; length++)
    assert.ok(!reader.reset(whole.subarray(0, length)), `${length}`);
  assert.ok(!reader.reset(bytes(`a16161${'81'.repeat(50)}00`)));
  assert.ok(!reader.reset(bytes('bbffffffffffffffff')));
  assert.ok(!reader.reset(bytes('a161615affffffff00')));
  assert.ok(!reader.reset(bytes('bf6161ff')));
  assert.ok(!reader.reset(bytes('a0a0')));
  assert.ok(!reader.reset(bytes('01')));
});

test('random bytes never make the reader throw or read past their end', () => {
  const reader = new CborReader();
  let state = 1;
  for (let round = 0; round < 20_000; round++) {
    const junk = Uint8Array.from({ length: round % 24 }, () => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return state >>> 16;
    });
    if (junk.length > 0) junk[0] = 0xa0 | (junk[0]! & 0x1f);
    if (!reader.reset(junk)) continue;
    assert.ok((reader.byteString('a')?.length ?? 0) <= junk.length);
  }
});
