/** One device with the built agent and one order from a job server: killed in a state that it was brought to, then left to finish. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ExecutionRecord } from '../../agent/jobs/job-board.js';
import { isTerminal } from '../../agent/jobs/job-messages.js';
import { JobServer } from '../../agent/jobs/job-server.js';
import { JobStore } from '../../agent/jobs/job-store.js';
import type { State } from '../../agent/machine-types.js';
import { AgentRig, TOPICS, TRUSTED } from '../support/agent-rig.js';
import { noise, sha256Hex } from '../support/make-patch.js';
import { repoRoot } from '../support/paths.js';
import { DiskView, PatchGeometry } from './disk.js';
import type { Way } from './ways-to-states.js';

/** A call of node:fs in the agent on a path that contains `path`; see support/holding-fs.cjs. */
export interface HeldCall {
  readonly call: string;
  readonly path: string;
  readonly promises?: boolean;
  /** In worker threads alone. */
  readonly workers?: boolean;
}

const CLI = join(repoRoot, 'dist/cli.js');
const HOLDING_FS = join(repoRoot, 'hil-tests/support/holding-fs.cjs');
const OLD = noise(300_000, 1);
const NEW = new Uint8Array([...noise(250_000, 2), ...OLD.subarray(200_000)]);
const JOB = 'j1';
const ROOT = 'mallorn/v1/gw-1/jobs';
/** The agent asks for this much first where it expects its journal to make it jump (agent/update-run.ts). */
const HEAD_BYTES = 2048;
const TIMEOUT_MS = 30_000;

let devices = 0;

export class StateDevice {
  readonly newSha256 = sha256Hex(NEW);
  private readonly rig: AgentRig;
  private readonly flag: string;
  private readonly way: Way;
  private readonly server: JobServer;
  private geometry: PatchGeometry | null = null;
  private patchBytes = 0;

  private constructor(rig: AgentRig, flag: string, way: Way) {
    this.rig = rig;
    this.flag = flag;
    this.way = way;
    const store = new JobStore(join(rig.folder, 'jobs'));
    const timing = { pollMs: 20, reconnectMs: 20 };
    this.server = new JobServer({ store, topicPrefix: 'mallorn/v1', url: rig.broker.url, log: () => {}, ...timing });
  }

  static newFlag(): string {
    return join(tmpdir(), `mallorn-hold-${process.pid}-${devices++}`);
  }

  static async start(flag: string, way: Way): Promise<StateDevice> {
    const config = { protocol: 'jobs', ...way.config };
    return new StateDevice(await AgentRig.start({ installed: OLD, config }), flag, way);
  }

  /** Brings the agent into the state, kills it there, and sees to it that the kill did come there. */
  async killIn(kind: State['kind']): Promise<void> {
    const { hold } = this.way;
    const env: Record<string, string> =
      hold === undefined
        ? {}
        : { NODE_OPTIONS: `--require ${HOLDING_FS}`, MALLORN_HOLD: JSON.stringify({ ...hold, flag: this.flag }) };
    this.rig.startChild(CLI, env);
    await this.way.reach(this);
    await this.isIn(kind);
    if (hold !== undefined) await this.until(() => existsSync(`${this.flag}.held`));
    assert.ok(await this.rig.killChild(), 'the agent ran until it was killed');
    assert.equal(this.kind, kind, 'state on the disk of the dead agent');
    assert.equal(this.lastLogged, kind, 'last state in its log');
    this.disk().assertWhole([sha256Hex(OLD), this.newSha256]);
    this.rig.server.fault = () => null;
    rmSync(this.flag, { force: true });
  }

  /** Restarts what was killed; it has to come to the end that its way has, with one verdict and no byte fetched twice. */
  async finish(): Promise<void> {
    const { ends, restart } = this.way;
    const expectedBytes = this.bytesToFetch();
    this.rig.server.resetCounters();
    restart?.(this);
    this.rig.startChild(CLI);
    await this.until(() => this.terminals().length > 0);
    await this.until(() => this.openJob === null);
    // Whatever else it had to say would come now.
    await delay(100);
    const verdicts = this.terminals();
    assert.equal(verdicts.length, 1, JSON.stringify(verdicts));
    assert.equal(verdicts[0]?.status, ends.status, JSON.stringify(verdicts));
    assert.equal(verdicts[0]?.details['reason'], ends.reason);
    assert.deepEqual([...new Set(this.saidVerdicts())], [ends.status], 'the device never said another');
    const expected = ends.status === 'SUCCEEDED' ? NEW : OLD;
    assert.equal(this.rig.activeSha256(), sha256Hex(expected));
    assert.ok(this.kind === 'idle' || this.kind === 'refused' || this.kind === 'failed', `${this.kind} is no rest`);
    const { bodyBytes } = this.rig.server;
    assert.equal(bodyBytes, expectedBytes(), `bytes of a patch of ${this.patchBytes} after the restart`);
  }

