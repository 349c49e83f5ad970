/**
 * Cuts of a whole update in a slot directory: the agent's own session over the directory, cut at every changing file system
 * call, with everything unsynced kept, lost, or half of it.
 */
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UpdateSession } from '../../agent/update-session.js';
import type { Update } from '../../core/apply/flash-rig.test.js';
import { Journal } from '../../core/apply/journal.js';
import { toHex } from '../../core/hex.js';
import { DEFAULT_MAX_BUFFER_BYTES } from '../../core/limits.js';
import { noise } from '../../core/patch/build-patch.test.js';
import { HASH_BYTES } from '../../core/patch/frames.js';
import { removeFile } from '../../targets/node/atomic-file.js';
import { NodeHasher, NodeSignatureVerifier } from '../../targets/node/hashing.js';
import { SlotDirectory } from '../../targets/node/slot-directory.js';
import { createDecompressor } from '../../targets/node/zstd-decompressor.js';
import { type FolderCut, LOSSES, runIntoCut } from '../../targets/sim/lossy-folder.js';
import { buildUpdate, type Codec } from './images.js';
import type { Tally } from './tally.js';

export interface Directory {
  readonly id: string;
  readonly codec: Codec;
  /** Whether the slot that is written holds a previous model. */
  readonly hasPrevious: boolean;
  readonly blockLength: number;
  readonly journalBlockLength: number;
}

export const DIRECTORIES: readonly Directory[] = [
  { id: 'first-update', codec: 'zstd', hasPrevious: false, blockLength: 4096, journalBlockLength: 512 },
  { id: 'over-previous', codec: 'zstd', hasPrevious: true, blockLength: 4096, journalBlockLength: 256 },
  { id: 'neural', codec: 'neural', hasPrevious: true, blockLength: 2048, journalBlockLength: 4096 },
];

/** The identity of a process of an earlier boot. */
const DEAD_HOLDER = '1 1 000000000000 4026531836';
const MEMORY_DISK = '/dev/shm';
const SIZES = { profile: 'gateway', segmentBytes: 1024, frameBytes: 256, segments: 10, decodeClass: 0 } as const;
const hasher = new NodeHasher();
const verifier = new NodeSignatureVerifier();
const decompressor = createDecompressor();

export function folderCuts(tally: Tally, name: string, directory: Directory): void {
  const root = mkdtempSync(join(existsSync(MEMORY_DISK) ? MEMORY_DISK : tmpdir(), 'mallorn-power-'));
  try {
    const device = new FolderDevice(root, directory);
    const rehearsal = device.freshFolder();
    const never = { call: Number.POSITIVE_INFINITY, kind: 'before', loss: 'kept', seed: 1 } as const;
    const { calls } = runIntoCut(rehearsal, () => device.boot(rehearsal), never);
    device.assertFinished(rehearsal);
    for (const [call, syscall] of calls.entries()) {
      for (const kind of syscall === 'writeSync'
        ? (['before', 'torn', 'after'] as const)
        : (['before', 'after'] as const)) {
        for (const loss of LOSSES) {
          const cut = { call, kind, loss, seed: call + 1 };
          tally.run(`${name}/${call}-${syscall}/${kind}/${loss}`, () => device.cutOnce(tally, cut));
        }
      }
    }
  } finally {
    rmSync(root, { recursive: true });
  }
}

class FolderDevice {
  private readonly root: string;
  private readonly template: string;
  private readonly directory: Directory;
  private readonly update: Update;
  private readonly headerHash: Uint8Array;
  private folders = 0;
  /** Whether the commit of the last boot returned. */
  private committed = false;

  constructor(root: string, directory: Directory) {
    this.root = root;
    this.directory = directory;
    this.update = buildUpdate(SIZES, directory.codec);
    const { bytes, headerBytes, source } = this.update;
    this.headerHash = bytes.slice(headerBytes - HASH_BYTES, headerBytes);
    this.template = join(root, 'template');
    const store = SlotDirectory.open(this.template, { ...directory, create: true });
    store.install(directory.hasPrevious ? noise(5000, 77) : source, 1);
    if (directory.hasPrevious) {
      store.openInactive(source.length).program(0, source);
      store.commit({ size: source.length, sha256: this.update.header.sourceHash, counter: 1 }, 1);
    }
    store.close();
  }

