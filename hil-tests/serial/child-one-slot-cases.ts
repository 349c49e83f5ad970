/** Children with room for one model, whose updates are written in place: there is no trial on the device and no way back. */

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { ONE_SLOT_SCRATCH_BLOCKS } from '../../scripts/device-flags.js';
import { type AgentRig, TOPICS } from '../support/agent-rig.js';
import { sha256Hex } from '../support/make-patch.js';
import { type ChildrenOptions, made, reported, reportedAs, tell, withAgent } from './child-agent.js';
import { NIGHT, NOON, Told } from './child-policy-cases.js';
import { LARGE, SEGMENT_BYTES } from './models.js';
import { BROKEN_OFF_BAUD, soon } from './port-cases.js';
import { Rig } from './rig.js';
import type { Case } from './run-cases.js';

const [OLD, NEW] = [sha256Hex(LARGE.old), sha256Hex(LARGE.next)];
const NO_MODEL = sha256Hex(new Uint8Array(0));
const QUIET_MS = 400;

export const CHILD_ONE_SLOT_CASES: readonly Case[] = [
  {
    name: 'children: with one slot: written in place, the health check is asked, and the model stays',
    run: () =>
      withOne(0, (rig) => {
        const told = new Told(rig);
        const use = async (agent: AgentRig): Promise<number> => {
          const { units } = await agent.startAgent();
          await begin(agent);
          await reported(agent, 'camera', 'up_to_date');
          await told.until('postCommit');
          assert.deepEqual(told.events(), ['preApply', 'postActivate', 'health', 'postCommit']);
          assert.equal(rig.activeHash(), NEW);
          units.find(({ name }) => name === 'camera')?.runtime.rollBack();
          await reportedAs(
            agent,
            'camera',
            ({ status, error }) => status === 'up_to_date' && error?.reason === 'no-previous',
          );
          assert.equal(rig.activeHash(), NEW);
          return 0;
        };
        return [use, { child: told.config('exit 0') }];
      }),
  },
  {
    name: 'children: with one slot: a health check that fails says that there is no way back, and the new model stays',
    run: () =>
      withOne(0, (rig) => {
        const told = new Told(rig);
        const use = async (agent: AgentRig): Promise<number> => {
          await agent.startAgent();
          await begin(agent);
          const { error, sha256 } = await reported(agent, 'camera', 'refused');
          assert.deepEqual([error?.reason, sha256], ['unhealthy', NEW]);
          assert.match(error?.message ?? '', /not healthy in 300 ms: .*blurred.*; the device has one slot/);
          assert.deepEqual(told.events(), ['preApply', 'postActivate', 'health']);
          assert.equal(rig.activeHash(), NEW);
          return 1;
        };
        return [use, { child: told.config('[ $MALLORN_EVENT != health ] || { echo blurred >&2; exit 1; }') }];
      }),
  },
  {
    name: 'children: with one slot: power cut and agent killed half-way, with neither model whole: the update goes on',
    run: () =>
      withOne(BROKEN_OFF_BAUD, (rig) => {
        const use = async (agent: AgentRig): Promise<number> => {
          agent.startChild();
          await begin(agent);
          await soon(() => rig.activeHash() === NO_MODEL, 'half of the old model is overwritten');
          await sleep(1500);
          await rig.cutPower();
          assert.ok(await agent.killChild());
          assert.deepEqual([rig.activeHash(), rig.board.activeState()], [NO_MODEL, 'bad']);
          await rig.powerUp();
          const before = (await rig.count()).toDevice;
          agent.startChild();
          await reported(agent, 'camera', 'up_to_date');
          assert.equal(rig.activeHash(), NEW);
          const { toDevice } = await rig.count();
          assert.ok(toDevice - before < LARGE.patch.length, `${toDevice - before} bytes after ${before}`);
          return 2;
        };
        return [use, {}];
      }),
  },
  {
    name: 'children: with one slot: what the switch has to wait for, the first byte waits for',
    run: () =>
      withOne(0, (rig) => {
        const clock = { now: NOON };
        const use = async (agent: AgentRig): Promise<number> => {
          await agent.startAgent();
          await begin(agent);
          const asked = await reported(agent, 'camera', 'wait_confirmation');
          assert.deepEqual(asked.asks, { targetSha256: NEW, for: ['activate'] });
          await untouched(agent, rig);
          await agent.broker.publish(TOPICS.consent, JSON.stringify({ targetSha256: NEW }));
          await reported(agent, 'camera', 'wait_window');
          await untouched(agent, rig);
          clock.now = NIGHT;
          await reported(agent, 'camera', 'up_to_date');
          assert.equal(rig.activeHash(), NEW);
          return 0;
        };
        const config = { consent: ['activate'], windows: { timeZone: 'utc', apply: ['22:00-02:00'] } };
        return [use, { config, now: () => clock.now }];
      }),
  },
  {
    name: 'children: with one slot: a window that closes half-way leaves nobody without a model: it is brought to its end',
    run: () =>
      withOne(BROKEN_OFF_BAUD, (rig) => {
        const clock = { now: NIGHT };
        const use = async (agent: AgentRig): Promise<number> => {
          await agent.startAgent();
          await begin(agent);
          await reportedAs(agent, 'camera', ({ progress }) => (progress ?? 0) >= 20);
          clock.now = NOON;
          await reported(agent, 'camera', 'up_to_date');
          assert.equal(rig.activeHash(), NEW);
          return 1;
        };
        const config = { windows: { timeZone: 'utc', download: ['22:00-02:00'], apply: ['22:00-02:00'] } };
        return [use, { config, now: () => clock.now }];
      }),
  },
];

async function withOne(
  baud: number,
  of: (rig: Rig) => readonly [(agent: AgentRig) => Promise<number>, ChildrenOptions],
): Promise<number> {
  return Rig.with(LARGE, { baud, scratchBlocks: ONE_SLOT_SCRATCH_BLOCKS }, (rig) => {
    const [use, options] = of(rig);
    return withAgent({ camera: rig }, use, options);
  });
}

async function begin(agent: AgentRig): Promise<void> {
  await tell(agent, 'camera', await made(agent, 'camera', LARGE, { unitBytes: SEGMENT_BYTES }));
}

async function untouched(agent: AgentRig, rig: Rig): Promise<void> {
  await sleep(QUIET_MS);
  const { toDevice } = await rig.count();
  assert.ok(toDevice < 1000, `${toDevice} bytes`);
  assert.deepEqual([rig.activeHash(), agent.server.gets], [OLD, 0]);
}
