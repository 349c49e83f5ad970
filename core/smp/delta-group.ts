/**
 * The delta group of SMP: what a device is and has (info), one update (begin, data, status, abort), which model runs
 * (activate, confirm, rollback), and whose updates it takes (keys). Answers are written at once; what takes longer is `pending`, and the peer asks again.
 */

import { IoError } from '../errors.js';
import type { SlotContents } from '../ports.js';
import type { CborReader } from './cbor-reader.js';
import type { CborWriter } from './cbor-writer.js';
import {
  DELTA_ABORT,
  DELTA_ACTIVATE,
  DELTA_BEGIN,
  DELTA_CONFIRM,
  DELTA_DATA,
  DELTA_INFO,
  DELTA_KEYS,
  DELTA_ROLLBACK,
  DELTA_STATUS,
  GROUP_DELTA,
  RC_DEVICE,
  RC_INVALID,
  RC_NOT_SUPPORTED,
  RC_REFUSED,
  RC_WRONG_STATE,
} from './packet.js';
import type { DeviceOptions, UpdateSession } from './update-session.js';

export class DeltaGroup {
  private readonly device: DeviceOptions;
  private readonly session: UpdateSession;
  private readonly request: CborReader;
  private readonly answer: CborWriter;

  constructor(device: DeviceOptions, session: UpdateSession, request: CborReader, answer: CborWriter) {
    this.device = device;
    this.session = session;
    this.request = request;
    this.answer = answer;
  }

  /** Handles a request; false when its answer is the session's progress, which may wait until the data is worked off. */
  handle(command: number): boolean {
    switch (command) {
      case DELTA_INFO:
        this.info();
        return true;
      case DELTA_BEGIN:
        return this.begin();
      case DELTA_DATA:
        return this.data();
      case DELTA_STATUS:
        this.progress(GROUP_DELTA, command);
        return true;
      case DELTA_ABORT:
        this.session.abort();
        this.progress(GROUP_DELTA, command);
        return true;
      case DELTA_KEYS:
        return this.keys();
      default:
        this.change(command);
        return true;
    }
  }

  /** A patch in the place of an image, from peers that know no delta group; false as with `handle`. */
  upload(): boolean {
    const offset = this.request.uint('off');
    const bytes = this.request.byteString('data');
    if (offset === 0 && bytes !== null) this.session.begin();
    this.take(offset, bytes);
    return false;
  }

  /** Where the update stands, or why it failed; of a key record how it fared. */
  progress(group: number, command: number): void {
    const { session, answer } = this;
    if (group === GROUP_DELTA && command === DELTA_KEYS) {
      this.keyState();
      return;
    }
    if (session.failure !== null) {
      this.fault(session.failure === 'IO' ? RC_DEVICE : RC_REFUSED, session.failure);
      return;
    }
    answer.putUint('off', session.offset);
    // Peers of other groups may refuse what they do not know.
    if (group !== GROUP_DELTA) return;
    answer.putUint('applied', session.applied);
    answer.putUint('committed', session.committed);
    answer.putText('state', session.state);
    answer.putBoolean('pending', session.busy);
  }

  fault(code: number, reason: string): void {
    const { answer } = this;
    answer.beginMap('err');
    answer.putUint('group', GROUP_DELTA);
    answer.putUint('rc', code);
    answer.end();
    answer.putText('rsn', reason);
  }

  private info(): void {
    const { answer, device } = this;
    const { slots } = device;
    answer.putUint('slots', slots.count);
    answer.putUint('room', device.slotBytes);
    answer.putUint('counter', slots.counterFloor());
    answer.putUint('ram', device.maxBufferBytes);
    answer.putBoolean('zstd', device.decompressor !== null);
    answer.putBoolean('signed', device.trustedKeys !== null);
    answer.putBoolean('raw', true);
    if (device.keyRing !== undefined) answer.putUint('keys', device.keyRing.version);
    const { heap, heapPeak, stackPeak, serialLost } = device.usage();
    answer.beginMap('use');
    answer.putUint('heap', heap);
    answer.putUint('heapPeak', heapPeak);
    answer.putUint('stackPeak', stackPeak);
    answer.putUint('lost', serialLost);
    answer.end();
    this.contents('active', slots.active(), slots.activeState());
    this.contents('other', slots.inactiveContents(), slots.inactiveState());
  }

  private contents(key: string, contents: SlotContents | null, state: string): void {
    const { answer } = this;
    answer.beginMap(key);
    answer.putText('state', state);
    if (contents !== null) {
      answer.putUint('size', contents.size);
      answer.putBytes('sha', contents.sha256);
      answer.putUint('counter', contents.counter);
    }
    answer.end();
  }

  private begin(): boolean {
    const header = this.request.byteString('header');
    if (header === null) {
      this.fault(RC_INVALID, 'header');
      return true;
    }
    this.session.begin();
    this.take(0, header);
    return false;
  }

  private data(): boolean {
    const { session, request } = this;
    if (session.state === 'idle') {
      this.fault(RC_WRONG_STATE, 'idle');
      return true;
    }
    const offset = request.uint('off');
    const bytes = request.byteString('data');
    if (offset === null || bytes === null) {
      this.fault(RC_INVALID, 'off, data');
      return true;
    }
    this.take(offset, bytes);
    return false;
  }

  /** Anything but the bytes wanted next is answered with where those are. */
  private take(offset: number | null, bytes: Uint8Array | null): void {
    const { session } = this;
    if (session.state !== 'receiving' || offset !== session.offset || bytes === null || bytes.length === 0) return;
    session.feed(bytes);
  }

  private change(command: number): void {
    const { slots } = this.device;
    // A model that was written in place is active once it is whole, and there is no way back.
    if (slots.count === 1) {
      this.fault(RC_NOT_SUPPORTED, 'command');
      return;
    }
    try {
      if (command === DELTA_ACTIVATE) {
        if (slots.inactiveState() !== 'staged') {
          this.fault(RC_WRONG_STATE, slots.inactiveState());
          return;
        }
        slots.activate();
        this.session.abort();
      } else if (command === DELTA_CONFIRM) slots.confirm();
      else if (command === DELTA_ROLLBACK) slots.rollback();
      else {
        this.fault(RC_NOT_SUPPORTED, 'command');
        return;
      }
      this.contents('active', slots.active(), slots.activeState());
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      this.fault(RC_DEVICE, error.code);
    }
  }

  /** Without a record, how the last one fared. */
  private keys(): boolean {
    const { session } = this;
    const record = this.request.byteString('record');
    if (this.device.keyRing === undefined) this.fault(RC_NOT_SUPPORTED, 'keys');
    else if (record === null) this.keyState();
    else if (session.state === 'receiving') this.fault(RC_WRONG_STATE, session.state);
    else {
      session.rotateKeys(record);
      return false;
    }
    return true;
  }

  private keyState(): void {
    const { session, answer } = this;
    if (session.keyFailure !== null) {
      this.fault(session.keyFailure === 'IO' ? RC_DEVICE : RC_REFUSED, session.keyFailure);
      return;
    }
    answer.putUint('keys', this.device.keyRing!.version);
    answer.putBoolean('pending', session.busy);
  }
}
