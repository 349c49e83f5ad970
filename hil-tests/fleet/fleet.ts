/**
 * A fleet on one machine: each device is the production agent as agent.main.ts puts it together, with slots, state and
 * connection of its own, and the worker threads of the built program. They share a process, which is all they share.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { loadConfig, type RunningAgent, startAgent } from '../../agent/agent.main.js';
import type { ExecutionRecord } from '../../agent/jobs/job-board.js';
import { isTerminal } from '../../agent/jobs/job-messages.js';
import { JobServer } from '../../agent/jobs/job-server.js';
import { JobStore } from '../../agent/jobs/job-store.js';
import { publish } from '../../agent/publish.js';
import { createPatch } from '../../targets/node/index.js';
import { SlotDirectory } from '../../targets/node/slot-directory.js';
import { Prng } from '../../targets/sim/prng.js';
import { noise, sha256Hex, testKeypair } from '../support/make-patch.js';
import { PatchServer } from '../support/patch-server.js';
import type { FleetBroker } from './brokers.js';
import { Chaos, clientOptions } from './chaos.js';
import { Observer } from './observer.js';

export interface FleetReport {
  readonly agents: number;
  readonly rightVersion: number;
  readonly oneTerminal: number;
  readonly faults: number;
}

const KEYS = testKeypair(1);
const OLD = noise(300_000, 1);
const NEW = new Uint8Array([...OLD.subarray(0, 200_000), ...noise(60_000, 2), ...OLD.subarray(200_000, 290_000)]);
const JOB = 'pose-2';
/** Devices that are told at a time, and that start at a time: each holds a thread while it works. */
const WAVE = 20;
/** Without any device coming home. */
const PATIENCE_MS = 60_000;

export class Fleet {
  private readonly folder: string;
  private readonly cliPath: string;
  private readonly broker: FleetBroker;
  private readonly devices: readonly string[];
  private readonly agents = new Map<string, RunningAgent>();
  private readonly random: Prng;
  private web!: PatchServer;
  private observer!: Observer;
  private chaos!: Chaos;
  private server!: JobServer;
  private readonly store: JobStore;
  private readonly faults = { brokerKills: 0, agentRestarts: 0, serverRestarts: 0, cuts: 0, refusals: 0 };

  constructor(folder: string, cliPath: string, broker: FleetBroker, devices: readonly string[], seed: number) {
    this.folder = folder;
    this.cliPath = cliPath;
    this.broker = broker;
    this.devices = devices;
    this.random = new Prng(seed);
    mkdirSync(folder);
    this.store = new JobStore(join(folder, 'jobs'));
  }

  async run(): Promise<FleetReport> {
    const from = performance.now();
    try {
      await this.prepare();
      await inWaves(this.devices, (device) => this.startDevice(device));
      const started = performance.now();
      await this.update();
      await this.settle();
      return this.judge({ startMs: started - from, updateMs: performance.now() - started });
    } finally {
      await this.stop();
    }
  }

  private async prepare(): Promise<void> {
    await this.broker.start();
    this.web = await PatchServer.start(join(this.folder, 'www'));
    this.web.fault = (_, index) => this.webFault(index);
    this.observer = new Observer(this.broker.access('observer'));
    this.chaos = new Chaos(this.broker.access('chaos'), this.random.below(1 << 30));
    this.startServer();
    writeFileSync(join(this.folder, 'trusted.pub'), KEYS.publicKey);
    for (const device of this.devices) this.installDevice(device);
  }

  private webFault(index: number) {
    const dice = index === 0 ? 99 : this.random.below(20);
    if (dice < 4) {
      this.faults.cuts++;
      return { kind: 'cut', afterBytes: this.random.below(60_000) } as const;
    }
    if (dice > 4) return null;
    this.faults.refusals++;
    return { kind: 'status', status: 503 } as const;
  }

  private startServer(): void {
    const { url, ...files } = this.broker.access('server');
    const { ca, cert, key } = clientOptions({ url, ...files }, '');
    const store = new JobStore(join(this.folder, 'jobs'));
    this.server = new JobServer({
      store,
      topicPrefix: 'mallorn/v1',
      url,
      ca,
      cert,
      key,
      log: () => {},
      pollMs: 100,
      reconnectMs: 200,
    });
  }

  private installDevice(device: string): void {
    const folder = join(this.folder, device);
    mkdirSync(folder);
    const slots = SlotDirectory.open(join(folder, 'slots'), { create: true });
    slots.install(OLD);
    slots.close();
    const index = this.devices.indexOf(device);
    const config = {
      device,
      protocol: 'jobs',
      mqtt: {
        ...this.broker.access(device),
        protocolVersion: this.broker.protocols[index % this.broker.protocols.length],
        reconnectMinMs: 200,
        reconnectMaxMs: 5000,
      },
      model: { name: 'pose', slots: 'slots' },
      trustedKeys: ['../trusted.pub'],
      retry: { minDelayMs: 200, maxDelayMs: 2000, resumeDelayMs: 50 },
    };
    writeFileSync(join(folder, 'agent.json'), JSON.stringify(config));
  }

  private async startDevice(device: string): Promise<void> {
    const config = await loadConfig(join(this.folder, device, 'agent.json'));
    const workerEntry = pathToFileURL(this.cliPath);
    this.agents.set(device, await startAgent({ config, agentVersion: 'fleet', workerEntry, log: () => {} }));
  }

