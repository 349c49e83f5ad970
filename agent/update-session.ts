/**
 * One update on the synchronous side: the applier between a stream of patch bytes and the slots. Wiring over ports and
 * nothing else: it runs in a worker thread on a gateway and straight in a test.
 */

import { Applier } from '../core/apply/applier.js';
import { FlashTarget } from '../core/apply/flash-target.js';
import { Journal } from '../core/apply/journal.js';
import { equalBytes } from '../core/bytes.js';
import { createMixedModels } from '../core/codec/mixed-models.js';
import {
  type ErrorCode,
  InvalidPatch,
  IoError,
  invariant,
  SignatureError,
  SourceHashMismatch,
  TargetHashMismatch,
} from '../core/errors.js';
import { toHex } from '../core/hex.js';
import type { PatchHeader } from '../core/patch/header.js';
import type {
  ByteSource,
  Decompressor,
  FlashDevice,
  Hasher,
  SignatureVerifier,
  SlotContents,
  SlotStore,
} from '../core/ports.js';

/** Slots whose new model can be on trial until it has shown that it is good. */
export interface TrialSlots extends SlotStore {
  commit(contents: SlotContents, minimumCounter: number, onTrial?: boolean): void;
  /** Null where the active model is not on trial. */
  trial(): { readonly boots: number } | null;
  confirm(): void;
  /** @throws IoError where a model of `size` bytes has no room. */
  requireRoom(size: number): void;
  /** Gives the space of the previous model back, where nothing needs it. */
  dropPrevious(): void;
}

export interface SessionPorts {
  readonly slots: TrialSlots;
  readonly hasher: Hasher;
  readonly verifier: SignatureVerifier;
  readonly decompressor: Decompressor;
}

export interface SessionRules {
  /** 32 bytes each; with none of them nothing is installed. */
  readonly trustedKeys: readonly Uint8Array[];
  /** For stand-alone patches, where they differ. */
  readonly imageKeys?: readonly Uint8Array[];
  readonly family: string | null;
  readonly deviceClass: string | null;
  readonly maxTargetBytes: number;
  readonly maxBufferBytes: number;
  /** A new model is on trial until it is confirmed. */
  readonly trial: boolean;
  /** Whether the model before stays as the way back until the next update. Default true. */
  readonly keepPrevious?: boolean;
}

/** What the document promised; the signed header has to agree before the slot is touched. Hex. */
export interface ApplyOrder {
  readonly baseSha256: string | null;
  readonly targetSha256: string;
  /** Undefined where the document does not say. */
  readonly targetSize?: number | undefined;
  /** Size of the patch file, for a session that has to know where it ends. */
  readonly patchBytes?: number;
}

export type SessionStep =
  | { readonly kind: 'input' }
  | { readonly kind: 'seek'; readonly offset: number }
  /** The inactive slot holds the target, durable and read back. */
  | { readonly kind: 'done' };

/** A chain frame damaged on the way is asked for this often before the patch counts as forged. */
const FRAME_RETRIES = 2;
const NOTHING = new Uint8Array(0);
const HASH_RUN_BYTES = 1 << 18;
/** What decoding can end in when it was given wrong bytes to work on. */
const DECODE_CODES: readonly ErrorCode[] = ['BAD_SEGMENT', 'BAD_OP'];

export class UpdateSession {
  private readonly ports: SessionPorts;
  private readonly order: ApplyOrder;
  private readonly base: ByteSource | null;
  private readonly applier: Applier;
  private readonly onWork: () => void;
  private readonly onTrial: boolean;
  private headerSeen = false;
  private resumed = false;
  private staged: PatchHeader | null = null;

  /** `onWork` is called after each bounded piece of work. @throws IoError when the base slot cannot be read. */
  constructor(ports: SessionPorts, rules: SessionRules, order: ApplyOrder, onWork: () => void = () => {}) {
    const { trustedKeys, imageKeys = trustedKeys } = rules;
    const keys = order.baseSha256 === null ? imageKeys : trustedKeys;
    // An empty list would mean "do not look at signatures" to the applier.
    if (keys.length === 0) {
      throw new SignatureError('UNKNOWN_SIGNER', 'expected an agent that trusts at least one key for this, got none');
    }
    this.ports = ports;
    this.order = order;
    this.onWork = onWork;
    this.onTrial = rules.trial;
    const { slots, hasher, verifier, decompressor } = ports;
    // A hint that spares a download; what counts is the size in the signed header.
    if (order.targetSize !== undefined) slots.requireRoom(order.targetSize);
    this.base = order.baseSha256 === null ? null : this.openBase(order.baseSha256);
    this.applier = new Applier({
      source: this.base,
      target: (header, buffer) => this.openTarget(header, buffer),
      hasher,
      verifier,
      decompressor,
      mixedModels: createMixedModels,
      trustedKeys: keys,
      policy: {
        maxBufferBytes: rules.maxBufferBytes,
        maxTargetBytes: rules.maxTargetBytes,
        family: rules.family,
        deviceClass: rules.deviceClass,
        counterFloor: slots.counterFloor(),
      },
      journal: () => new Journal(slots.journal()),
      frameRetries: FRAME_RETRIES,
    });
  }