  async stop(): Promise<void> {
    await this.server.close();
    await this.rig.stop();
    for (const file of [this.flag, `${this.flag}.held`]) rmSync(file, { force: true });
  }

  /** The end of the agent's log, for a failure. */
  get log(): string {
    return this.rig.log.slice(-12).join('\n');
  }

  async order({ signed = true } = {}): Promise<void> {
    const patch = { profile: 'mcu', versionCounter: 2, ...(signed ? { privateKey: TRUSTED.privateKey } : {}) } as const;
    const desired = await this.rig.publishFiles([OLD], NEW, { patch });
    const bytes = readFileSync(join(this.rig.www, new URL(desired.patches[0]!.url).pathname));
    this.geometry = new PatchGeometry(bytes);
    this.patchBytes = bytes.length;
    const order = { jobId: JOB, document: { desired }, devices: ['gw-1'], timeoutMs: null, canceled: false };
    await new JobStore(join(this.rig.folder, 'jobs')).save(order);
  }

  layFlag(): void {
    writeFileSync(this.flag, '');
  }

  consent(to: 'download' | 'activate'): void {
    void this.rig.broker.publish(TOPICS.consent, JSON.stringify({ targetSha256: this.newSha256, for: [to] }));
  }

  stallAfter(fraction: number): void {
    this.rig.server.fault = () => ({ kind: 'stall', afterBytes: Math.floor(this.patchBytes * fraction) });
  }

  cutAfter(fraction: number): void {
    this.rig.server.fault = () => ({ kind: 'cut', afterBytes: Math.floor(this.patchBytes * fraction) });
  }

  answer(status: number): void {
    this.rig.server.fault = () => ({ kind: 'status', status });
  }

  isIn(kind: State['kind']): Promise<void> {
    return this.until(() => this.kind === kind && this.lastLogged === kind);
  }

  async until(reached: () => boolean): Promise<void> {
    const deadline = performance.now() + TIMEOUT_MS;
    while (!reached()) {
      assert.ok(performance.now() < deadline, `nothing for ${TIMEOUT_MS} ms; ${this.kind}\n${this.log}`);
      await delay(5);
    }
  }

  disk(): DiskView {
    return new DiskView(this.rig.slotsFolder, this.stateFile('state.json'));
  }

  /** Bytes of the new model that the journal vouches for. */
  get writtenBytes(): number {
    return (this.geometry && this.disk().checkpoint(this.geometry)?.targetOffset) ?? 0;
  }

  /** Before the first that was saved: `starting`. */
  private get kind(): State['kind'] {
    return (this.disk().agent as State['kind'] | null) ?? 'starting';
  }

  private get lastLogged(): string {
    const changes = this.rig.log.join('\n').matchAll(/"message":"\w+ -> (\w+)"/g);
    return [...changes].at(-1)?.[1] ?? 'starting';
  }

  private get openJob(): unknown {
    return JSON.parse(readFileSync(this.stateFile('jobs.json'), 'utf8')).jobs.current;
  }

  private stateFile(name: string): string {
    return join(this.rig.folder, 'agent-state', name);
  }

  /** What is left to be fetched, by what lies on the disk now. Given once the order is known. */
  private bytesToFetch(): () => number {
    const disk = this.disk();
    if (disk.activeSha256 === this.newSha256 || this.way.ends.status !== 'SUCCEEDED') return () => 0;
    const checkpoint = this.geometry && disk.checkpoint(this.geometry);
    if (this.geometry === null || checkpoint === null) return () => this.patchBytes;
    // The head of the patch, all that it still needs, lies in its own state.
    if (checkpoint.targetOffset === NEW.length) return () => 0;
    const resumesAt = Math.max(this.geometry.fileOffset(checkpoint.frameIndex), HEAD_BYTES);
    return () => HEAD_BYTES + this.patchBytes - resumesAt;
  }

  private terminals(): ExecutionRecord[] {
    const lines = new JobStore(join(this.rig.folder, 'jobs')).history();
    return lines.filter((line) => line.jobId === JOB && isTerminal(line.status));
  }

  /** Said on the wire; one that nobody acknowledged may be said again. */
  private saidVerdicts(): string[] {
    return this.rig.broker.messages
      .filter(({ topic }) => topic === `${ROOT}/${JOB}/update`)
      .map(({ payload }) => JSON.parse(payload).status)
      .filter(isTerminal);
  }
}
