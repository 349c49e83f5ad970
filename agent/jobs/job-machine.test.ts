/**
 * Device and responder, each the production code, over a network that loses, repeats, delays and reorders, with connections
 * that break, and with the device killed and started anew from what it had on disk.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Prng } from '../../targets/sim/prng.js';
import { type ExecutionRecord, JobBoard } from './job-board.js';
import {
  initialJobState,
  type JobEffect,
  type JobEvent,
  type JobMemory,
  type JobState,
  NO_JOBS,
  stepJob,
} from './job-machine.js';
import { decodeJobs, encodeJobs } from './job-memory.js';
import {
  getAcceptedSchema,
  isTerminal,
  parseMessage,
  type UpdateRequest,
  updateAcceptedSchema,
  updateRequestSchema,
} from './job-messages.js';

const DEVICE = 'gw-1';
const VERDICT = { status: 'SUCCEEDED', details: { sha256: 'ab' } } as const;

interface Letter {
  readonly to: 'server' | 'device';
  readonly life: number;
  readonly effect?: Extract<JobEffect, { kind: 'get' | 'update' }>;
  readonly event?: JobEvent;
}

class World {
  readonly board = new JobBoard();
  readonly terminals: ExecutionRecord[] = [];
  /** Verdicts that were put on the wire, by execution. */
  readonly said = new Set<string>();
  device: JobState = initialJobState(NO_JOBS);
  disk: JobMemory = NO_JOBS;
  network: Letter[] = [];
  reminders: string[] = [];
  working: string | null = null;
  drops = 0;
  life = 0;
  nowMs = 0;

  order(jobId: string, canceled = false, timeoutMs: number | null = null): void {
    this.note(
      this.board.order({ jobId, document: { desired: { jobId } }, devices: [DEVICE], timeoutMs, canceled }, this.nowMs),
    );
  }

  note(records: ExecutionRecord[]): void {
    for (const record of records) {
      if (isTerminal(record.status)) this.terminals.push(record);
      if (record.status !== 'IN_PROGRESS')
        this.network.push({ to: 'device', life: this.life, event: { kind: 'notified' } });
    }
  }

  send(event: JobEvent): void {
    const { state, effects } = stepJob(this.device, event);
    this.device = state;
    for (const effect of effects) this.carryOut(effect);
  }

  carryOut(effect: JobEffect): void {
    switch (effect.kind) {
      case 'persist':
        this.disk = decodeJobs(JSON.parse(JSON.stringify(encodeJobs(this.device))));
        return;
      case 'get':
      case 'update':
        if (effect.kind === 'update' && effect.status !== 'IN_PROGRESS') {
          assert.deepEqual(this.disk.current?.verdict, this.device.current?.verdict, 'on disk before on the wire');
          this.said.add(`${effect.id} ${effect.status}`);
        }
        this.network.push({ to: 'server', life: this.life, effect });
        return;
      case 'remind':
        this.reminders.push(effect.token);
        return;
      case 'work':
        this.working = effect.job.jobId;
        return;
      case 'drop':
        this.working = null;
        this.drops++;
    }
  }

  /** The agent comes to rest with what it works on. */
  judge(verdict: Extract<JobEvent, { kind: 'judged' }>['verdict'] = VERDICT): void {
    const { current } = this.device;
    if (this.working === null || current === null || current.jobId !== this.working) return;
    this.send({ kind: 'judged', jobId: current.jobId, executionNumber: current.executionNumber, verdict });
  }

  deliver(at: number, keep = false): void {
    const letter = this.network[at];
    if (letter === undefined) return;
    if (!keep) this.network.splice(at, 1);
    if (letter.to === 'server') this.serve(letter);
    // Answers to an earlier process carry another token.
    else if (letter.event && letter.life === this.life && this.device.connected) this.send(letter.event);
  }

  reconnect(): void {
    this.send({ kind: 'disconnected' });
    this.send({ kind: 'connected' });
  }

  kill(): void {
    this.life++;
    this.reminders = [];
    this.working = null;
    this.device = { ...initialJobState(this.disk) };
    this.send({ kind: 'connected' });
  }

  due(): void {
    const token = this.reminders.shift();
    if (token !== undefined) this.send({ kind: 'due', token });
  }

  run(): void {
    for (let steps = 0; this.network.length > 0; steps++) {
      assert.ok(steps < 1000, 'comes to rest');
      this.deliver(0);
    }
  }

  private serve({ effect, life }: Letter): void {
    if (effect === undefined) return;
    const { token } = effect;
    if (effect.kind === 'get') {
      const answer = this.board.get(DEVICE, effect.id);
      const body = wire(getAcceptedSchema, answer.body);
      const event: JobEvent =
        answer.kind === 'accepted'
          ? { kind: 'got', token, execution: body?.execution ?? null }
          : { kind: 'rejected', token, code: answer.body.code };
      this.network.push({ to: 'device', life, event });
      return;
    }
    const { status, details: statusDetails, expectedVersion, executionNumber } = effect;
    const request = wire(updateRequestSchema, {
      status,
      statusDetails,
      expectedVersion,
      executionNumber,
    }) as UpdateRequest;
    const { answer, changed } = this.board.update(DEVICE, effect.id, request, this.nowMs);
    this.note(changed);
    const version = wire(updateAcceptedSchema, answer.body)?.executionState?.versionNumber ?? null;
    const event: JobEvent =
      answer.kind === 'accepted'
        ? { kind: 'updated', token, version }
        : { kind: 'rejected', token, code: answer.body.code };
    this.network.push({ to: 'device', life, event });
  }
}

