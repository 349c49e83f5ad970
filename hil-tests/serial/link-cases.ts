/** What a line does to an update in virtual time, and what must come of it all the same. Each case throws when it does not. */

import assert from 'node:assert/strict';
import { DeltaUpdate } from '../../targets/serial-mcu/delta-update.js';
import type { Framing, SmpClient } from '../../targets/serial-mcu/smp-client.js';
import { Prng } from '../../targets/sim/prng.js';
import { sha256Hex } from '../support/make-patch.js';
import { LARGE, SEGMENT_BYTES, SMALL, type Update } from './models.js';
import { copyOf, type LineFaults, VirtualLine, type VirtualLineOptions } from './virtual-line.js';

export interface LinkCase {
  readonly name: string;
  /** Gives how many faults hit the line. */
  run(): Promise<number>;
}

export const BUFFER_SIZES = [128, 256, 512, 640, 1024, 2048, 4096];
const FRAMINGS: readonly Framing[] = ['console', 'raw'];
const BOARD_PACKET_BYTES = 640;
const MOST_MS = 300_000;

export const LINK_CASES: readonly LinkCase[] = [
  ...FRAMINGS.flatMap((framing) => [
    {
      name: `every byte of every ${framing} packet dropped, flipped, or with another one before it`,
      run: () => damageEachByte(framing, 'toDevice'),
    },
    {
      name: `every byte of every answer in ${framing} framing dropped, flipped, or with another one before it`,
      run: () => damageEachByte(framing, 'toGateway'),
    },
    {
      name: `each answer in ${framing} framing lost, doubled, late, or after the next one`,
      run: () => disturbAnswers(framing),
    },
    { name: `log lines around and inside the answers in ${framing} framing`, run: () => talkBetween(framing) },
    { name: `noise all the time in ${framing} framing`, run: () => noiseAlways(framing) },
    {
      name: `no byte lost or sent twice at any size of buffer and speed in ${framing} framing`,
      run: () => everySize(framing),
    },
    {
      name: `the cable pulled at 40 points in ${framing} framing`,
      run: () => interrupt(framing, (line) => line.pull()),
    },
    {
      name: `the device reset at 40 points in ${framing} framing`,
      run: () => interrupt(framing, (line) => line.resetDevice()),
    },
    {
      name: `device and gateway gone together at 40 points in ${framing} framing`,
      run: () =>
        interrupt(framing, (line) => {
          line.resetDevice();
          line.pull();
        }),
    },
  ]),
];

interface Run {
  readonly line: VirtualLine;
  readonly payloadSent: number;
}

/** A whole update, and that it ended as it should. */
async function update(of: Update, framing: Framing, options: Partial<VirtualLineOptions> = {}): Promise<Run> {
  const line = lineTo(of, options);
  const { payloadSent } = await line.run(send(line.client, of, framing));
  await check(line, of);
  return { line, payloadSent };
}

function lineTo(of: Update, options: Partial<VirtualLineOptions>): VirtualLine {
  const { image, trustedKeys } = of;
  return new VirtualLine({ packetBytes: BOARD_PACKET_BYTES, ...options, image: copyOf(image), trustedKeys });
}

async function send(client: SmpClient, { patch }: Update, framing: Framing): Promise<{ payloadSent: number }> {
  const params = await client.params();
  return new DeltaUpdate({ client, patch, params, framing }).run();
}

async function check(line: VirtualLine, { next }: Update): Promise<void> {
  const slots = line.image.slots();
  assert.equal(slots.inactiveState(), 'staged');
  slots.activate();
  assert.equal(sha256Hex(line.image.activeModel()), sha256Hex(next));
  assert.ok(line.now < MOST_MS, `the update took ${line.now} ms`);
}

/** Several packets for the smallest update. */
const DAMAGED_PACKET_BYTES = 256;

/** Bytes in place of one: none, another, or one more. */
type Damage = (byte: number) => readonly number[];
const DAMAGES: readonly Damage[] = [
  () => [],
  // Makes of `data` a `rollback`, where it hits the command.
  (byte) => [byte ^ 0x04],
  (byte) => [byte ^ 0x40],
  (byte) => [0x0a, byte],
  (byte) => [0x41, byte],
];

async function damageEachByte(framing: Framing, direction: 'toDevice' | 'toGateway'): Promise<number> {
  const { line } = await update(SMALL, framing, { packetBytes: DAMAGED_PACKET_BYTES });
  const length = direction === 'toDevice' ? line.bytesToDevice : line.bytesToGateway;
  let fired = 0;
  for (let place = 0; place < length; place++) {
    for (const [kind, damage] of DAMAGES.entries()) {
      const before = fired;
      const faults: LineFaults = {
        [direction]: (byte: number, at: number) => {
          if (at !== place || fired > before) return null;
          fired++;
          return damage(byte);
        },
      };
      await update(SMALL, framing, { packetBytes: DAMAGED_PACKET_BYTES, faults }).catch((error) => {
        throw new Error(`byte ${place}, damage ${kind}: ${error instanceof Error ? error.stack : error}`);
      });
    }
  }
  return fired;
}

