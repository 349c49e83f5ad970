/** The serial side: CBOR, console frames, and the device's server with a whole update behind it. */

import assert from 'node:assert/strict';
import { CborReader } from '../../core/smp/cbor-reader.js';
import { CborWriter } from '../../core/smp/cbor-writer.js';
import { CONSOLE_OVERHEAD_BYTES, ConsoleReader, ConsoleWriter } from '../../core/smp/console-framing.js';
import {
  DELTA_ABORT,
  DELTA_ACTIVATE,
  DELTA_BEGIN,
  DELTA_DATA,
  DELTA_INFO,
  DELTA_STATUS,
  GROUP_DELTA,
  GROUP_IMAGE,
  GROUP_OS,
  IMAGE_UPLOAD,
  OS_ECHO,
  OS_PARAMS,
  SMP_HEADER_BYTES,
  SMP_READ,
  SMP_WRITE,
  writeSmpHeader,
} from '../../core/smp/packet.js';
import { SmpServer } from '../../core/smp/server.js';
import { FlashImage, makeImage } from '../board/flash-image.js';
import { makePatch, noise, testKeypair } from '../support/make-patch.js';
import { testDevice } from '../support/test-device.js';
import { type FuzzTarget, Hang, type Outcome } from './target.js';

const KEYS = ['header', 'off', 'data', 'd', 'len', 'sha', 'x'];
const PACKET_BYTES = 640;
/** Of a part that can be put back for each input. */
const FLASH_BYTES = 128 << 10;
/** A first line and those that go on from it. */
const FRAME = new RegExp(`${String.fromCharCode(6, 9)}[^\\n]*\\n(?:${String.fromCharCode(4, 20)}[^\\n]*\\n)*`, 'g');
const KEY = testKeypair(7);
const OLD = noise(3000, 1);
const NEXT = noise(3000, 2);

export class CborTarget implements FuzzTarget {
  readonly name = 'cbor';
  readonly share = 8;
  private readonly reader = new CborReader();

  seeds(): Uint8Array[] {
    return bodies().map(([, , body]) => body);
  }

  run(bytes: Uint8Array): Outcome {
    const { reader } = this;
    if (!reader.reset(bytes)) return 'refused';
    for (const key of KEYS) {
      const value = reader.uint(key);
      assert.ok(value === null || (value >= 0 && !Number.isNaN(value)));
      for (const view of [reader.byteString(key), reader.text(key)])
        assert.ok(view === null || (view.buffer === bytes.buffer && view.length <= bytes.length));
    }
    return 'taken';
  }
}

/** Group, command and CBOR of each request there is. */
function bodies(): [group: number, command: number, body: Uint8Array][] {
  const patch = makePatch(OLD, NEXT, { neural: true, profile: 'mcu', privateKey: KEY.privateKey, versionCounter: 5 });
  const body = (fill: (writer: CborWriter) => void): Uint8Array => {
    const out = new Uint8Array(PACKET_BYTES);
    const writer = new CborWriter(out);
    writer.begin();
    fill(writer);
    writer.end();
    return out.slice(0, writer.length);
  };
  const none = body(() => {});
  return [
    [GROUP_OS, OS_ECHO, body((writer) => writer.putText('d', 'hello'))],
    [GROUP_OS, OS_PARAMS, none],
    [GROUP_DELTA, DELTA_INFO, none],
    [GROUP_DELTA, DELTA_BEGIN, body((writer) => writer.putBytes('header', patch.subarray(0, 400)))],
    [
      GROUP_DELTA,
      DELTA_DATA,
      body((writer) => {
        writer.putUint('off', 400);
        writer.putBytes('data', patch.subarray(400, 800));
      }),
    ],
    [GROUP_DELTA, DELTA_STATUS, none],
    [GROUP_DELTA, DELTA_ACTIVATE, none],
    [GROUP_DELTA, DELTA_ABORT, none],
    [
      GROUP_IMAGE,
      IMAGE_UPLOAD,
      body((writer) => {
        writer.putUint('len', patch.length);
        writer.putUint('off', 0);
        writer.putBytes('sha', new Uint8Array(32));
        writer.putBytes('data', patch.subarray(0, 400));
      }),
    ],
  ];
}

function packetOf([group, command, body]: ReturnType<typeof bodies>[number]): Uint8Array {
  const packet = new Uint8Array(SMP_HEADER_BYTES + body.length);
  const op = command === DELTA_STATUS || command === OS_PARAMS ? SMP_READ : SMP_WRITE;
  writeSmpHeader(packet, { op, version: 1, group, sequence: 9, command }, body.length);
  packet.set(body, SMP_HEADER_BYTES);
  return packet;
}

export function framed(...packets: readonly Uint8Array[]): Uint8Array {
  const out: Uint8Array[] = [];
  const writer = new ConsoleWriter((line) => out.push(line.slice()));
  for (const packet of packets) writer.send(packet);
  return new Uint8Array(Buffer.concat(out));
}

