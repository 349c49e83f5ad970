import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConsoleReader, ConsoleWriter, crc16 } from './console-framing.js';

/** SMP v2 echo "hello", sequence 0x42, as smpclient sends it. */
const PACKET = Uint8Array.from(Buffer.from('0a00000900004200a161646568656c6c6f', 'hex'));
const WIRE = Buffer.concat([Buffer.from([6, 9]), Buffer.from('ABMKAAAJAABCAKFhZGVoZWxsb0YZ\n')]);

function wireOf(packet: Uint8Array): Buffer {
  const lines: Uint8Array[] = [];
  new ConsoleWriter((line) => lines.push(line.slice())).send(packet);
  // Devices in the field drop longer lines.
  for (const line of lines) assert.ok(line.length <= 127);
  return Buffer.concat(lines);
}

function read(bytes: Uint8Array, reader = new ConsoleReader(new Uint8Array(1028))): string[] {
  const packets: string[] = [];
  for (const byte of bytes) {
    const packet = reader.take(byte);
    if (packet !== null) packets.push(Buffer.from(packet).toString('hex'));
  }
  return packets;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

test('the checksum is CRC-16/XMODEM', () => {
  assert.equal(crc16(Buffer.from('123456789'), 0, 9), 0x31c3);
  assert.equal(crc16(PACKET, 0, PACKET.length), 0x4619);
});

test('a packet goes over the wire as other SMP peers write it, and comes back', () => {
  assert.deepEqual(wireOf(PACKET), WIRE);
  assert.deepEqual(read(WIRE), [hex(PACKET)]);
});

test('packets of every length up to several lines come back, with log lines between them and between their lines', () => {
  for (let length = 8; length < 600; length += 7) {
    const packet = Uint8Array.from({ length }, (_, i) => (i * 31 + length) & 0xff);
    const noisy = wireOf(packet).toString('latin1').replaceAll('\n', '\nI: a log line\r\n');
    assert.deepEqual(read(Buffer.from(noisy, 'latin1')), [hex(packet)], `${length} bytes`);
  }
});

test('any one damaged byte drops the packet or leaves it whole, and the next one is read', () => {
  const wire = wireOf(Uint8Array.from({ length: 200 }, (_, i) => i));
  const whole = read(wire)[0]!;
  for (let i = 0; i < wire.length; i++) {
    const damaged = Buffer.from(wire);
    damaged[i] = damaged[i]! ^ 0x11;
    const packets = read(Buffer.concat([damaged, Buffer.from('\n'), WIRE]));
    assert.equal(packets.at(-1), hex(PACKET), `byte ${i}`);
    for (const packet of packets.slice(0, -1)) assert.equal(packet, whole, `byte ${i}`);
  }
});

test('a packet longer than the buffer is dropped, and so is a continuation without a beginning', () => {
  const small = new ConsoleReader(new Uint8Array(64));
  assert.deepEqual(read(wireOf(new Uint8Array(100)), small), []);
  assert.deepEqual(read(WIRE, small), [hex(PACKET)]);
  const tail = wireOf(new Uint8Array(200));
  assert.deepEqual(read(tail.subarray(tail.indexOf(10) + 1)), []);
});

/** In raw framing a packet is what goes over the wire. */
const RAW = PACKET;

test('raw packets are read between lines and each other, at any split, and told from them', () => {
  const log = Buffer.from('I: a log line\r\n\n');
  const stream = Buffer.concat([RAW, WIRE, RAW, RAW, log, RAW, WIRE, log, RAW]);
  const reader = new ConsoleReader(new Uint8Array(64));
  const kinds: boolean[] = [];
  for (const byte of stream) {
    const packet = reader.take(byte);
    if (packet === null) continue;
    assert.equal(hex(packet), hex(PACKET));
    kinds.push(reader.raw);
  }
  assert.deepEqual(kinds, [true, false, true, true, true, false, true]);
});

test('a raw packet longer than the buffer is dropped; one cut short swallows what follows, until a silence', () => {
  const reader = new ConsoleReader(new Uint8Array(64));
  const long = RAW.slice();
  long[3] = 200;
  assert.deepEqual(read(long, reader), []);
  reader.restart();
  assert.deepEqual(read(RAW.subarray(0, 12), reader), []);
  reader.restart();
  assert.deepEqual(read(RAW, reader), [hex(PACKET)]);
  // A read request begins with a byte that ends no line.
  const question = Uint8Array.of(0x08, 0, 0, 1, 0, 0, 1, 6, 0xa0);
  assert.deepEqual(read(Buffer.concat([Buffer.from('noise'), question]), reader), []);
  reader.restart();
  assert.deepEqual(read(question, reader), [hex(question)]);
});
