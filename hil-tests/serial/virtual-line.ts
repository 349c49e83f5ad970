/**
 * A device and a gateway on one line, in one thread and in virtual time: bytes take as long as the line's speed says, timers go off
 * when nothing else is left to happen, and a fault hits exactly the byte it was meant for.
 */

import { FlashRegion } from '../../core/flash-region.js';
import { TrustedKeys } from '../../core/slots/trusted-keys.js';
import { SmpServer } from '../../core/smp/server.js';
import { NodeSignatureVerifier } from '../../targets/node/hashing.js';
import { type ByteLink, LinkLost, type Timers } from '../../targets/serial-mcu/byte-link.js';
import { type ClientOptions, SmpClient } from '../../targets/serial-mcu/smp-client.js';
import { FlashImage } from '../../targets/sim/flash-image.js';
import { testDevice } from '../support/test-device.js';

/** What happens to the bytes of one direction; the default changes nothing. */
export interface LineFaults {
  /** Takes a byte and its place in the direction's stream; gives what arrives instead, null for the byte itself. */
  toDevice?(byte: number, at: number): readonly number[] | null;
  toGateway?(byte: number, at: number): readonly number[] | null;
  /** Takes the number of an answer and its lines; gives what is sent, at once or later. */
  answer?(index: number, lines: Uint8Array[]): readonly Uint8Array[];
}

export interface VirtualLineOptions {
  readonly image: FlashImage;
  readonly trustedKeys: readonly Uint8Array[];
  /** Public; with it the device takes key records, and trusts the keys in its flash. */
  readonly rootKey?: Uint8Array;
  /** Of the device's buffer for a packet. */
  readonly packetBytes: number;
  readonly baud?: number;
  /** What each step of the device takes. Default: no time. */
  readonly stepMs?: number;
  readonly faults?: LineFaults;
  readonly client?: Omit<ClientOptions, 'timers'>;
}

interface Event {
  readonly at: number;
  readonly order: number;
  readonly act: () => void;
  cancelled: boolean;
}

const PIECE_BYTES = 16;
const NO_TIME = 1e-6;

export class VirtualLine {
  client: SmpClient;
  /** Milliseconds. */
  now = 0;
  /** Bytes that left the gateway. */
  bytesToDevice = 0;
  bytesToGateway = 0;
  /** Bytes that found the device's line buffer full. */
  lost = 0;
  /** Ends of what the gateway wrote, in its stream: of lines, or of packets in raw framing. */
  readonly writes: number[] = [];
  readonly image: FlashImage;
  private readonly options: VirtualLineOptions;
  private server: SmpServer;
  private ring: number[] = [];
  private events: Event[] = [];
  private order = 0;
  private idleToDevice = 0;
  private idleToGateway = 0;
  private answers = 0;
  private lines: Uint8Array[] = [];
  private resetDue = false;
  /** Until then the device is busy with its last step. */
  private busyUntil = 0;
  private hear: (bytes: Uint8Array) => void = () => {};
  private endLink: (reason: Error) => void = () => {};

  constructor(options: VirtualLineOptions) {
    this.options = options;
    this.image = options.image;
    this.server = this.powerUp();
    this.client = this.connect();
  }

  /** A new peer at the gateway's end; the one before is gone. */
  connect(): SmpClient {
    this.endLink(new LinkLost('the cable was pulled'));
    const link: ByteLink = {
      baud: this.options.baud ?? null,
      write: (bytes) => this.fromGateway(bytes),
      onBytes: (take) => {
        this.hear = take;
      },
      onClosed: (take) => {
        this.endLink = take;
      },
      close: async () => {},
    };
    this.client = new SmpClient(link, { ...this.options.client, timers: this.timers() });
    return this.client;
  }

  /** Pulls the cable: what is on it and in the peer is lost, the device knows nothing of it. */
  pull(): void {
    const { endLink } = this;
    this.endLink = () => {};
    this.hear = () => {};
    for (const event of this.events) event.cancelled = true;
    endLink(new LinkLost('the cable was pulled'));
  }

  /** Power off and on. */
  resetDevice(): void {
    this.ring = [];
    this.lines = [];
    this.server = this.powerUp();
  }

