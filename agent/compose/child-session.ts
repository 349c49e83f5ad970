/**
 * The apply side of a child: the device decodes, journals and verifies for itself, and is asked what it has. What the machine
 * knows of an update is the same as with slots on this machine's disk.
 */
import type { PreambleReader } from '../../core/apply/preamble-reader.js';
import { InvalidPatch, IoError, invariant, SignatureError } from '../../core/errors.js';
import { fromHex, toHex } from '../../core/hex.js';
import { checkHeaderDigest, parseHeader } from '../../core/patch/header.js';
import { parseSignatures, requireSignature } from '../../core/patch/signatures.js';
import { NodeHasher, NodeSignatureVerifier } from '../../targets/node/hashing.js';
import type * as serialMcu from '../../targets/serial-mcu/index.js';
import type { ApplySession, DoneReply, Failed, PushReply, SlotsReply } from '../apply-messages.js';
import { type Failure, failureOf, permanent, retryable } from '../failure.js';
import type { Progress } from '../machine-types.js';
import { messageOf } from '../message-of.js';
import type { TrustedKeys } from '../trust-store.js';
import { type ApplyOrder, requireTarget } from '../update-session.js';
import type { ChildPort } from './child-port.js';

export type Serial = typeof serialMcu;

export interface ChildSessionOptions {
  readonly serial: Serial;
  readonly path: string;
  readonly baud: number;
  readonly port: ChildPort;
  /** For devices that leave trust to their gateway. */
  readonly keys: () => TrustedKeys;
  /** What it had when it was last known to have a whole model. */
  readonly lastKnown: () => { readonly sha256: string } | null;
  /** Somebody is asked whether a new model is good. */
  readonly asksHealth: boolean;
  readonly onInfo: (info: serialMcu.DeltaInfo) => void;
  readonly onProgress: (progress: Progress) => void;
}

/** A live device says every 400 ms that it is still at work; erasing a sector takes some seconds. */
const PATIENCE_MS = 20_000;

const NO_WAY_BACK = permanent('no-previous', 'the device has one slot, and no model to go back to');

export class ChildSession implements ApplySession {
  private readonly options: ChildSessionOptions;
  private opening: Promise<serialMcu.SmpClient> | null = null;
  private closed = false;
  private order: ApplyOrder | null = null;
  private stream: serialMcu.DeltaStream | null = null;
  /** The device has the model already, and only has to switch. */
  private isStaged = false;
  /** Offset of the patch that the next push brings. */
  private position = 0;
  private progress: Progress = { targetBytes: 0, targetSize: 0 };

  constructor(options: ChildSessionOptions) {
    this.options = options;
  }

  readSlots(): Promise<SlotsReply | Failed> {
    return this.reply((client) => this.slots(client));
  }

  begin(order: ApplyOrder): Promise<DoneReply | Failed> {
    return this.reply(async (client) => {
      const info = await this.options.serial.deltaInfo(client);
      this.order = order;
      this.position = 0;
      this.progress = { targetBytes: 0, targetSize: 0 };
      // What a device took that checks no signatures, anybody may have sent it.
      this.isStaged = info.signed && info.other.state === 'staged' && info.other.sha256 === order.targetSha256;
      this.stream = new this.options.serial.DeltaStream({
        client,
        patchBytes: order.patchBytes ?? Number.MAX_SAFE_INTEGER,
        params: await client.params(),
        framing: info.raw ? 'raw' : 'console',
        onPreamble: (preamble) => this.check(preamble, order, info.signed),
        onProgress: ({ applied }) => this.tell(applied),
      });
      return { kind: 'ok' };
    });
  }

  push(bytes: Uint8Array): Promise<PushReply | Failed> {
    return this.reply(async () => {
      const { stream, progress } = this;
      invariant(stream !== null, 'an update was begun');
      if (this.isStaged) return { kind: 'pushed', step: { kind: 'done' }, progress };
      const step = await stream.push(bytes, this.position);
      if (step.kind === 'input') this.position += bytes.length;
      if (step.kind === 'seek') this.position = step.offset;
      return { kind: 'pushed', step, progress: this.progress };
    });
  }

  /** The device keeps what it has. */
  async end(): Promise<DoneReply> {
    return { kind: 'ok' };
  }

  commit(): Promise<SlotsReply | Failed> {
    return this.reply(async (client) => {
      const { order } = this;
      invariant(order !== null, 'an update was begun');
      if ((await this.info(client)).slots > 1) {
        await this.options.serial.activateStaged(client, fromHex(order.targetSha256));
        return this.slots(client);
      }
      // A single slot was written in place: what it holds is active, and only this agent can know that it is not trusted yet.
      return { ...(await this.slots(client)), trial: this.options.asksHealth ? { boots: 0 } : null };
    });
  }

