/** Children of the shipped agent at real serial ports (PTYs): simulated devices behind cables that are pulled. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { sha256Hex } from '../support/make-patch.js';
import { repoRoot } from '../support/paths.js';
import { made, reported, state, tell, topicsOf, withAgent } from './child-agent.js';
import { LARGE, MEDIUM } from './models.js';
import { BROKEN_OFF_BAUD, endsWell, until } from './port-cases.js';
import { Rig } from './rig.js';
import type { Case } from './run-cases.js';

const CLI = join(repoRoot, 'dist/cli.js');

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
            assert.match(agent.broker.payloadOf(topicsOf('right').state) ?? '', /"ready"/);
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
