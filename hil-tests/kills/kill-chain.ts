/**
 * One device with the built agent, killed with SIGKILL again and again while it updates from one model to another and back.
 * A kill counts where the disk of the dead agent says that the update was not over; every kill, counted or not, is followed
 * by the same look at the disk.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { DesiredDocument } from '../../agent/desired.js';
import { createPatch } from '../../targets/node/index.js';
import { Prng } from '../../targets/sim/prng.js';
import { AgentRig, TRUSTED } from '../support/agent-rig.js';
import { sha256Hex } from '../support/make-patch.js';
import { DiskView, PatchGeometry } from './disk.js';
import { modelVersion } from './models.js';

/** Where a kill found the update, by what lay on the disk. */
export const PHASES = [
  /** The agent had not asked for the patch yet: it was starting, over what an earlier kill had left. */
  'starting',
  /** The header and the base were being checked: the other slot was not opened yet. */
  'checking',
  'writing',
  /** Every byte was durable: the slot was being read back, or switched. */
  'written',
  /** The new model was active, and the agent did not know it yet. */
  'switched',
] as const;
export type Phase = (typeof PHASES)[number];

export interface KillChainOptions {
  readonly seed: number;
  readonly cliPath: string;
  readonly neural: boolean;
}

type Moment =
  | { readonly after: 'spawn'; readonly ms: number }
  /** The server has sent so much, and stops there. */
  | { readonly after: 'bytes'; readonly bytes: number; readonly ms: number }
  /** The journal vouches for so much of the new model. */
  | { readonly after: 'written'; readonly bytes: number; readonly ms: number }
  | { readonly after: 'switch'; readonly ms: number };

/** The agent asks for this much first where it expects its journal to make it jump (agent/update-run.ts). */
const HEAD_BYTES = 2048;
const TRIGGER_TIMEOUT_MS = 60_000;

export class KillChain {
  readonly phases: Record<Phase, number> = { starting: 0, checking: 0, writing: 0, written: 0, switched: 0 };
  /** Kills that came when the update was over. */
  late = 0;
  updates = 0;
  private readonly random: Prng;
  private readonly cliPath: string;
  private readonly rig: AgentRig;
  private readonly wishes: readonly Wish[];

  private constructor({ seed, cliPath }: KillChainOptions, rig: AgentRig, wishes: readonly Wish[]) {
    this.random = new Prng(seed);
    this.cliPath = cliPath;
    this.rig = rig;
    this.wishes = wishes;
  }

  static async start(options: KillChainOptions): Promise<KillChain> {
    const models = [modelVersion(0), modelVersion(1)] as const;
    const rig = await AgentRig.start({ installed: models[0] });
    const { neural } = options;
    const wishes: Wish[] = [];
    for (const [from, to] of [models, [models[1], models[0]]] as const) {
      const patch = { profile: 'mcu', neural, privateKey: TRUSTED.privateKey, versionCounter: 1 } as const;
      const document = await rig.publishFiles([from], to, { createPatch, patch, version: `${wishes.length + 2}` });
      const [file] = document.patches;
      const bytes = readFileSync(join(rig.www, new URL(file!.url).pathname));
      wishes.push({ document, geometry: new PatchGeometry(bytes), bytes: bytes.length, from: sha256Hex(from) });
    }
    return new KillChain(options, rig, wishes);
  }

  /** Kills that landed in an update that the agent had begun to ask the server about. */
  get kills(): number {
    return PHASES.reduce((sum, phase) => sum + (phase === 'starting' ? 0 : this.phases[phase]), 0);
  }

  /** One update, killed again and again until it is over or `enough` says so; then it must end by itself. */
  async update(enough: () => boolean): Promise<void> {
    const wish = this.wishes[this.updates % 2]!;
    await this.rig.wish(wish.document);
    let resumesAt: number | null = null;
    let begun = false;
    // Once the slots are switched the next start has nothing left to do.
    for (let phase: Phase | null = 'starting'; phase !== null && phase !== 'switched' && !enough(); ) {
      phase = await this.killOnce(wish, this.nextMoment(wish, begun, resumesAt), resumesAt);
      if (phase !== null) this.phases[phase]++;
      begun = true;
      resumesAt = this.resumeOffset(wish);
    }
    this.rig.server.fault = () => null;
    this.rig.startChild(this.cliPath);
    await this.until(() => isOver(this.disk(), wish));
    assert.ok(await this.rig.killChild(), 'the agent ran until it was done with');
    this.disk().assertWhole([wish.document.targetSha256]);
    this.updates++;
  }

  async stop(): Promise<void> {
    await this.rig.stop();
  }

  /** The end of the agent's log, for a failure. */
  get log(): string {
    return this.rig.log.slice(-12).join('\n');
  }

