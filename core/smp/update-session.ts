/**
 * One update at a time on a device: feeds the applier what a peer sends, lets it work in bounded steps between the peer's
 * questions, and stages the finished model. A session that ends early, by a power cut or by a peer that begins again, goes on
 * from the journal when the same header comes back.
 */

import { Applier, type ApplierOptions } from '../apply/applier.js';
import { FlashTarget } from '../apply/flash-target.js';
import { type Checkpoint, Journal } from '../apply/journal.js';
import { type ErrorCode, MallornError } from '../errors.js';
import type { PatchHeader } from '../patch/header.js';
import type { Decompressor, Hasher, SignatureVerifier, SlotContents } from '../ports.js';
import type { FlashSlots } from '../slots/flash-slots.js';
import type { OneSlot } from '../slots/one-slot.js';

export interface DeviceOptions {
  /** Two slots, or one that is written in place. */
  readonly slots: FlashSlots | OneSlot;
  /** Largest model a slot holds, in bytes. */
  readonly slotBytes: number;
  readonly hasher: Hasher;
  readonly verifier: SignatureVerifier;
  /** null on devices built without zstd. */
  readonly decompressor: Decompressor | null;
  /** Ed25519 public keys; null accepts unsigned patches, for builds that leave trust to a gateway. */
  readonly trustedKeys: readonly Uint8Array[] | null;
  /** Takes a key record, upon which `trustedKeys` are others; absent where they stay as they are. */
  readonly keyRing?: KeyRing;
  /** Most bytes the decoder of an update may hold. */
  readonly maxBufferBytes: number;
  readonly family: string | null;
  readonly deviceClass: string | null;
  /**
   * Frees what nothing refers to but itself. Called before an update takes its buffers: an abandoned one's may lie in a cycle,
   * and memory does not hold both.
   */
  readonly collectGarbage: () => void;
  /** What `info` says of the device's memory and line, in bytes. */
  readonly usage: () => DeviceUsage;
}

export interface KeyRing {
  /** Of the key record in force; 0 for the factory's keys. */
  readonly version: number;
  /** @throws MallornError, and then nothing has changed */
  rotate(record: Uint8Array): void;
}

export interface DeviceUsage {
  readonly heap: number;
  readonly heapPeak: number;
  readonly stackPeak: number;
  /** Received and lost, because nobody took them in time. */
  readonly serialLost: number;
}

export type SessionState = 'idle' | 'receiving' | 'staged' | 'failed';

export type Failure = ErrorCode | 'OUT_OF_MEMORY';

const NOTHING = new Uint8Array(0);
const FRAME_RETRIES = 3;

export class UpdateSession {
  state: SessionState = 'idle';
  /** Why the session failed. */
  failure: Failure | null = null;
  /** Next byte of the patch file that is wanted. */
  offset = 0;
  /** Target bytes that a power cut does not take back. */
  committed = 0;
  /** True while there is work to do without more input. */
  busy = false;
  /** Why the last key record was refused. */
  keyFailure: Failure | null = null;
  private readonly options: DeviceOptions;
  private applier: Applier | null = null;
  private chunk: Uint8Array = NOTHING;
  private keyRecord: Uint8Array | null = null;

  constructor(options: DeviceOptions) {
    this.options = options;
  }

  /** Target bytes decoded so far. */
  get applied(): number {
    return this.applier === null ? this.committed : this.applier.targetOffset;
  }

  /** Starts an update; the patch is wanted from its first byte. */
  begin(): void {
    this.abort();
    this.options.collectGarbage();
    const { trustedKeys } = this.options;
    // An empty list would mean "do not look at signatures" to the applier.
    if (trustedKeys !== null && trustedKeys.length === 0) {
      this.fail('VERIFY_UNAVAILABLE');
      return;
    }
    this.applier = new Applier(this.applierOptions());
    this.state = 'receiving';
  }

  /** Takes the bytes at `offset`; the view must stay valid while the session is busy. */
  feed(chunk: Uint8Array): void {
    this.chunk = chunk;
    this.busy = true;
  }

  /** Takes a key record, between updates: memory does not hold the verifier beside one. The last one counts, and its `keyFailure`. */
  rotateKeys(record: Uint8Array): void {
    this.keyRecord = record.slice();
    this.keyFailure = null;
    this.busy = true;
  }