  get targetBytes(): number {
    return this.applier.targetOffset;
  }

  /** 0 until the header is authenticated. */
  get targetSize(): number {
    return this.applier.header?.targetSize ?? 0;
  }

  /** @throws what Applier.push throws. */
  push(chunk: Uint8Array): SessionStep {
    try {
      return this.feed(chunk);
    } catch (error) {
      throw this.explain(error);
    }
  }

  /** The file has no more bytes. @throws InvalidPatch when the patch needs more. */
  end(): void {
    this.applier.end();
  }

  /** Makes the finished slot active. */
  commit(): void {
    const header = this.staged;
    invariant(header !== null, 'only a finished update is committed');
    const contents = { size: header.targetSize, sha256: header.targetHash, counter: header.versionCounter };
    this.ports.slots.commit(contents, header.minimumCounter, this.onTrial);
  }

  private feed(chunk: Uint8Array): SessionStep {
    let rest = chunk;
    let sought: number | null = null;
    for (;;) {
      const result = this.applier.push(rest);
      this.noteResume();
      if (result.kind === 'done') {
        this.staged = this.applier.header;
        return { kind: 'done' };
      }
      if (result.kind === 'input') return sought === null ? { kind: 'input' } : { kind: 'seek', offset: sought };
      if (result.kind === 'seek') {
        // What follows here in the file is not wanted. An update that only lacks its last check needs no bytes at all.
        sought = result.patchOffset;
        rest = NOTHING;
      } else {
        rest = rest.subarray(result.consumed);
      }
      this.onWork();
    }
  }

  private noteResume(): void {
    if (this.headerSeen || this.applier.header === null) return;
    this.headerSeen = true;
    this.resumed = this.applier.targetOffset > 0;
  }

  /**
   * A signed patch that does not decode to its target may be the medium's fault and not the patch's: the base may have
   * rotted since it was checked, and the half that lay in the slot of a resumed update was only vouched for by the journal.
   * The journal is then erased, so that the next attempt looks at the base again and writes every byte itself.
   */
  private explain(error: unknown): unknown {
    const header = this.applier.header;
    if (!isWrongOutcome(error) || header === null || this.applier.targetOffset === 0) return error;
    const { message } = error;
    const rotten = this.base !== null && !this.hasHash(this.base, header.sourceHash);
    if (!rotten && !this.resumed) return error;
    eraseAll(this.ports.slots.journal());
    return rotten
      ? new SourceHashMismatch(`the active model changed while it was read: ${message}`)
      : new IoError(`a resumed update did not read back whole, starting afresh: ${message}`, { cause: error });
  }

  private hasHash(source: ByteSource, expected: Uint8Array): boolean {
    const { hasher } = this.ports;
    const run = new Uint8Array(HASH_RUN_BYTES);
    hasher.reset();
    for (let at = 0; at < source.size; at += run.length) {
      const part = run.subarray(0, Math.min(run.length, source.size - at));
      source.read(at, part);
      hasher.update(part);
      this.onWork();
    }
    const digest = new Uint8Array(32);
    hasher.digest(digest);
    return equalBytes(digest, expected);
  }

  private openBase(baseSha256: string): ByteSource {
    const active = this.ports.slots.active();
    if (active === null || toHex(active.sha256) !== baseSha256) {
      throw new InvalidPatch('WRONG_BASE', `the active model is no longer the base ${baseSha256}`);
    }
    return this.ports.slots.openActive();
  }

  private openTarget(header: PatchHeader, buffer: Uint8Array): FlashTarget {
    requireTarget(header, this.order);
    // Keys may be good for one and not for the other.
    if (header.standalone !== (this.base === null)) {
      throw new InvalidPatch('WRONG_BASE', 'the document names a base for the patch, and it is a stand-alone one');
    }
    const flash = this.ports.slots.openInactive(header.targetSize);
    return new FlashTarget({ flash, targetSize: header.targetSize, hasher: this.ports.hasher, buffer });
  }
}

/** @throws InvalidPatch for a patch that makes another model than its document says. */
export function requireTarget({ targetHash }: PatchHeader, { targetSha256 }: ApplyOrder): void {
  const target = toHex(targetHash);
  if (target === targetSha256) return;
  throw new InvalidPatch('BAD_HEADER', `the document wants ${targetSha256}, the patch makes ${target}`);
}

function isWrongOutcome(error: unknown): error is InvalidPatch | TargetHashMismatch {
  if (error instanceof TargetHashMismatch) return true;
  return error instanceof InvalidPatch && DECODE_CODES.includes(error.code);
}

function eraseAll(flash: FlashDevice): void {
  for (let block = 0; block < flash.status().blocks; block++) flash.eraseBlock(block);
  flash.sync();
}