const LOST = (): readonly Uint8Array[] => [];
const DOUBLED = (lines: Uint8Array[]): readonly Uint8Array[] => [...lines, ...lines];

async function disturbAnswers(framing: Framing): Promise<number> {
  let answers = 0;
  const count = (_: number, lines: Uint8Array[]): Uint8Array[] => {
    answers++;
    return lines;
  };
  await update(SMALL, framing, { packetBytes: 256, faults: { answer: count } });
  let fired = 0;
  for (let place = 0; place < answers; place++) {
    for (const disturb of [LOST, DOUBLED]) {
      const answer = (index: number, lines: Uint8Array[]): readonly Uint8Array[] => {
        if (index !== place) return lines;
        fired++;
        return disturb(lines);
      };
      await update(SMALL, framing, { packetBytes: 256, faults: { answer } });
    }
    // Held back until so many others went before it.
    for (const others of [1, 2]) {
      let held: Uint8Array[] = [];
      const answer = (index: number, lines: Uint8Array[]): readonly Uint8Array[] => {
        if (index === place) {
          held = lines;
          return [];
        }
        if (index !== place + others) return lines;
        fired++;
        return [...lines, ...held];
      };
      await update(SMALL, framing, { packetBytes: 256, faults: { answer } });
    }
  }
  return fired;
}

async function talkBetween(framing: Framing): Promise<number> {
  const log = Uint8Array.from(Buffer.from('[00:00:01.250] <inf> main: loop 17\r\n'));
  let fired = 0;
  const answer = (_: number, lines: Uint8Array[]): Uint8Array[] => {
    fired++;
    return [log, ...lines.flatMap((line) => [line, log])];
  };
  const { payloadSent } = await update(SMALL, framing, { packetBytes: 256, faults: { answer } });
  assert.equal(payloadSent, SMALL.patch.length, 'nothing had to be sent twice');
  return fired;
}

async function noiseAlways(framing: Framing): Promise<number> {
  let fired = 0;
  for (let seed = 1; seed <= 12; seed++) {
    const random = new Prng(seed);
    const noisy = (byte: number): readonly number[] | null => {
      if (random.below(2500) !== 0) return null;
      fired++;
      return DAMAGES[random.below(DAMAGES.length)]!(byte);
    };
    await update(LARGE, framing, { faults: { toDevice: noisy, toGateway: noisy } });
  }
  return fired;
}

/** Baud, 0 for without limit, and what a step of the device takes: one that is slower than the line must not be overrun. */
const LINES = [
  [9600, 0],
  [115_200, 0],
  [115_200, 10],
  [0, 10],
  [0, 0],
] as const;

async function everySize(framing: Framing): Promise<number> {
  for (const packetBytes of BUFFER_SIZES) {
    for (const [baud, stepMs] of LINES) {
      const speed = baud === 0 ? {} : { baud };
      const { line, payloadSent } = await update(LARGE, framing, { packetBytes, stepMs, ...speed });
      assert.equal(line.lost, 0, `${packetBytes} bytes at ${baud}: the device's buffer ran over`);
      assert.equal(payloadSent, LARGE.patch.length, `${packetBytes} bytes at ${baud}: bytes were sent twice`);
      if (baud > 0 && stepMs === 0)
        assert.ok(
          line.now < (line.bytesToDevice * 11_000) / baud + 1500,
          `${packetBytes} bytes at ${baud}: ${line.now} ms`,
        );
    }
  }
  return 0;
}

const POINTS = 40;

/** Breaks an update off at points all over it; a new gateway finishes it, and sends at most a segment twice. */
async function interrupt(framing: Framing, breakOff: (line: VirtualLine) => void): Promise<number> {
  let fired = 0;
  const { patch } = LARGE;
  for (let point = 0; point < POINTS; point++) {
    const stopAt = Math.floor((patch.length * (point + 0.5)) / POINTS);
    const line = lineTo(LARGE, {});
    let payload = 0;
    const session = async (client: SmpClient, stop: number): Promise<void> => {
      let broken = false;
      const onProgress = ({ received }: { received: number }): void => {
        if (broken || received < stop) return;
        broken = true;
        fired++;
        breakOff(line);
      };
      const params = await client.params();
      const update = new DeltaUpdate({ client, patch, params, framing, onProgress });
      await update.run().finally(() => {
        payload += update.payloadSent;
      });
    };
    await line.run(session(line.client, stopAt)).catch(() => {});
    if (line.image.slots().inactiveState() !== 'staged') {
      await line.run(session(line.connect(), Number.POSITIVE_INFINITY));
    }
    await check(line, LARGE);
    const twice = payload - patch.length;
    // The header is asked for again, and two packets may be on their way.
    const allowed = SEGMENT_BYTES + 3 * BOARD_PACKET_BYTES;
    assert.ok(twice <= allowed, `broken off at ${stopAt}: ${twice} bytes sent twice`);
  }
  return fired;
}