function wire<T>(schema: Parameters<typeof parseMessage<T>>[0], body: unknown): T | undefined {
  return parseMessage(schema, new TextEncoder().encode(JSON.stringify(body)));
}

function connectedWorld(...jobs: string[]): World {
  const world = new World();
  for (const job of jobs) world.order(job);
  world.send({ kind: 'connected' });
  world.run();
  return world;
}

const outcome = (world: World) => world.terminals.map(({ jobId, status }) => `${jobId} ${status}`);

describe('job machine', () => {
  it('claims the job before it works, and says the outcome once', () => {
    const world = connectedWorld('j1');
    assert.equal(world.working, 'j1');
    assert.equal(world.board.next(DEVICE)?.status, 'IN_PROGRESS');
    world.judge();
    world.run();
    assert.deepEqual(outcome(world), ['j1 SUCCEEDED']);
    assert.equal(world.device.current, null);
    world.reconnect();
    world.run();
    assert.equal(world.network.length + world.terminals.length, 1, 'nothing is said again');
  });

  it('takes jobs one after another, the oldest first', () => {
    const world = connectedWorld('j1', 'j2');
    world.judge();
    world.run();
    assert.equal(world.working, 'j2');
    world.judge({ status: 'FAILED', details: { reason: 'unhealthy' } });
    world.run();
    assert.deepEqual(outcome(world), ['j1 SUCCEEDED', 'j2 FAILED']);
  });

  it('hears of a job while it waits for one', () => {
    const world = connectedWorld();
    world.order('j1');
    world.run();
    assert.equal(world.working, 'j1');
  });

  it('drops a job that was called back, and says nothing about it', () => {
    const world = connectedWorld('j1');
    world.order('j1', true);
    world.run();
    assert.equal(world.drops, 1);
    assert.equal(world.working, null);
    world.judge();
    world.run();
    assert.deepEqual(outcome(world), ['j1 CANCELED']);
    assert.equal(world.said.size, 0);
  });

  it('drops a job whose time was over', () => {
    const world = connectedWorld();
    world.order('j1', false, 1000);
    world.run();
    world.note(world.board.tick(2000));
    world.run();
    assert.equal(world.drops, 1);
    assert.deepEqual(outcome(world), ['j1 TIMED_OUT']);
  });

  it('says again what a server has forgotten', () => {
    const world = connectedWorld('j1');
    const before = world.board.next(DEVICE)!;
    world.judge();
    world.run();
    world.board.replay(before);
    world.terminals.length = 0;
    world.kill();
    world.run();
    assert.deepEqual(outcome(world), ['j1 SUCCEEDED']);
    assert.equal(world.working, null, 'without doing it again');
  });

  it('killed between its word and the answer, asks first and is silent', () => {
    const world = connectedWorld('j1');
    world.judge();
    world.deliver(0);
    assert.equal(world.terminals.length, 1);
    world.network = [];
    world.said.clear();
    world.kill();
    world.run();
    assert.equal(world.said.size, 0);
    assert.equal(world.device.current, null);
    assert.equal(world.terminals.length, 1);
  });

  it('never replaces a verdict that it has reached', () => {
    const world = connectedWorld('j1');
    world.judge();
    world.judge({ status: 'FAILED', details: {} });
    world.run();
    assert.deepEqual(outcome(world), ['j1 SUCCEEDED']);
  });

  it('an update made for an older version, another execution or an unknown job changes nothing', () => {
    const world = connectedWorld('j1');
    const code = (jobId: string, fence: Partial<UpdateRequest>) => {
      const { answer, changed } = world.board.update(DEVICE, jobId, { status: 'FAILED', ...fence }, 0);
      assert.equal(changed.length, 0);
      return answer.body['code'];
    };
    assert.equal(code('j1', { expectedVersion: 1 }), 'VersionMismatch');
    assert.equal(code('j1', { executionNumber: 2 }), 'ResourceNotFound');
    assert.equal(code('j9', {}), 'ResourceNotFound');
    world.judge();
    world.run();
    assert.equal(code('j1', {}), 'InvalidStateTransition');
  });

  it('gives up no execution to a throttling server', () => {
    const world = connectedWorld('j1');
    world.judge();
    world.network = [];
    const { pending } = world.device;
    world.send({ kind: 'rejected', token: pending!.token, code: 'RequestThrottled' });
    assert.equal(world.device.pending?.what, 'pause');
    world.reminders = world.reminders.slice(-1);
    world.due();
    world.run();
    assert.deepEqual(outcome(world), ['j1 SUCCEEDED']);
  });

  it('says exactly one terminal status an execution whatever the network and SIGKILL do', () => {
    const counts: Record<string, number> = {};
    for (let seed = 1; seed <= 400; seed++) {
      const random = new Prng(seed);
      const world = new World();
      const jobs = ['j1', 'j2', 'j3'];
      for (const job of jobs) world.order(job);
      world.send({ kind: 'connected' });
      for (let step = 0; step < 120; step++) {
        const { length } = world.network;
        const what = (['kill', 'reconnect', 'lose', 'repeat', 'due', 'judge', 'swap'] as const)[random.below(20)];
        const at = random.below(Math.max(1, length));
        counts[what ?? 'deliver'] = (counts[what ?? 'deliver'] ?? 0) + 1;
        if (what === 'kill') world.kill();
        else if (what === 'reconnect') world.reconnect();
        else if (what === 'lose') world.network.splice(at, 1);
        else if (what === 'repeat') world.deliver(at, true);
        else if (what === 'due') world.due();
        else if (what === 'judge') world.judge();
        else world.deliver(what === 'swap' ? length - 1 : 0);
      }
      for (let calm = 0; calm < 40; calm++) {
        world.run();
        world.judge();
        world.due();
        world.reconnect();
      }
      assert.deepEqual(
        outcome(world).sort(),
        jobs.map((job) => `${job} SUCCEEDED`),
        `seed ${seed}`,
      );
      assert.equal(world.device.current, null, `seed ${seed}`);
    }
    assert.ok(Object.values(counts).length === 8 && Math.min(...Object.values(counts)) > 1000, JSON.stringify(counts));
  });
});
