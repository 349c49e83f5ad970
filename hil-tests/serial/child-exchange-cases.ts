/**
 * Children that come and go while something is to be done with them, and others that come in their place: who a device is, its answer
 * says and not its port.
 */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isTerminal, type JobStatus } from '../../agent/jobs/job-messages.js';
import { JobServer } from '../../agent/jobs/job-server.js';
import { JobStore } from '../../agent/jobs/job-store.js';
import type { AgentRig } from '../support/agent-rig.js';
import { sha256Hex } from '../support/make-patch.js';
import { made, reported, reportedAs, Socket, state, tell, withAgent } from './child-agent.js';
import { NIGHT, NOON } from './child-policy-cases.js';
import { LARGE, MEDIUM, type Update } from './models.js';
import { BROKEN_OFF_BAUD, endsWell, soon, until } from './port-cases.js';
import { Rig } from './rig.js';
import type { Case } from './run-cases.js';

const [OLD, NEW] = [sha256Hex(MEDIUM.old), sha256Hex(MEDIUM.next)];
/** A device that has the new version already, and one that has a third. */
const UPDATED: Update = { ...MEDIUM, old: MEDIUM.next };
const THIRD: Update = LARGE;
const QUIET_MS = 700;
/** Asked several times what it has. */
const MOST_QUESTION_BYTES = 1000;
const SHUT = { timeZone: 'utc', download: ['22:00-02:00'] };

export const CHILD_EXCHANGE_CASES: readonly Case[] = [
  {
    name: 'children: unplugged while its job waits for a window: the job waits on, and is done by whom comes back',
    run: () =>
      withJob({ windows: SHUT }, MEDIUM, async ({ agent, rig, jobs, clock }) => {
        await reported(agent, 'camera', 'wait_window');
        await rig.pull();
        await state(agent, 'camera', 'lost');
        await sleep(QUIET_MS);
        assert.deepEqual(jobs.statuses(), ['QUEUED', 'IN_PROGRESS']);
        await rig.plug();
        await state(agent, 'camera', 'ready');
        await reported(agent, 'camera', 'wait_window');
        clock.now = NIGHT;
        assert.equal(await jobs.outcome(), 'SUCCEEDED');
        assert.equal(rig.activeHash(), NEW);
        return 1;
      }),
  },
  {
    name: 'children: unplugged while the switch waits: the new model is not sent again',
    run: () =>
      withJob({ windows: { timeZone: 'utc', apply: SHUT.download } }, MEDIUM, async ({ agent, rig, jobs, clock }) => {
        await reported(agent, 'camera', 'staged');
        await rig.pull();
        await state(agent, 'camera', 'lost');
        await rig.plug();
        await state(agent, 'camera', 'ready');
        assert.equal(rig.activeHash(), OLD);
        clock.now = NIGHT;
        assert.equal(await jobs.outcome(), 'SUCCEEDED');
        assert.equal(rig.activeHash(), NEW);
        assert.ok((await rig.count()).toDevice < 2 * MEDIUM.patch.length);
        return 1;
      }),
  },
  {
    name: 'children: in its place comes one with a third version: the job is rejected once, and nobody is sent anything',
    run: () =>
      withJob({ windows: SHUT }, MEDIUM, ({ agent, rig, socket, jobs, clock }) =>
        Rig.with(THIRD, {}, async (other) => {
          await reported(agent, 'camera', 'wait_window');
          await exchange(agent, socket, rig, other);
          assert.equal(await jobs.outcome(), 'REJECTED');
          assert.match(jobs.reason(), /wrong-base/);
          // The one that was meant is back, and nobody has an order for it any more.
          await exchange(agent, socket, other, rig);
          clock.now = NIGHT;
          await reportedAs(agent, 'camera', ({ status, sha256 }) => status === 'no_wish' && sha256 === OLD);
          await untouched(rig, OLD);
          await untouched(other, sha256Hex(THIRD.old));
          assert.equal(agent.server.gets, 0);
          assert.equal(await jobs.outcome(), 'REJECTED');
          return 2;
        }),
      ),
  },
  {
    name: 'children: in its place comes one that has the new version: the job is done, and nothing is sent',
    run: () =>
      withJob({ windows: SHUT }, MEDIUM, ({ agent, rig, socket, jobs }) =>
        Rig.with(UPDATED, {}, async (other) => {
          await reported(agent, 'camera', 'wait_window');
          await exchange(agent, socket, rig, other);
          assert.equal(await jobs.outcome(), 'SUCCEEDED');
          await untouched(other, NEW);
          await untouched(rig, OLD);
          assert.equal(agent.server.gets, 0);
          return 1;
        }),
      ),
  },
  {
    name: 'children: in the place of one whose job is done comes one with the old version: no order is open for it',
    run: () =>
      withJob({}, MEDIUM, ({ agent, rig, socket, jobs }) =>
        Rig.with(MEDIUM, {}, async (other) => {
          assert.equal(await jobs.outcome(), 'SUCCEEDED');
          const { gets } = agent.server;
          await agent.stopAgent();
          socket.lead(other);
          await agent.startAgent();
          await reportedAs(agent, 'camera', ({ sha256 }) => sha256 === OLD);
          await untouched(other, OLD);
          await agent.stopAgent();
          socket.lead(rig);
          await agent.startAgent();
          await reportedAs(agent, 'camera', ({ sha256 }) => sha256 === NEW);
          // Also before the eyes of the agent.
          await exchange(agent, socket, rig, other);
          await reportedAs(agent, 'camera', ({ sha256 }) => sha256 === OLD);
          await untouched(other, OLD);
          assert.equal(agent.server.gets, gets);
          return 2;
        }),
      ),
  },
  {
    name: 'children: two change places in the middle of an update: the other is sent nothing, and back again it goes on',
    run: () =>
      withTwo(async (agent, [left, right], [a, b]) => {
        await tell(agent, 'left', await made(agent, 'left', LARGE));
        await until(left, 0.4);
        await Promise.all([left.pull(), right.pull()]);
        await Promise.all([state(agent, 'left', 'lost'), state(agent, 'right', 'lost')]);
        a.lead(right);
        b.lead(left);
        await Promise.all([left.plug(), right.plug()]);
        const refused = await reported(agent, 'left', 'refused');
        assert.deepEqual([refused.error?.reason, refused.sha256], ['wrong-base', OLD]);
        await reportedAs(agent, 'right', ({ sha256 }) => sha256 === sha256Hex(LARGE.old));
        await untouched(right, OLD);
        await Promise.all([left.pull(), right.pull()]);
        await Promise.all([state(agent, 'left', 'lost'), state(agent, 'right', 'lost')]);
        a.lead(left);
        b.lead(right);
        await Promise.all([left.plug(), right.plug()]);
        await reported(agent, 'left', 'up_to_date');
        await endsWell(left);
        await untouched(right, OLD);
        return 2;
      }),
  },
  {
    name: 'children: two change places at rest, unseen: a document for one is refused by what the other says it has',
    run: () =>
      withTwo(async (agent, [left, right], [a, b]) => {
        await Promise.all([state(agent, 'left', 'ready'), state(agent, 'right', 'ready')]);
        a.lead(right);
        b.lead(left);
        await tell(agent, 'left', await made(agent, 'left', LARGE));
        assert.equal((await reported(agent, 'left', 'refused')).error?.reason, 'wrong-base');
        await untouched(right, OLD);
        await untouched(left, sha256Hex(LARGE.old));
        assert.equal(agent.server.gets, 0);
        return 1;
      }),
  },
];