  /** Lets time pass until `work` is done. */
  async run<T>(work: Promise<T>): Promise<T> {
    let done = false;
    const settled = work.finally(() => {
      done = true;
    });
    settled.catch(() => {});
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (done) return settled;
      if (this.workDevice()) continue;
      this.nextEvent();
    }
  }

  private workDevice(): boolean {
    const { stepMs = 0 } = this.options;
    let worked = false;
    while (this.now >= this.busyUntil && this.server.step()) {
      worked = true;
      this.busyUntil = this.now + stepMs;
      if (stepMs > 0) this.schedule(this.busyUntil, () => {});
      if (this.lines.length > 0) this.flushAnswer();
      if (this.resetDue) {
        this.resetDue = false;
        this.resetDevice();
      }
    }
    return worked;
  }

  private nextEvent(): void {
    const next = this.events.reduce<Event | null>(
      (first, event) =>
        first === null || event.at < first.at || (event.at === first.at && event.order < first.order) ? event : first,
      null,
    );
    if (next === null) throw new Error('nothing will ever happen again on this line');
    this.events.splice(this.events.indexOf(next), 1);
    this.now = Math.max(this.now, next.at);
    if (!next.cancelled) next.act();
  }

  private schedule(at: number, act: () => void): Event {
    const event = { at, order: this.order++, act, cancelled: false };
    this.events.push(event);
    return event;
  }

  private timers(): Timers {
    return {
      after: (milliseconds, act) => {
        const event = this.schedule(this.now + milliseconds, act);
        return () => {
          event.cancelled = true;
        };
      },
    };
  }

  private powerUp(): SmpServer {
    const { image, options } = this;
    const ring = options.rootKey === undefined ? null : ringOf(image, options.rootKey);
    return new SmpServer({
      line: { read: (into) => this.takeFromRing(into), write: (bytes) => this.lines.push(bytes.slice()) },
      clock: { now: () => this.now },
      packetBytes: options.packetBytes,
      packetCount: 2,
      reset: () => {
        this.resetDue = true;
      },
      device: {
        ...testDevice(image, options.trustedKeys),
        ...(ring === null ? {} : { keyRing: ring }),
        get trustedKeys() {
          return ring === null ? options.trustedKeys : ring.keys;
        },
        usage: () => ({ heap: 0, heapPeak: 0, stackPeak: 0, serialLost: this.lost }),
      },
    });
  }

  private fromGateway(bytes: Uint8Array): void {
    const { faults = {} } = this.options;
    for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
      const piece = bytes.subarray(start, start + PIECE_BYTES);
      const arriving: number[] = [];
      for (const byte of piece) {
        arriving.push(...(faults.toDevice?.(byte, this.bytesToDevice) ?? [byte]));
        this.bytesToDevice++;
      }
      this.idleToDevice = Math.max(this.idleToDevice, this.now) + this.lineMs(piece.length);
      this.schedule(this.idleToDevice, () => this.arrive(arriving));
    }
    this.writes.push(this.bytesToDevice);
  }

  private arrive(bytes: readonly number[]): void {
    for (const byte of bytes) {
      if (this.ring.length < this.ringBytes) this.ring.push(byte);
      else this.lost++;
    }
  }

  /** Two packets in console framing, as on the board. */
  private get ringBytes(): number {
    return Math.ceil(this.options.packetBytes * 2.9) + 128;
  }

  private takeFromRing(into: Uint8Array): number {
    const taken = this.ring.splice(0, into.length);
    into.set(taken);
    return taken.length;
  }

  private flushAnswer(): void {
    const { faults = {} } = this.options;
    const { lines } = this;
    this.lines = [];
    for (const line of faults.answer?.(this.answers++, lines) ?? lines) {
      const arriving: number[] = [];
      for (const byte of line) {
        arriving.push(...(faults.toGateway?.(byte, this.bytesToGateway) ?? [byte]));
        this.bytesToGateway++;
      }
      this.idleToGateway = Math.max(this.idleToGateway, this.now) + this.lineMs(line.length);
      this.schedule(this.idleToGateway, () => this.hear(Uint8Array.from(arriving)));
    }
  }

  private lineMs(bytes: number): number {
    return this.options.baud === undefined ? bytes * NO_TIME : (bytes * 10_000) / this.options.baud;
  }
}

function ringOf(image: FlashImage, rootKey: Uint8Array): TrustedKeys {
  const [area, copy] = image.layout.keys;
  const areas = [new FlashRegion(image, area), new FlashRegion(image, copy)] as const;
  return new TrustedKeys(areas, { rootKey, verifier: new NodeSignatureVerifier(), deviceClass: 'board' });
}

/** A copy that a device may change. */
export function copyOf(image: FlashImage): FlashImage {
  return new FlashImage(image.bytes.slice());
}
