/**
 * One update at a time on a device: feeds the applier what a peer sends, lets it work in bounded steps between the peer's
 * questions, and stages the finished model. A session that ends early, by a power cut or by a peer that begins again, goes on
 * from the journal when the same header comes back.
 */

import { Applier, type ApplierOptions } from '../apply/applier.js';
import { FlashTarget } from '../apply/flash-target.js';
import { type Checkpoint, Journal } from '../apply/journal.js';
import { type ErrorCode, MallornError } from '../errors.js';
import type { Decompressor, Hasher, SignatureVerifier } from '../ports.js';
import type { FlashSlots } from '../slots/flash-slots.js';

export interface DeviceOptions {
  readonly slots: FlashSlots;
  /** Largest model a slot holds, in bytes. */
  readonly slotBytes: number;
  readonly hasher: Hasher;
  readonly verifier: SignatureVerifier;
  /** null on devices built without zstd. */
  readonly decompressor: Decompressor | null;
  /** Ed25519 public keys; null accepts unsigned patches, for builds that leave trust to a gateway. */
  readonly trustedKeys: readonly Uint8Array[] | null;
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

export interface DeviceUsage {
  readonly heap: number;
  readonly heapPeak: number;
  readonly stackPeak: number;
  /** Received and lost, because nobody took them in time. */
  readonly serialLost: number;
}

export type SessionState = 'idle' | 'receiving' | 'staged' | 'failed';

const NOTHING = new Uint8Array(0);
const FRAME_RETRIES = 3;

export class UpdateSession {
  state: SessionState = 'idle';
  /** Why the session failed. */
  failure: ErrorCode | 'OUT_OF_MEMORY' | null = null;
  /** Next byte of the patch file that is wanted. */
  offset = 0;
  /** Target bytes that a power cut does not take back. */
  committed = 0;
  /** True while there is work to do without more input. */
  busy = false;
  private readonly options: DeviceOptions;
  private applier: Applier | null = null;
  private chunk: Uint8Array = NOTHING;

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

  /** One bounded step, if there is one to do. */
  work(): void {
    if (!this.busy || this.applier === null) return;
    try {
      this.push(this.applier);
    } catch (error) {
      if (error instanceof MallornError) this.fail(error.code);
      else if (isOutOfMemory(error)) this.fail('OUT_OF_MEMORY');
      else throw error;
    }
  }

  /** Gives the update up. Its journal stays: the same patch goes on from there. */
  abort(): void {
    this.applier = null;
    this.chunk = NOTHING;
    this.busy = false;
    this.offset = 0;
    this.committed = 0;
    this.failure = null;
    this.state = 'idle';
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
    const { targetSize, targetHash, versionCounter, minimumCounter } = applier.header!;
    this.options.slots.stage({ size: targetSize, sha256: targetHash, counter: versionCounter }, minimumCounter);
    this.applier = null;
    this.busy = false;
    this.committed = targetSize;
    this.state = 'staged';
  }

  private fail(code: ErrorCode | 'OUT_OF_MEMORY'): void {
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
      source: slots.active() === null ? null : slots.openActive(),
      target: ({ targetSize }, buffer) =>
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
      journal: () => new SessionJournal(slots, this),
      frameRetries: FRAME_RETRIES,
    };
  }
}

/** QuickJS throws InternalError for a heap or a stack that is full, or null when there is no room for that either. */
function isOutOfMemory(error: unknown): boolean {
  return error === null || (error as Error).name === 'InternalError';
}

/** A journal that tells its session how far the update is safe. */
class SessionJournal extends Journal {
  private readonly session: UpdateSession;

  constructor(slots: FlashSlots, session: UpdateSession) {
    super(slots.journal());
    this.session = session;
  }

  override load(headerHash: Uint8Array): Checkpoint | null {
    const checkpoint = super.load(headerHash);
    this.session.committed = checkpoint?.targetOffset ?? 0;
    return checkpoint;
  }

  override append(headerHash: Uint8Array, checkpoint: Checkpoint): void {
    super.append(headerHash, checkpoint);
    this.session.committed = checkpoint.targetOffset;
  }
}