interface Job {
  readonly agent: AgentRig;
  readonly rig: Rig;
  readonly socket: Socket;
  readonly jobs: Jobs;
  readonly clock: { now: Date };
}

/** The job of one child, as the responder has it. */
class Jobs {
  private readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  async order(desired: unknown): Promise<void> {
    const order = { jobId: 'j1', document: { desired }, devices: ['gw-1/camera'], timeoutMs: null, canceled: false };
    await new JobStore(this.folder).save(order);
  }

  statuses(): JobStatus[] {
    return new JobStore(this.folder).history().map(({ status }) => status);
  }

  reason(): string {
    return new JobStore(this.folder).history().at(-1)?.details['reason'] ?? '';
  }

  /** There must be one, then and a while later. */
  async outcome(): Promise<JobStatus> {
    await soon(() => this.statuses().some(isTerminal), 'the job is over');
    await sleep(300);
    const terminals = this.statuses().filter(isTerminal);
    assert.equal(terminals.length, 1, `${terminals}`);
    return terminals[0]!;
  }
}

/** An agent that takes jobs, with one child and a job for it. */
async function withJob(
  config: Record<string, unknown>,
  update: Update,
  use: (job: Job) => Promise<number>,
): Promise<number> {
  const clock = { now: NOON };
  const options = { config: { protocol: 'jobs', ...config }, now: () => clock.now };
  return Socket.with((socket) =>
    Rig.with(update, {}, async (rig) => {
      socket.lead(rig);
      return withAgent(
        { camera: socket },
        async (agent) => {
          const folder = join(agent.folder, 'jobs');
          const jobs = new Jobs(folder);
          await jobs.order(await made(agent, 'camera', update));
          const server = new JobServer({
            store: new JobStore(folder),
            topicPrefix: 'mallorn/v1',
            url: agent.broker.url,
            log: () => {},
            pollMs: 20,
          });
          try {
            await agent.startAgent();
            return await use({ agent, rig, socket, jobs, clock });
          } finally {
            await server.close();
          }
        },
        options,
      );
    }),
  );
}

async function withTwo(
  use: (agent: AgentRig, rigs: readonly [Rig, Rig], sockets: readonly [Socket, Socket]) => Promise<number>,
): Promise<number> {
  return Socket.with((a) =>
    Socket.with((b) =>
      Rig.with(LARGE, { baud: BROKEN_OFF_BAUD }, (left) =>
        Rig.with(MEDIUM, {}, (right) => {
          a.lead(left);
          b.lead(right);
          return withAgent({ left: a, right: b }, async (agent) => {
            await agent.startAgent();
            return use(agent, [left, right], [a, b]);
          });
        }),
      ),
    ),
  );
}

async function exchange(agent: AgentRig, socket: Socket, from: Rig, to: Rig): Promise<void> {
  await from.pull();
  await state(agent, 'camera', 'lost');
  socket.lead(to);
  await state(agent, 'camera', 'ready');
  await from.plug();
}

/** Asked what it has, and not more. */
async function untouched(rig: Rig, sha256: string): Promise<void> {
  await sleep(QUIET_MS);
  assert.equal(rig.activeHash(), sha256);
  assert.equal(rig.board.stagedHash(), null);
  const { toDevice } = await rig.count();
  assert.ok(toDevice < MOST_QUESTION_BYTES, `${toDevice} bytes`);
}