  private nextMoment({ bytes, geometry }: Wish, begun: boolean, resumesAt: number | null): Moment {
    const { random } = this;
    const kind = random.below(20);
    // Only what an earlier kill left half-done makes starting dangerous.
    if (kind < 2 && begun) return { after: 'spawn', ms: random.below(300) };
    const written = writtenBytes(this.disk(), geometry);
    const isWritten = written === geometry.targetSize;
    if (kind === 2 || (isWritten && kind < 12)) return { after: 'switch', ms: random.below(3) };
    // Where all is written, the header is all that will be asked for.
    if (isWritten) return { after: 'bytes', bytes: HEAD_BYTES, ms: random.below(20) };
    if (kind < 7) {
      const left = bytes - (resumesAt ?? HEAD_BYTES);
      return { after: 'bytes', bytes: HEAD_BYTES + random.below(left), ms: random.below(20) };
    }
    const more = 1 + random.below(geometry.targetSize / 3);
    return { after: 'written', bytes: Math.min(written + more, geometry.targetSize), ms: random.below(8) };
  }

  /** Starts the agent, kills it at the moment, looks at the disk; null where the update was over. */
  private async killOnce(wish: Wish, moment: Moment, resumesAt: number | null): Promise<Phase | null> {
    const { rig } = this;
    rig.server.resetCounters();
    const reached = this.obey(moment, wish);
    rig.startChild(this.cliPath);
    await this.until(reached);
    await delay(moment.ms);
    assert.ok(await rig.killChild(), `the agent ended by itself: ${JSON.stringify(moment)}`);
    const disk = this.disk();
    disk.assertWhole([wish.from, wish.document.targetSha256]);
    if (isOver(disk, wish)) {
      this.late++;
      return null;
    }
    this.assertResumed(resumesAt);
    return this.phaseOf(disk, wish);
  }

  private phaseOf(disk: DiskView, wish: Wish): Phase {
    if (disk.activeSha256 === wish.document.targetSha256) return 'switched';
    if (this.rig.server.gets === 0) return 'starting';
    if (!disk.isWriting) return 'checking';
    return writtenBytes(disk, wish.geometry) === wish.geometry.targetSize ? 'written' : 'writing';
  }

  /** Where an agent that starts now has to ask the server to go on; null where it has nothing to go on from. */
  private resumeOffset({ geometry }: Wish): number | null {
    const checkpoint = this.disk().checkpoint(geometry);
    if (checkpoint === null) return null;
    return Math.max(geometry.fileOffset(checkpoint.frameIndex), HEAD_BYTES);
  }

  /** An agent that got far enough to ask asked for the header and then for the journaled frame, nothing in between. */
  private assertResumed(resumesAt: number | null): void {
    if (resumesAt === null) return;
    const ranges = this.rig.server.requests.map(({ range }) => range);
    const expected = [`bytes=0-${HEAD_BYTES - 1}`, `bytes=${resumesAt}-`];
    assert.deepEqual(ranges, expected.slice(0, ranges.length), 'requests of a resumed update');
  }

  /** Makes the server behave as the moment needs; gives what tells that it has come. */
  private obey(moment: Moment, wish: Wish): () => boolean {
    const { server } = this.rig;
    // Each request of this life gets what the ones before left of the quota.
    server.fault = () =>
      moment.after === 'bytes' ? { kind: 'stall', afterBytes: moment.bytes - server.bodyBytes } : null;
    const hasSwitched = () => this.disk().activeSha256 === wish.document.targetSha256;
    switch (moment.after) {
      case 'spawn':
        return () => true;
      case 'bytes':
        return () => server.bodyBytes >= moment.bytes;
      case 'written':
        return () => writtenBytes(this.disk(), wish.geometry) >= moment.bytes || hasSwitched();
      case 'switch':
        return hasSwitched;
    }
  }

  private disk(): DiskView {
    return new DiskView(this.rig.slotsFolder, join(this.rig.folder, 'agent-state/state.json'));
  }

  private async until(reached: () => boolean): Promise<void> {
    const deadline = performance.now() + TRIGGER_TIMEOUT_MS;
    while (!reached()) {
      assert.ok(performance.now() < deadline, `nothing for ${TRIGGER_TIMEOUT_MS} ms`);
      await delay(2);
    }
  }
}

interface Wish {
  readonly document: DesiredDocument;
  readonly geometry: PatchGeometry;
  /** Size of the patch file. */
  readonly bytes: number;
  /** SHA-256 of the model it starts from. */
  readonly from: string;
}

function writtenBytes(disk: DiskView, geometry: PatchGeometry): number {
  return disk.checkpoint(geometry)?.targetOffset ?? -1;
}

function isOver(disk: DiskView, { document }: Wish): boolean {
  return disk.agent === 'idle' && disk.activeSha256 === document.targetSha256;
}
