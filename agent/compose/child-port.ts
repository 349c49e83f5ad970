/**
 * Whether a child can be reached. Its port is opened only while there is something to ask or to send, so that a loss is also
 * seen at the device node, which goes with the adapter. What is lost is looked for until it is back.
 */
import { existsSync } from 'node:fs';
import type { Log } from '../log.js';
import type { DeviceState } from '../unit-channel.js';

export interface ChildPortOptions {
  readonly port: string;
  readonly onState: () => void;
  /** It may be there again: time to ask it. */
  readonly onBack: () => void;
  readonly log: Log;
}

const LOOK_MS = 500;
/** A port that is there, with nobody who answers: asked ever less often. */
const FIRST_ASK_MS = 1000;
const MOST_ASK_MS = 300_000;

export class ChildPort {
  private readonly options: ChildPortOptions;
  private readonly looking: NodeJS.Timeout;
  private current: DeviceState = 'init';
  private askAtMs = 0;
  private askAfterMs = FIRST_ASK_MS;
  /** It was asked to come back, and has not answered. */
  private asked = false;

  constructor(options: ChildPortOptions) {
    this.options = options;
    this.looking = setInterval(() => this.look(), LOOK_MS);
  }

  get state(): DeviceState {
    return this.current;
  }

  /** The device has said something. */
  answered(): void {
    this.askAfterMs = FIRST_ASK_MS;
    this.asked = false;
    if (this.current !== 'ready') this.change('ready');
  }

  lost(reason: string): void {
    // What others tried in between is none of our asking, and must not put it off.
    if (this.current !== 'lost' || this.asked) {
      this.asked = false;
      this.askAtMs = performance.now() + this.askAfterMs;
      this.askAfterMs = Math.min(2 * this.askAfterMs, MOST_ASK_MS);
    }
    if (this.current === 'lost') return;
    this.options.log('warn', 'child lost', { port: this.options.port, reason });
    this.change('lost');
  }

  close(): void {
    clearInterval(this.looking);
  }

  private look(): void {
    const isThere = this.hasNode();
    if (this.current === 'ready' && !isThere) this.lost('the port is gone');
    if (this.current !== 'lost') return;
    if (!isThere) {
      // Asked as soon as it is there.
      this.askAtMs = 0;
      this.askAfterMs = FIRST_ASK_MS;
    } else if (performance.now() >= this.askAtMs) {
      // An answer or another loss says when next; work that is under way and has no question for it just now gives neither.
      this.askAtMs = performance.now() + MOST_ASK_MS;
      this.asked = true;
      this.options.onBack();
    }
  }

  /** Ports that have none, on other systems and on serial servers, count as there: asking them tells. */
  private hasNode(): boolean {
    const { port } = this.options;
    return !port.startsWith('/') || existsSync(port);
  }

  private change(state: DeviceState): void {
    this.current = state;
    this.options.onState();
  }
}