  /** One bounded step, if there is one to do. */
  work(): void {
    if (!this.busy) return;
    try {
      if (this.keyRecord !== null) this.rotate(this.keyRecord);
      else if (this.applier !== null) this.push(this.applier);
    } catch (error) {
      const failure = failureOf(error);
      if (this.keyRecord === null) this.fail(failure);
      else this.keyFailure = failure;
    }
    if (this.keyRecord === null) return;
    this.keyRecord = null;
    this.busy = false;
  }

  /** Gives the update up. Its journal stays: the same patch goes on from there. */
  abort(): void {
    this.applier = null;
    this.chunk = NOTHING;
    this.keyRecord = null;
    this.busy = false;
    this.offset = 0;
    this.committed = 0;
    this.failure = null;
    this.state = 'idle';
  }

  private rotate(record: Uint8Array): void {
    this.options.collectGarbage();
    this.options.keyRing?.rotate(record);
  }

  private push(applier: Applier): void {
    const result = applier.push(this.chunk);
    this.offset += result.consumed;
    this.chunk = result.consumed === this.chunk.length ? NOTHING : this.chunk.subarray(result.consumed);
    if (result.kind === 'input') this.busy = false;
    else if (result.kind === 'done') this.stage(applier);
    else if (result.kind === 'seek') {
      this.offset = result.patchOffset;
      this.chunk = NOTHING;
    }
  }

  private stage(applier: Applier): void {
    const header = applier.header!;
    this.options.slots.stage(contentsOf(header), header.minimumCounter);
    this.applier = null;
    this.busy = false;
    this.committed = header.targetSize;
    this.state = 'staged';
  }

  private fail(code: Failure): void {
    this.applier = null;
    this.chunk = NOTHING;
    this.busy = false;
    this.failure = code;
    this.state = 'failed';
  }

  private applierOptions(): ApplierOptions {
    const { slots, slotBytes, hasher, verifier, decompressor, trustedKeys, maxBufferBytes, family, deviceClass } =
      this.options;
    return {
      source: slots.count === 1 || slots.active() === null ? null : slots.openActive(),
      target:
        slots.count === 1
          ? slots.regions
          : ({ targetSize }, buffer) =>
              new FlashTarget({ flash: slots.openInactive(targetSize), targetSize, hasher, buffer }),
      hasher,
      verifier,
      decompressor,
      trustedKeys: trustedKeys ?? [],
      policy: {
        maxBufferBytes,
        maxTargetBytes: slotBytes,
        family,
        deviceClass,
        counterFloor: slots.counterFloor(),
      },
      journal: (header) => new SessionJournal(slots, header, this),
      frameRetries: FRAME_RETRIES,
    };
  }
}

/** QuickJS throws InternalError for a heap or a stack that is full, or null when there is no room for that either. Our own bugs are thrown on. */
function failureOf(error: unknown): Failure {
  if (error instanceof MallornError) return error.code;
  if (error === null || (error as Error).name === 'InternalError') return 'OUT_OF_MEMORY';
  throw error;
}

/** A journal that tells its session how far the update is safe, and a single slot what it is being written with. */
class SessionJournal extends Journal {
  private readonly slots: FlashSlots | OneSlot;
  private readonly header: PatchHeader;
  private readonly session: UpdateSession;

  constructor(slots: FlashSlots | OneSlot, header: PatchHeader, session: UpdateSession) {
    super(slots.journal());
    this.slots = slots;
    this.header = header;
    this.session = session;
  }

  override load(headerHash: Uint8Array): Checkpoint | null {
    const checkpoint = super.load(headerHash);
    this.session.committed = checkpoint?.targetOffset ?? 0;
    return checkpoint;
  }

  override append(headerHash: Uint8Array, checkpoint: Checkpoint): void {
    const { slots, header } = this;
    const append = (): void => super.append(headerHash, checkpoint);
    if (slots.count === 1) slots.journaled(checkpoint, contentsOf(header), header.minimumCounter, append);
    else append();
    this.session.committed = checkpoint.targetOffset;
  }
}

function contentsOf({ targetSize, targetHash, versionCounter }: PatchHeader): SlotContents {
  return { size: targetSize, sha256: targetHash, counter: versionCounter };
}
