/**
 * The production runtime, machine, state files and download, updating from one model to another and back for as long as is wanted; the
 * apply side alone is simulated. Tells how much of the heap is in use once garbage is collected.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { ApplySession } from '../../agent/apply-messages.js';
import { NO_CONDITIONS } from '../../agent/holds.js';
import { JsonFile } from '../../agent/json-file.js';
import { AgentRuntime } from '../../agent/runtime.js';
import { PatchServer } from './patch-server.js';

const MODELS = ['aa'.repeat(32), 'bb'.repeat(32)] as const;
const PATCH = new Uint8Array(3000);

export class UpdateCycles {
  private readonly folder: string;
  private readonly server: PatchServer;
  private readonly runtime: AgentRuntime;
  private active = 0;
  private arrived: () => void = () => {};
  done = 0;

  private constructor(folder: string, server: PatchServer) {
    this.folder = folder;
    this.server = server;
    this.runtime = new AgentRuntime({
      settings: {
        device: 'gw-1',
        model: 'pose',
        consent: [],
        conditions: NO_CONDITIONS,
        fullImage: 'never',
        maxPatchBytes: PATCH.length,
        allowedHosts: null,
        allowInsecureHttp: false,
        policyId: 'p',
        trialBoots: 0,
        retry: { maxAttempts: 3, minDelayMs: 1, maxDelayMs: 4 },
      },
      limits: { maxResumes: 1, resumeDelayMs: 1, stallTimeoutMs: 10_000, minBytesPerSecond: 0 },
      stateFile: new JsonFile(join(folder, 'state.json')),
      openSession: () => this.session(),
      publish: ({ status, sha256 }) => {
        if (status === 'up_to_date' && sha256 === MODELS[this.active]) this.arrived();
      },
      log: () => {},
    });
  }

  /** State lies in `scratch`: in memory, a disk has no part in this. */
  static async start(scratch = tmpdir()): Promise<UpdateCycles> {
    const server = await PatchServer.start(new Map([['patch', PATCH]]));
    const cycles = new UpdateCycles(mkdtempSync(join(scratch, 'mallorn-cycles-')), server);
    await cycles.runtime.start();
    return cycles;
  }

  async run(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await this.update();
    this.server.resetCounters();
  }

  /** Bytes in use, of JavaScript and of buffers: the least of three looks, since connections take their time to go. */
  async heapBytes(): Promise<number> {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    let least = Number.POSITIVE_INFINITY;
    for (let look = 0; look < 3; look++) {
      await delay(200);
      collect();
      const { heapUsed, external } = process.memoryUsage();
      least = Math.min(least, heapUsed + external);
    }
    return least;
  }

  async stop(): Promise<void> {
    await this.runtime.stop();
    await this.server.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async update(): Promise<void> {
    const arrival = new Promise<void>((resolve) => {
      this.arrived = resolve;
    });
    const next = 1 - this.active;
    const url = this.server.urlOf('patch');
    const document = {
      model: 'pose',
      version: `${this.done}`,
      targetSha256: MODELS[next],
      patches: [{ baseSha256: MODELS[this.active], profile: 'mcu', url, size: PATCH.length }],
    };
    this.runtime.desired(new TextEncoder().encode(JSON.stringify(document)));
    await arrival;
    this.done++;
  }

  private session(): ApplySession {
    const progress = { targetBytes: 1, targetSize: 1 };
    const slots = async () =>
      ({ kind: 'slots', active: { sha256: MODELS[this.active] as string }, trial: null }) as const;
    return {
      readSlots: slots,
      begin: async () => ({ kind: 'ok' }),
      push: async () => ({ kind: 'pushed', step: { kind: 'done' }, progress }),
      end: async () => ({ kind: 'ok' }),
      commit: () => {
        this.active = 1 - this.active;
        return slots();
      },
      confirm: slots,
      rollback: slots,
      close: async () => {},
    };
  }
}
