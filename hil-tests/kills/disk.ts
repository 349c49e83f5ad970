/** What lies on the disk of a device whose agent is dead, read without repairing anything, and what must be true of it. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type Checkpoint, Journal } from '../../core/apply/journal.js';
import { FrameGeometry, HASH_BYTES } from '../../core/patch/frames.js';
import { measurePreamble, parseHeader } from '../../core/patch/header.js';
import { inactiveSlot, parseState, type SlotName, type SlotState } from '../../targets/node/slot-state.js';
import { sha256Hex } from '../support/make-patch.js';

/** Of a slot directory's journals (targets/node/slot-directory.ts). */
const JOURNAL_BLOCK_BYTES = 4096;
const JOURNAL_BLOCKS = 16;

export class DiskView {
  readonly slots: SlotState;
  /** Kind of the agent's persisted state; null before its first. */
  readonly agent: string | null;
  private readonly slotsFolder: string;

  constructor(slotsFolder: string, agentStatePath: string) {
    this.slotsFolder = slotsFolder;
    const statePath = join(slotsFolder, 'state.json');
    this.slots = parseState(readFileSync(statePath, 'utf8'), statePath);
    this.agent = existsSync(agentStatePath) ? JSON.parse(readFileSync(agentStatePath, 'utf8')).state.kind : null;
  }

  /** What programs read, and what the slots call active: each is one of `wholes` (SHA-256, hex), byte for byte. */
  assertWhole(wholes: readonly string[]): void {
    const current = join(this.slotsFolder, 'current');
    const served = sha256Hex(new Uint8Array(readFileSync(current)));
    assert.ok(wholes.includes(served), `${basename(realpathSync(current))} is served and is neither model: ${served}`);
    const { active } = this.slots;
    assert.ok(active !== null, 'there is an active slot');
    const said = this.slots.slots[active]?.sha256 ?? '';
    assert.equal(sha256Hex(new Uint8Array(readFileSync(this.modelPath(active)))), said, 'the active slot is whole');
    assert.ok(wholes.includes(said), `the active slot holds neither model: ${said}`);
  }

  get activeSha256(): string | null {
    return this.slots.active === null ? null : (this.slots.slots[this.slots.active]?.sha256 ?? null);
  }

  /** Whether the other slot was opened for writing: it no longer holds what it held. */
  get isWriting(): boolean {
    const slot = inactiveSlot(this.slots);
    return this.slots.slots[slot] === null && existsSync(this.modelPath(slot));
  }

  /** The newest whole record about this patch. */
  checkpoint(patch: PatchGeometry): Checkpoint | null {
    const path = join(this.slotsFolder, `${inactiveSlot(this.slots)}.journal`);
    if (!existsSync(path) || !this.isWriting) return null;
    const bytes = new Uint8Array(JOURNAL_BLOCK_BYTES * JOURNAL_BLOCKS).fill(0xff);
    bytes.set(readFileSync(path));
    const readOnly = (): never => assert.fail('looking at a journal changes nothing');
    const journal = new Journal({
      status: () => ({
        size: bytes.length,
        blockLength: JOURNAL_BLOCK_BYTES,
        blocks: JOURNAL_BLOCKS,
        writeAlign: 1,
        eraseValue: 0xff,
      }),
      read: (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
      eraseBlock: readOnly,
      program: readOnly,
      sync: readOnly,
    });
    return journal.load(patch.headerHash);
  }

  private modelPath(slot: SlotName): string {
    return join(this.slotsFolder, `${slot}.model`);
  }
}

/** Where in its file each frame of a patch lies. */
export class PatchGeometry {
  readonly headerHash: Uint8Array;
  readonly targetSize: number;
  private readonly frames: FrameGeometry;
  private readonly preambleBytes: number;

  constructor(patch: Uint8Array) {
    const { headerBytes, preambleBytes } = measurePreamble(patch, patch.length)!;
    const header = parseHeader(patch.subarray(0, headerBytes));
    this.headerHash = patch.slice(headerBytes - HASH_BYTES, headerBytes);
    this.targetSize = header.targetSize;
    this.preambleBytes = preambleBytes;
    this.frames = new FrameGeometry(header.frameBytes, header.bodyBytes);
  }

  fileOffset(frameIndex: number): number {
    return this.preambleBytes + this.frames.wireOffset(frameIndex);
  }
}