  confirm(): Promise<SlotsReply | Failed> {
    return this.reply(async (client) => {
      if ((await this.info(client)).slots > 1) await this.options.serial.endTrial(client, true);
      return this.slots(client);
    });
  }

  rollback(always: boolean): Promise<SlotsReply | Failed> {
    return this.reply(async (client) => {
      const { slots, active } = await this.info(client);
      if (slots === 1) return { kind: 'failed', failure: NO_WAY_BACK, reachedBytes: 0 };
      // A rollback whose answer was lost has nothing left to do.
      if (active.state === 'trial' || always) await this.options.serial.endTrial(client, false);
      return this.slots(client);
    });
  }

  async close(): Promise<void> {
    this.closed = true;
    const opening = this.opening;
    this.opening = null;
    await opening?.then((client) => client.close()).catch(() => {});
  }

  private async slots(client: serialMcu.SmpClient): Promise<SlotsReply> {
    const { slots, active, other } = await this.info(client);
    // Half-way through an update in place it has neither model, and only the patch that it began with helps it on.
    const isBetween = slots === 1 && active.sha256 === null && other.state === 'writing';
    const sha256 = isBetween ? (this.options.lastKnown()?.sha256 ?? null) : active.sha256;
    return {
      kind: 'slots',
      active: sha256 === null ? null : { sha256 },
      // The device counts its own starts, and goes back by itself when there are too many.
      trial: active.state === 'trial' ? { boots: 0 } : null,
    };
  }

  private async info(client: serialMcu.SmpClient): Promise<serialMcu.DeltaInfo> {
    const info = await this.options.serial.deltaInfo(client);
    this.options.onInfo(info);
    return info;
  }

  private async reply<R>(work: (client: serialMcu.SmpClient) => Promise<R>): Promise<R | Failed> {
    try {
      this.opening ??= this.open();
      const reply = await work(await this.opening);
      this.options.port.answered();
      return reply;
    } catch (error) {
      return { kind: 'failed', failure: this.failureOf(error), reachedBytes: this.progress.targetBytes };
    }
  }

  private async open(): Promise<serialMcu.SmpClient> {
    const { LinkLost, openPort, SmpClient } = this.options.serial;
    const { path, baud } = this.options;
    const link = await openPort(path, baud).catch((cause: unknown) => {
      throw new LinkLost(messageOf(cause), { cause });
    });
    const client = new SmpClient(link, { patienceMs: PATIENCE_MS });
    if (this.closed) {
      await client.close();
      throw new IoError('the link was closed');
    }
    return client;
  }

  /** Only what speaks of the line says something about whether the child is there. */
  private failureOf(error: unknown): Failure {
    const { asMallornError, DeviceSilent, LinkLost, Refused } = this.options.serial;
    const isLost = error instanceof LinkLost;
    if (isLost || error instanceof DeviceSilent) {
      if (!this.closed) this.options.port.lost(error.message);
      return retryable(isLost ? 'port-lost' : 'device-silent', error.message);
    }
    if (!(error instanceof Refused)) return failureOf(error);
    this.options.port.answered();
    return failureOf(asMallornError(error));
  }

  /** What needs no device to be refused, before its slot is touched; and whose the patch is, where the device does not look. */
  private check(preamble: PreambleReader, order: ApplyOrder, deviceVerifies: boolean): void {
    const hasher = new NodeHasher();
    checkHeaderDigest(preamble.header, hasher);
    if (!deviceVerifies) {
      const { trustedKeys } = this.options.keys();
      // An empty list would mean "do not look at signatures".
      if (trustedKeys.length === 0) throw new SignatureError('UNKNOWN_SIGNER', 'expected a trusted key, got none');
      const blocks = parseSignatures(preamble.signatures, preamble.size?.signatureCount ?? 0);
      requireSignature({ header: preamble.header, blocks, trustedKeys, verifier: new NodeSignatureVerifier(), hasher });
    }
    const header = parseHeader(preamble.header);
    requireTarget(header, order);
    if (header.standalone || toHex(header.sourceHash) !== order.baseSha256) {
      throw new InvalidPatch(
        'WRONG_BASE',
        `the document says that the patch starts from ${order.baseSha256}: it does not`,
      );
    }
    this.progress = { targetBytes: 0, targetSize: header.targetSize };
  }

  private tell(targetBytes: number): void {
    this.progress = { ...this.progress, targetBytes };
    this.options.onProgress(this.progress);
  }
}