/** The lengths and checksums of frames in `line` made right, whatever they carry; null where there is no frame. */
export function withChecksums(line: Uint8Array): Uint8Array | null {
  const out: Uint8Array[] = [];
  const text = Buffer.from(line).toString('latin1');
  let end = 0;
  for (const match of text.matchAll(FRAME)) {
    // Passes over markers and line feeds.
    const frame = Buffer.from(match[0], 'base64');
    if (frame.length < CONSOLE_OVERHEAD_BYTES) continue;
    out.push(line.slice(end, match.index), framed(new Uint8Array(frame.subarray(2, -2))));
    end = match.index + match[0].length;
  }
  return end === 0 ? null : new Uint8Array(Buffer.concat([...out, line.subarray(end)]));
}

/** Packets that sound frames carry in `line`. */
function packetsIn(line: Uint8Array): Uint8Array[] {
  const reader = new ConsoleReader(new Uint8Array(PACKET_BYTES + 64));
  return [...line].flatMap((byte) => reader.take(byte)?.slice() ?? []);
}

export class ConsoleTarget implements FuzzTarget {
  readonly name = 'console';
  readonly share = 6;
  private readonly buffer = new Uint8Array(PACKET_BYTES);

  seeds(): Uint8Array[] {
    const packets = bodies().map(packetOf);
    return [framed(packets[0]!), framed(packets[3]!), framed(...packets.slice(0, 4))];
  }

  repair(bytes: Uint8Array): Uint8Array | null {
    return withChecksums(bytes);
  }

  run(bytes: Uint8Array): Outcome {
    const reader = new ConsoleReader(this.buffer);
    let packets = 0;
    for (const byte of bytes) {
      const packet = reader.take(byte);
      if (packet === null) continue;
      assert.ok(packet.buffer === this.buffer.buffer && packet.length <= PACKET_BYTES);
      packets++;
    }
    return packets > 0 ? 'taken' : 'refused';
  }
}

/** An input is one packet after another, each behind two bytes of its length; framed on their way to the device. */
export class SmpTarget implements FuzzTarget {
  readonly name = 'smp';
  readonly share = 3;
  private readonly image = smallImage();
  private readonly flash = new FlashImage(this.image.slice());

  seeds(): Uint8Array[] {
    const packets = bodies().map(packetOf);
    const [echo, params, info, begin, data, status, activate, abort, upload] = packets.map(prefixed);
    return [
      [echo!, params!, info!],
      [begin!, data!, status!],
      [begin!, data!, abort!, begin!, activate!],
      [upload!, status!, upload!],
    ].map((parts) => new Uint8Array(Buffer.concat(parts)));
  }

  /** Every header says the length its packet has. */
  repair(bytes: Uint8Array): Uint8Array {
    const packets = cut(bytes).map((packet) => {
      const copy = packet.slice();
      if (copy.length < SMP_HEADER_BYTES) return copy;
      copy[2] = (copy.length - SMP_HEADER_BYTES) >> 8;
      copy[3] = copy.length - SMP_HEADER_BYTES;
      return copy;
    });
    return new Uint8Array(Buffer.concat(packets.map(prefixed)));
  }

  run(bytes: Uint8Array, budget: number): Outcome {
    const line = framed(...cut(bytes));
    this.flash.bytes.set(this.image);
    let at = 0;
    let now = 0;
    const answers: Uint8Array[] = [];
    const server = new SmpServer({
      line: {
        read: (into) => {
          const part = line.subarray(at, at + into.length);
          into.set(part);
          at += part.length;
          return part.length;
        },
        write: (out) => answers.push(out.slice()),
      },
      clock: { now: () => now++ },
      packetBytes: PACKET_BYTES,
      packetCount: 1,
      reset: null,
      device: testDevice(this.flash, [KEY.publicKey]),
    });
    for (let steps = 1; server.step(); steps++) if (steps > budget) throw new Hang(`${steps} steps`);
    assert.deepEqual(this.flash.slots().active()?.size, OLD.length, 'the old model stays');
    // Every answer is whole.
    const answered = packetsIn(new Uint8Array(Buffer.concat(answers)));
    return answered.length > 0 ? 'taken' : 'refused';
  }
}

function smallImage(): Uint8Array {
  return makeImage({ keys: [KEY.publicKey], model: OLD, flashBytes: FLASH_BYTES }).bytes;
}

function prefixed(packet: Uint8Array): Uint8Array {
  return new Uint8Array([packet.length >> 8, packet.length & 0xff, ...packet]);
}

function cut(bytes: Uint8Array): Uint8Array[] {
  const packets: Uint8Array[] = [];
  for (let at = 0; at + 2 <= bytes.length && packets.length < 16; ) {
    const length = ((bytes[at]! << 8) | bytes[at + 1]!) % (PACKET_BYTES + 50);
    packets.push(bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return packets;
}
