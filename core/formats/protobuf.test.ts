import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ModelFormatError } from '../errors.js';
import { number, prefixed, varint } from './build-onnx.test.js';
import { Protobuf, type ProtoMessage, prefixedField, varintField } from './protobuf.js';
import { CountingSource } from './reader-harness.test.js';
import { WindowedSource } from './windowed-source.js';

const LIMITS = { budgetBytes: 1 << 12, maxDepth: 3 };

function rootOf(bytes: Iterable<number>, limits = LIMITS): ProtoMessage {
  return new Protobuf(new WindowedSource(new CountingSource(Uint8Array.from(bytes))), limits).root();
}

function fieldsOf(message: ProtoMessage): number[][] {
  const fields: number[][] = [];
  while (message.next()) fields.push([message.tag, message.position, message.length]);
  return fields;
}

/** Expects the fields of `bytes` to be refused at `offset`. */
function refuses(bytes: Iterable<number>, message: RegExp, offset: number): void {
  assert.throws(
    () => fieldsOf(rootOf(bytes)),
    (error) => error instanceof ModelFormatError && error.offset === offset && message.test(error.message),
  );
}

test('fields of every wire type come with the range of their value', () => {
  const bytes = [
    ...number(1, 300),
    ...prefixed(2, 'abc'),
    0x1d,
    1,
    2,
    3,
    4,
    0x21,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    ...number(5, 0),
  ];
  assert.deepEqual(fieldsOf(rootOf(bytes)), [
    [8, 1, 2],
    [18, 5, 3],
    [29, 9, 4],
    [33, 14, 8],
    [40, 23, 1],
  ]);
  assert.deepEqual(fieldsOf(rootOf([])), []);
});

test('a tag is a number and a wire type: another wire type is another field', () => {
  assert.equal(varintField(1), 0x08);
  assert.equal(prefixedField(1), 0x0a);
  assert.equal(prefixedField(16), 130);
});

test('numbers are two’s complement of 64 bits and must be exact in a double', () => {
  for (const value of [0, 1, 127, 128, 2 ** 28 - 1, 2 ** 28, 2 ** 31, 2 ** 32, 2 ** 35, 2 ** 53 - 1]) {
    const message = rootOf(number(1, value));
    message.next();
    assert.equal(message.unsigned('n'), value);
    assert.equal(message.signed('n'), value);
  }
  for (const value of [-1, -128, -(2 ** 31), -(2 ** 32) - 1, -(2 ** 53) + 1]) {
    const message = rootOf(number(1, value));
    message.next();
    assert.equal(message.length, 10);
    assert.equal(message.signed('n'), value);
    assert.throws(() => message.unsigned('n'), ModelFormatError);
  }
  for (const value of [2n ** 53n, -(2n ** 53n), -(2n ** 63n)]) {
    const message = rootOf(number(1, value));
    message.next();
    assert.throws(() => message.signed('n'), /within 2\^53/);
  }
});

test('a varint that is longer than needed is read, one of more than 64 bits is refused', () => {
  assert.deepEqual(fieldsOf(rootOf([0x88, 0x80, 0x00, 0x07])), [[8, 3, 1]]);
  refuses([0x08, ...Array<number>(9).fill(0xff), 0x02], /a number in at most 64 bits/, 1);
  refuses([0x08, ...Array<number>(11).fill(0x80)], /a number in at most 64 bits/, 1);
});

test('a message can be walked again, and packed numbers come out signed', () => {
  const message = rootOf(prefixed(1, [...varint(-3), ...varint(2 ** 40), 5]));
  for (let pass = 0; pass < 2; pass++) {
    const values: number[] = [];
    message.rewind();
    message.next();
    message.packedSigned(values, 3, 'numbers');
    assert.deepEqual(values, [-3, 2 ** 40, 5]);
    assert.throws(() => message.packedSigned(values, 3, 'numbers'), /at most 3 numbers/);
  }
});

test('refused: a length past the end of the message it lies in', () => {
  for (const length of [2, 2 ** 31, 2 ** 32, 2 ** 53 - 1]) {
    refuses([8, 1, ...prefixed(2, [7], length)], new RegExp(`at most 1 bytes in field 2, got ${length}`), 2);
  }
  for (const length of [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) refuses(prefixed(2, [7], length), /within 2\^53/, 1);
  // The inner length fits the file but not the outer message.
  const outer = rootOf([...prefixed(1, prefixed(2, [1], 3)), 9, 9, 9]);
  outer.next();
  assert.throws(() => fieldsOf(outer.message('it')), /at most 1 bytes in field 2, got 3 \(at byte 2\)/);
});

test('refused: fields cut short', () => {
  refuses([0x88], /a field's tag to end within its message/, 0);
  refuses([0x08], /a number to end within/, 1);
  refuses([0x08, 0x80], /a number to end within/, 1);
  refuses([0x12], /a field's length to end within/, 1);
  refuses([0x1d, 1, 2, 3], /at most 3 bytes in field 3, got 4/, 0);
  refuses([0x21, 1, 2, 3], /at most 3 bytes in field 4, got 8/, 0);
});

test('refused: groups, wire types nobody defined, field numbers out of range', () => {
  for (const wireType of [3, 4, 6, 7]) refuses([8 + wireType, 0], new RegExp(`got ${wireType}`), 0);
  refuses([0x00, 0x00], /field number from 1 to 2\^29 - 1, got 0/, 0);
  refuses([...varint(2 ** 32), 0], /field number from 1/, 0);
});

test('refused: messages nested deeper than declared', () => {
  let message = rootOf(prefixed(1, prefixed(1, prefixed(1, prefixed(1, [])))));
  for (let depth = 0; depth < LIMITS.maxDepth; depth++) {
    assert.ok(message.next());
    message = message.message('it');
  }
  assert.ok(message.next());
  assert.throws(() => message.message('one more'), /nested at most 3 deep, got one more/);
});

test('refused: more fields, or longer texts and lists, than the budget pays for', () => {
  const empty = Array.from({ length: 513 }, () => prefixed(1, [])).flat();
  assert.equal(fieldsOf(rootOf(empty.slice(0, 1024))).length, 512);
  refuses(empty, /fewer fields/, 1024);
  const long = rootOf(prefixed(1, 'x'.repeat(3000)));
  long.next();
  assert.equal(long.text(3000, 'a name').length, 3000);
  assert.throws(() => long.text(3000, 'a name'), /fewer fields and names/);
  assert.throws(() => long.text(2999, 'bytes of a name'), /at most 2999 bytes of a name, got 3000/);
  assert.throws(() => long.packedSigned([], 1e9, 'numbers'), /fewer fields/);
});
