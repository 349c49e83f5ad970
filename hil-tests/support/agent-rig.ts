/**
 * A device, its broker and its patch server on loopback, with the production agent: in this process (its worker thread
 * included) or as a child process that can be killed. The test file that uses it is itself the child's entry (and
 * the worker's where it is bundled alone); it has to call `playAgentRole` first.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import { loadConfig, type RunningAgent, serveApplyWorker, startAgent } from '../../agent/agent.main.js';
import type { DesiredDocument } from '../../agent/desired.js';
import { type CreatePatch, publish } from '../../agent/publish.js';
import { publishDesired } from '../../agent/publish-desired.js';
import type { Reported } from '../../agent/reported.js';
import { deviceTopics } from '../../agent/topics.js';
import { SlotDirectory } from '../../targets/node/slot-directory.js';
import { EmbeddedBroker } from './embedded-broker.js';
import { createTestPatch, type PatchOptions, sha256Hex, testKeypair } from './make-patch.js';
import { PatchServer } from './patch-server.js';

export const TRUSTED = testKeypair(1);
export const STRANGER = testKeypair(2);
export const TOPICS = deviceTopics('mallorn/v1', 'gw-1');

/** The running test file or its bundle: import.meta.url names neither for certain. */
const TEST_FILE = process.argv[1] ?? '';
const CHILD_ROLE = 'MALLORN_TEST_AGENT_CONFIG';
/** Short, so that tests of what is not retained need not wait long; and every percent is told. */
const TIMING = { desiredGraceMs: 300, progressIntervalMs: 0, tickMs: 20 };

/** True in a worker thread or child process that was started to be an agent; the caller then defines no tests. */
export function playAgentRole(): boolean {
  if (serveApplyWorker()) return true;
  const configPath = process.env[CHILD_ROLE];
  if (configPath === undefined || !isMainThread) return false;
  void runChild(configPath);
  return true;
}

async function runChild(configPath: string): Promise<void> {
  const config = await loadConfig(configPath);
  const agent = await startAgent({
    config,
    agentVersion: 'test',
    workerEntry: workerEntry(),
    log: () => {},
    ...TIMING,
  });
  process.once('SIGTERM', () => void agent.stop());
}

export interface RigOptions {
  /** Null: a device without a model. */
  readonly installed: Uint8Array | null;
  readonly config?: Record<string, unknown>;
  /** Default: in the rig's own folder. */
  readonly slotsFolder?: string;
  /** Of the agent in this process; default: the real one. */
  readonly now?: () => Date;
}

export class AgentRig {
  readonly folder = mkdtempSync(join(tmpdir(), 'mallorn-agent-'));
  readonly broker: EmbeddedBroker;
  readonly server: PatchServer;
  readonly configPath = join(this.folder, 'agent.json');
  /** What the HTTP server serves. */
  readonly www: string;
  readonly slotsFolder: string;
  private readonly options: RigOptions;
  private agent: RunningAgent | null = null;
  private child: ChildProcess | null = null;
  readonly log: string[] = [];

  private constructor(options: RigOptions, broker: EmbeddedBroker, server: PatchServer, www: string) {
    this.options = options;
    this.broker = broker;
    this.server = server;
    this.www = www;
    this.slotsFolder = options.slotsFolder ?? join(this.folder, 'slots');
  }

  static async start(options: RigOptions): Promise<AgentRig> {
    const www = mkdtempSync(join(tmpdir(), 'mallorn-www-'));
    const rig = new AgentRig(options, await EmbeddedBroker.start(), await PatchServer.start(www), www);
    const slots = SlotDirectory.open(rig.slotsFolder, { create: true });
    if (options.installed !== null) slots.install(options.installed);
    slots.close();
    mkdirSync(join(rig.folder, 'models'));
    writeFileSync(join(rig.folder, 'trusted.pub'), TRUSTED.publicKey);
    writeFileSync(rig.configPath, JSON.stringify(rig.configDocument()));
    return rig;
  }

  private configDocument(): Record<string, unknown> {
    return {
      device: 'gw-1',
      mqtt: { url: this.broker.url, reconnectMinMs: 20, reconnectMaxMs: 50 },
      model: { name: 'pose', slots: this.slotsFolder },
      trustedKeys: ['trusted.pub'],
      retry: { minDelayMs: 10, maxDelayMs: 50, maxAttempts: 4, resumeDelayMs: 5, stallTimeoutMs: 2000 },
      ...this.options.config,
    };
  }

  /** Changes the configuration file for the next start. */
  configure(changes: Record<string, unknown>): void {
    writeFileSync(this.configPath, JSON.stringify({ ...this.configDocument(), ...changes }));
  }

