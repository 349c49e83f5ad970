/** SIGKILL in each state that the agent's machine has, by its own table: what comes after the restart is as if it had not been. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { STATE_KINDS } from '../agent/transitions.js';
import { StateDevice } from './kills/state-device.js';
import { waysTo } from './kills/ways-to-states.js';

describe('the built agent, killed with SIGKILL', { timeout: 300_000, concurrency: 2 }, () => {
  const kinds = Object.entries(waysTo('')) as [keyof ReturnType<typeof waysTo>, readonly { where: string }[]][];

  it('is killed in every state of its table of transitions', () => {
    assert.deepEqual(kinds.map(([kind]) => kind).sort(), [...STATE_KINDS].sort());
  });

  for (const [kind, ways] of kinds) {
    ways.forEach(({ where }, index) => {
      it(`in the state ${kind} ${where}, ends right, with one verdict and nothing fetched twice`, async () => {
        const flag = StateDevice.newFlag();
        const device = await StateDevice.start(flag, waysTo(flag)[kind][index]!);
        try {
          await device.killIn(kind);
          await device.finish();
        } catch (error) {
          throw new Error(`${error instanceof Error ? error.message : error}\n${device.log}`, { cause: error });
        } finally {
          await device.stop();
        }
      });
    });
  }
});