  freshFolder(): string {
    const folder = join(this.root, `${this.folders++}`);
    cpSync(this.template, folder, { recursive: true, verbatimSymlinks: true });
    return folder;
  }

  /** From power-up until the new model is active. */
  boot(folder: string): void {
    this.committed = false;
    const store = SlotDirectory.open(folder, this.directory);
    try {
      if (store.active()?.counter !== this.update.header.versionCounter) this.apply(store);
    } finally {
      store.close();
    }
  }

  cutOnce(tally: Tally, cut: FolderCut): void {
    const folder = this.freshFolder();
    const { fired } = runIntoCut(folder, () => this.boot(folder), cut);
    assert.ok(fired, 'the cut fired');
    tally.countFired();
    const served = readFileSync(join(folder, 'current'));
    assert.ok(same(served, this.update.source) || same(served, this.update.target), 'current is a whole model');
    if (removeFile(join(folder, 'lock'))) symlinkSync(DEAD_HOLDER, join(folder, 'lock'));
    this.assertConsistent(folder);
    this.boot(folder);
    this.assertFinished(folder);
    rmSync(folder, { recursive: true });
  }

  assertFinished(folder: string): void {
    const { source, target, header } = this.update;
    const store = SlotDirectory.open(folder, this.directory);
    try {
      assert.equal(store.active()?.counter, header.versionCounter, 'the new model is active');
      assert.ok(same(readFileSync(store.currentPath), target), 'current is the new model');
      assert.equal(store.counterFloor(), header.minimumCounter, 'the floor is raised');
      assert.deepEqual(store.previous()?.sha256, header.sourceHash, 'the old model is previous');
      assert.ok(same(readFileSync(join(folder, this.slots().base)), source), 'the source is untouched');
    } finally {
      store.close();
    }
    const left = readdirSync(folder).filter((name) => name.endsWith('.tmp'));
    assert.deepEqual(left, [], 'no temporary file is left');
  }

  /** A whole old or new model is active, with its counters, and the journal claims no more than the slot's file holds. */
  private assertConsistent(folder: string): void {
    const { header, source, target } = this.update;
    const store = SlotDirectory.open(folder, this.directory);
    try {
      const isNew = store.active()?.counter === header.versionCounter;
      assert.ok(isNew || !this.committed, 'a commit that returned is durable');
      assert.ok(same(readFileSync(store.currentPath), isNew ? target : source), 'current is the active model');
      assert.equal(
        store.counterFloor(),
        isNew ? header.minimumCounter : this.directory.hasPrevious ? 1 : 0,
        'the floor',
      );
      if (isNew) return;
      const claimed = new Journal(store.journal()).load(this.headerHash)?.targetOffset ?? 0;
      const path = join(folder, this.slots().other);
      const held = existsSync(path) ? readFileSync(path).subarray(0, claimed) : new Uint8Array(0);
      assert.ok(
        same(held, target.subarray(0, claimed)),
        `the journal claims ${claimed} bytes, more than the slot holds`,
      );
    } finally {
      store.close();
    }
  }

  /** File of the base model, and of the slot that the update is written to. */
  private slots(): { readonly base: string; readonly other: string } {
    const inB = this.directory.hasPrevious;
    return inB ? { base: 'b.model', other: 'a.model' } : { base: 'a.model', other: 'b.model' };
  }

  private apply(slots: SlotDirectory): void {
    const { bytes, header, trustedKeys = [] } = this.update;
    const order = { baseSha256: toHex(header.sourceHash), targetSha256: toHex(header.targetHash) };
    const limits = { maxBufferBytes: DEFAULT_MAX_BUFFER_BYTES, maxTargetBytes: 1 << 20 };
    const ports = { slots, hasher, verifier, decompressor };
    const session = new UpdateSession(
      ports,
      { ...limits, trustedKeys, family: null, deviceClass: null, trial: false },
      order,
    );
    for (let at = 0; ; ) {
      const chunk = bytes.subarray(at, at + 700);
      const step = session.push(chunk);
      if (step.kind === 'done') break;
      at = step.kind === 'seek' ? step.offset : at + chunk.length;
      assert.ok(at < bytes.length, 'the patch is enough');
    }
    session.commit();
    this.committed = true;
  }
}

function same(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