  /** Orders go out in waves; in the middle of them things break. */
  private async update(): Promise<void> {
    const desired = await this.publishFiles();
    const order = { jobId: JOB, document: { desired }, timeoutMs: null, canceled: false };
    let told = 0;
    const breaks = [0.2, 0.5, 0.8].map((fraction) => Math.floor(fraction * this.devices.length));
    let finished = 0;
    let deadline = performance.now() + PATIENCE_MS;
    while (finished < this.devices.length && performance.now() < deadline) {
      if (this.finished() > finished) deadline = performance.now() + PATIENCE_MS;
      finished = this.finished();
      const inHand = told - finished;
      if (told < this.devices.length && inHand < WAVE) {
        told = Math.min(this.devices.length, told + WAVE);
        await this.store.save({ ...order, devices: this.devices.slice(0, told) });
      }
      const next = breaks[0];
      if (next !== undefined && finished >= next) {
        breaks.shift();
        await this.breakThings();
      }
      await delay(100);
    }
  }

  private async breakThings(): Promise<void> {
    await this.broker.kill();
    this.faults.brokerKills++;
    await delay(500);
    await this.broker.start();
    await this.server.close();
    this.startServer();
    this.faults.serverRestarts++;
    for (let count = 0; count < this.devices.length / 40; count++) {
      const device = this.devices[this.random.below(this.devices.length)]!;
      await this.agents.get(device)?.stop();
      await this.startDevice(device);
      this.faults.agentRestarts++;
    }
  }

  private async publishFiles(): Promise<unknown> {
    const save = (name: string, bytes: Uint8Array) => {
      writeFileSync(join(this.folder, name), bytes);
      return join(this.folder, name);
    };
    const { desired } = await publish({
      createPatch,
      model: 'pose',
      version: '2.0',
      olds: [save('old', OLD)],
      target: save('new', NEW),
      outDir: join(this.folder, 'www'),
      baseUrl: this.web.url,
      fullImage: false,
      patch: { privateKey: KEYS.privateKey, versionCounter: 2 },
    });
    return desired;
  }

  /** Late repeats arrive, and every device has said what it runs and that it is there. */
  private async settle(): Promise<void> {
    const right = (device: string) =>
      this.observer.reported.get(device)?.installed_version === '2.0' && this.observer.isThere(device);
    for (const deadline = performance.now() + 20_000; performance.now() < deadline; await delay(100)) {
      if (this.devices.every(right)) break;
    }
    await delay(3500);
  }

  private finished(): number {
    return this.server.board.all().filter(({ status }) => isTerminal(status)).length;
  }

  private judge({ startMs, updateMs }: { startMs: number; updateMs: number }): FleetReport {
    const target = sha256Hex(NEW);
    const terminals = new Map<string, ExecutionRecord[]>();
    for (const line of this.store.history()) {
      if (isTerminal(line.status)) terminals.set(line.device, [...(terminals.get(line.device) ?? []), line]);
    }
    const rightVersion = this.devices.filter((device) => {
      const served = sha256Hex(new Uint8Array(readFileSync(join(this.folder, device, 'slots/current'))));
      const said = this.observer.reported.get(device);
      return (
        served === target && said?.sha256 === target && said.status === 'up_to_date' && this.observer.isThere(device)
      );
    });
    const oneTerminal = this.devices.filter((device) => {
      const lines = terminals.get(device) ?? [];
      // An acceptance may pass while the observer is cut off: on the broker there is at most one.
      return lines.length === 1 && lines[0]?.status === 'SUCCEEDED' && this.observer.terminalsOf(device) <= 1;
    });
    const { repeated, staleWills } = this.chaos;
    const kinds = { ...this.faults, repeated, staleWills };
    for (const [kind, count] of Object.entries(kinds)) assert.ok(count > 0, `no ${kind} happened`);
    const wrong = this.devices.filter((device) => !rightVersion.includes(device) || !oneTerminal.includes(device));
    for (const device of wrong.slice(0, 5)) {
      console.log(
        `wrong: ${device}: ${JSON.stringify(this.observer.reported.get(device))}, ${terminals.get(device)?.length ?? 0} terminal`,
      );
    }
    const { messages, bytes } = this.observer;
    const count = this.devices.length;
    console.log(
      `${this.broker.name}: ${count} agents, started in ${seconds(startMs)}, updated in ${seconds(updateMs)}`,
    );
    console.log(
      `  MQTT ${messages} messages, ${Math.round(bytes / 1024)} KiB (${(messages / count).toFixed(1)} and ${Math.round(bytes / count)} bytes an agent), HTTP ${Math.round(this.web.bodyBytes / 1024)} KiB in ${this.web.gets} requests`,
    );
    console.log(`  faults: ${JSON.stringify(kinds)}`);
    const faults = Object.values(kinds).reduce((sum, n) => sum + n, 0);
    return { agents: count, rightVersion: rightVersion.length, oneTerminal: oneTerminal.length, faults };
  }

  private async stop(): Promise<void> {
    await this.chaos?.stop();
    await this.observer?.stop();
    await inWaves([...this.agents.values()], (agent) => agent.stop());
    await this.server?.close();
    this.store.close();
    await this.web?.stop();
    await this.broker.kill();
  }
}

async function inWaves<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += WAVE) await Promise.all(items.slice(at, at + WAVE).map(work));
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