  async startAgent(): Promise<RunningAgent> {
    const agent = await startAgent({
      config: await loadConfig(this.configPath),
      agentVersion: 'test',
      workerEntry: workerEntry(),
      log: (level, message, fields) => this.log.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`),
      ...TIMING,
      ...(this.options.now === undefined ? {} : { now: this.options.now }),
    });
    this.agent = agent;
    return agent;
  }

  async stopAgent(): Promise<void> {
    await this.agent?.stop();
    this.agent = null;
  }

  /** The agent as a process of its own: this test file's, or the built program. `env` is added to what it inherits. Gives its id. */
  startChild(cliPath?: string, env: Record<string, string> = {}): number {
    const { NODE_TEST_CONTEXT: _, ...inherited } = process.env;
    const args =
      cliPath === undefined
        ? [...process.execArgv.filter(isLoaderFlag), TEST_FILE]
        : [cliPath, 'agent', '--config', this.configPath];
    const child = spawn(process.execPath, args, {
      env: { ...inherited, ...env, [CHILD_ROLE]: this.configPath },
      stdio: ['ignore', 'inherit', cliPath === undefined ? 'inherit' : 'pipe'],
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => this.log.push(text.trimEnd()));
    this.child = child;
    return child.pid ?? 0;
  }

  /** Code of a child that ends by itself; null when a signal ended it. */
  async childExit(): Promise<number | null> {
    const { child } = this;
    if (child === null) throw new Error('no child was started');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
    return child.exitCode;
  }

  get childPid(): number {
    return this.child?.pid ?? 0;
  }

  signalChild(signal: NodeJS.Signals): void {
    this.child?.kill(signal);
  }

  /** SIGKILL: nothing of the process gets a chance to tidy up. Resolves once it is gone; whether it was the kill that ended it. */
  async killChild(): Promise<boolean> {
    const { child } = this;
    this.child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return false;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    return child.signalCode === 'SIGKILL';
  }

  /** Makes the patch as `mallorn publish` does; nothing is told to the broker yet. */
  async publishFiles(
    olds: readonly Uint8Array[],
    target: Uint8Array,
    extra: PublishExtra = {},
  ): Promise<DesiredDocument> {
    const save = (bytes: Uint8Array, name: string) => {
      const path = join(this.folder, 'models', name);
      writeFileSync(path, bytes);
      return path;
    };
    const { fullImage = false, patch = { privateKey: TRUSTED.privateKey, versionCounter: 2 } } = extra;
    const { profile = 'gateway', ...rest } = patch;
    const published = await publish({
      createPatch: extra.createPatch ?? createTestPatch,
      model: 'pose',
      version: extra.version ?? '2.0',
      olds: olds.map((bytes, i) => save(bytes, `old-${i}`)),
      target: save(target, 'target'),
      outDir: this.www,
      baseUrl: extra.baseUrl ?? this.server.url,
      profiles: [profile],
      fullImage,
      patch: rest,
    });
    return published.desired;
  }

  /** Over MQTT, as `mallorn publish` does. Null withdraws. */
  async wish(document: unknown | null): Promise<void> {
    await publishDesired({ url: this.broker.url, topicPrefix: 'mallorn/v1', devices: ['gw-1'], document });
  }

  /** Waits for a `reported` document with this status. */
  async reported(status: Reported['status'], timeoutMs = 30_000): Promise<Reported> {
    const accept = (payload: string) => (JSON.parse(payload) as Reported).status === status;
    try {
      return JSON.parse(await this.broker.waitFor(TOPICS.reported, accept, timeoutMs)) as Reported;
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : String(error)}\n${this.log.join('\n')}`);
    }
  }

  /** What other programs on the device read. */
  activeModel(): Uint8Array {
    return new Uint8Array(readFileSync(join(this.slotsFolder, 'current')));
  }

  activeSha256(): string {
    return sha256Hex(this.activeModel());
  }

  async stop(): Promise<void> {
    await this.stopAgent();
    await this.killChild();
    await this.server.stop();
    await this.broker.stop();
    rmSync(this.folder, { recursive: true, force: true });
    rmSync(this.www, { recursive: true, force: true });
  }
}

export interface PublishExtra {
  /** Default: createTestPatch. */
  readonly createPatch?: CreatePatch;
  readonly fullImage?: boolean;
  readonly version?: string;
  /** Default: of the rig's HTTP server. */
  readonly baseUrl?: string;
  readonly patch?: PatchOptions;
}

/** Named by scripts/test.ts; in other bundles the file itself is the thread's entry. */
declare const MALLORN_APPLY_THREAD: string | undefined;

function workerEntry(): URL {
  return typeof MALLORN_APPLY_THREAD === 'string' ? new URL(MALLORN_APPLY_THREAD) : pathToFileURL(TEST_FILE);
}

/** A child of a test runs the same loader, but not as a test. */
function isLoaderFlag(flag: string): boolean {
  return !flag.startsWith('--test');
}
