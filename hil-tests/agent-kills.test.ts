/** The short form of the kill suite; `npm run test:kill` is the long one. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { KillChain } from './kills/kill-chain.js';
import { repoRoot } from './support/paths.js';

const KILLS = 8;
const SEED = 5;

describe('the built agent', { timeout: 120_000 }, () => {
  for (const [codec, neural] of [
    ['zstd', false],
    ['neural', true],
  ] as const) {
    describe(`with a ${codec} patch`, () => {
      let chain: KillChain;
      before(async () => {
        chain = await KillChain.start({ seed: SEED, cliPath: join(repoRoot, 'dist/cli.js'), neural });
      });
      after(() => chain.stop());

      it('serves a whole model whenever SIGKILL comes, goes on where it was, and finishes', async () => {
        try {
          while (chain.kills < KILLS) await chain.update(() => chain.kills >= KILLS);
        } catch (error) {
          throw new Error(`seed ${SEED}, update ${chain.updates + 1}\n${chain.log}`, { cause: error });
        }
        assert.ok(chain.phases.writing > 0, JSON.stringify(chain.phases));
      });
    });
  }
});
