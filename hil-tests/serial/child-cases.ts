/** Children of the shipped agent at real serial ports (PTYs): simulated devices behind cables that are pulled. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DesiredDocument } from '../../agent/desired.js';
import { publishDesired } from '../../agent/publish-desired.js';
import type { Reported } from '../../agent/reported.js';
import { childTopics } from '../../agent/topics.js';
import { AgentRig } from '../support/agent-rig.js';
import { noise, sha256Hex } from '../support/make-patch.js';
import { repoRoot } from '../support/paths.js';
import { key, LARGE, MEDIUM, type Update } from './models.js';
import { BROKEN_OFF_BAUD, endsWell, until } from './port-cases.js';
import { Rig } from './rig.js';
import type { Case } from './run-cases.js';

const CLI = join(repoRoot, 'dist/cli.js');
const topics = (child: string) => childTopics('mallorn/v1', 'gw-1', child);

export const CHILD_CASES: readonly Case[] = [
  {
    name: 'children: two boards at once, at ports of their own; unplugged at rest and plugged in again, each is told',
    run: () =>
      Rig.with(LARGE, {}, (left) =>
        Rig.with(MEDIUM, {}, (right) =>
          withAgent({ left, right }, async (agent) => {
            agent.startChild(CLI);
            const documents = { left: await made(agent, 'left', LARGE), right: await made(agent, 'right', MEDIUM) };
            await Promise.all([tell(agent, 'left', documents.left), tell(agent, 'right', documents.right)]);
            await Promise.all([reported(agent, 'left', 'up_to_date'), reported(agent, 'right', 'up_to_date')]);
            assert.equal(left.activeHash(), sha256Hex(LARGE.next));
            assert.equal(right.activeHash(), sha256Hex(MEDIUM.next));
            await left.pull();
            await state(agent, 'left', 'lost');
            assert.match(agent.broker.payloadOf(topics('right').state) ?? '', /"ready"/);
            await left.plug();
            await state(agent, 'left', 'ready');
            return 1;
          }),
        ),
      ),
  },
  {
    name: 'children: the adapter unplugged in the middle, without udevadm: told, waited for, and the update goes on',
    run: () =>
      Rig.with(LARGE, { baud: BROKEN_OFF_BAUD }, (rig) =>
        withAgent({ camera: rig }, async (agent) => {
          agent.startChild(CLI, { PATH: '/nowhere' });
          await tell(agent, 'camera', await made(agent, 'camera', LARGE));
          await until(rig, 0.4);
          await rig.pull();
          await state(agent, 'camera', 'lost');
          assert.equal((await reported(agent, 'camera', 'waiting')).error?.reason, 'port-lost');
          await sleep(700);
          await rig.plug();
          await reported(agent, 'camera', 'up_to_date');
          await state(agent, 'camera', 'ready');
          await endsWell(rig);
          return 1;
        }),
      ),
  },
  {
    name: 'children: the agent killed in the middle, and the next one goes on',
    run: () =>
      Rig.with(LARGE, { baud: BROKEN_OFF_BAUD }, (rig) =>
        withAgent({ camera: rig }, async (agent) => {
          agent.startChild(CLI);
          await tell(agent, 'camera', await made(agent, 'camera', LARGE));
          await until(rig, 0.6);
          assert.ok(await agent.killChild(), 'it was killed in the middle');
          agent.startChild(CLI);
          await reported(agent, 'camera', 'up_to_date');
          await endsWell(rig);
          return 1;
        }),
      ),
  },
];

async function withAgent<T>(rigs: Readonly<Record<string, Rig>>, use: (agent: AgentRig) => Promise<T>): Promise<T> {
  const children = Object.entries(rigs).map(([name, { pty }]) => ({
    name,
    port: pty,
    model: { name: `${name}-model` },
  }));
  const retry = { minDelayMs: 200, maxDelayMs: 1000 };
  const agent = await AgentRig.start({ installed: noise(1000, 1), config: { children, retry } });
  try {
    return await use(agent);
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.stack : error}\n${agent.log.join('\n')}`);
  } finally {
    await agent.stop();
  }
}

/** The document of an update, with the patch on the web server. */
async function made(agent: AgentRig, child: string, { old, next }: Update): Promise<DesiredDocument> {
  const patch = { neural: true, profile: 'mcu', privateKey: key.privateKey, versionCounter: 5 } as const;
  return { ...(await agent.publishFiles([old], next, { patch })), model: `${child}-model` };
}

async function tell(agent: AgentRig, child: string, document: DesiredDocument): Promise<void> {
  await publishDesired({ url: agent.broker.url, devices: ['gw-1'], child, document });
}

async function reported(agent: AgentRig, child: string, status: Reported['status']): Promise<Reported> {
  const accept = (payload: string) => (JSON.parse(payload) as Reported).status === status;
  return JSON.parse(await agent.broker.waitFor(topics(child).reported, accept, 60_000)) as Reported;
}

async function state(agent: AgentRig, child: string, wanted: string): Promise<void> {
  await agent.broker.waitFor(topics(child).state, (payload) => payload.includes(`"state":"${wanted}"`));
}
