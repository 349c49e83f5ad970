/** Trials: the application is asked how it is with the new model, told what happens, and given the old model back if it is not well. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { AgentRig, playAgentRole } from './support/agent-rig.js';
import { noise, sha256Hex } from './support/make-patch.js';

const OLD = noise(100_000, 1);
const NEW = new Uint8Array(Buffer.concat([OLD.subarray(0, 60_000), noise(50_000, 2)]));
const QUICK = { intervalMs: 20, timeoutMs: 5000 };

if (!playAgentRole()) {
  describe('health check', { timeout: 120_000 }, () => {
    let rig: AgentRig;
    let web: Server | null = null;
    afterEach(async () => {
      web?.close();
      web = null;
      await rig.stop();
    });

    const file = (name: string) => join(rig.folder, name);
    const said = () => (existsSync(file('said')) ? readFileSync(file('said'), 'utf8').trim().split('\n') : []);

    /** The configuration is made once the rig's folder is known. */
    async function startRig(config: () => Record<string, unknown>): Promise<void> {
      rig = await AgentRig.start({ installed: OLD });
      rig.configure(config());
    }

    /** A hook that writes down what it was told. */
    function hook(name: string): string[] {
      const script = `require('fs').appendFileSync(process.argv[1], [process.env.MALLORN_EVENT, process.env.MALLORN_SHA256.slice(0, 8), process.env.MALLORN_PREVIOUS_SHA256.slice(0, 8), process.env.MALLORN_VERSION, require('crypto').createHash('sha256').update(require('fs').readFileSync(process.env.MALLORN_PATH)).digest('hex').slice(0, 8)].join(' ') + '\\n')`;
      return [process.execPath, '-e', script, file(name)];
    }

    const allHooks = () => ({
      preApply: hook('said'),
      postActivate: hook('said'),
      postCommit: hook('said'),
      postRollback: hook('said'),
    });

    async function update(): Promise<void> {
      await rig.wish(await rig.publishFiles([OLD], NEW));
    }

    const [OLD_ID, NEW_ID] = [OLD, NEW].map((model) => sha256Hex(model).slice(0, 8));

    it('a command that ends well commits the model, and every hook is told in its turn', async () => {
      await startRig(() => ({ health: { ...QUICK, command: ['/bin/true'] }, hooks: allHooks() }));
      await rig.startAgent();
      await update();
      await rig.reported('up_to_date');
      await until(() => said().length === 3);
      assert.deepEqual(said(), [
        `preApply ${OLD_ID}   ${OLD_ID}`,
        `postActivate ${NEW_ID} ${OLD_ID} 2.0 ${NEW_ID}`,
        `postCommit ${NEW_ID} ${OLD_ID} 2.0 ${NEW_ID}`,
      ]);
      assert.equal(slotState().trial, undefined);
    });

    it('a command that never ends well brings the old model back, for good', async () => {
      const health = { intervalMs: 20, timeoutMs: 1000, command: ['/bin/sh', '-c', 'echo lens cap on >&2; exit 3'] };
      await startRig(() => ({ health, hooks: allHooks() }));
      await rig.startAgent();
      await update();
      const reported = await rig.reported('refused');
      assert.equal(reported.error?.reason, 'unhealthy');
      assert.match(reported.error?.message ?? '', /code 3: lens cap on/);
      assert.deepEqual(rig.activeModel(), OLD);
      await until(() => said().length === 3);
      assert.equal(said()[2], `postRollback ${OLD_ID} ${NEW_ID}  ${OLD_ID}`);
      const { gets } = rig.server;
      await rig.stopAgent();
      await rig.startAgent();
      await delay(500);
      assert.equal((await rig.reported('refused')).error?.reason, 'unhealthy');
      assert.equal(rig.server.gets, gets, 'what was given up is not downloaded again');
    });

    it('an application that answers only after a while is well', async () => {
      let asked = 0;
      web = createServer((_, response) => {
        response.statusCode = ++asked < 4 ? 503 : 204;
        response.end();
      }).listen(0, '127.0.0.1');
      await new Promise((resolve) => web?.once('listening', resolve));
      const url = `http://127.0.0.1:${(web.address() as AddressInfo).port}/`;
      await startRig(() => ({ health: { ...QUICK, url } }));
      await rig.startAgent();
      await update();
      await rig.reported('up_to_date');
      assert.equal(asked, 4);
    });

    it('a server that takes the question and never answers is not well', async () => {
      web = createServer(() => {}).listen(0, '127.0.0.1');
      await new Promise((resolve) => web?.once('listening', resolve));
      const url = `http://127.0.0.1:${(web.address() as AddressInfo).port}/`;
      await startRig(() => ({ health: { intervalMs: 20, timeoutMs: 300, url } }));
      await rig.startAgent();
      await update();
      assert.equal((await rig.reported('refused')).error?.reason, 'unhealthy');
      web.closeAllConnections();
    });

    it('a file counts once it was touched after the switch, and not before', async () => {
      await startRig(() => ({ health: { ...QUICK, file: 'well' } }));
      writeFileSync(file('well'), '');
      await rig.startAgent();
      await update();
      await rig.reported('testing');
      await delay(200);
      assert.ok(slotState().trial !== undefined, 'an old touch is none');
      writeFileSync(file('well'), '');
      await rig.reported('up_to_date');
    });

    it('a command that hangs is ended in time, with its children', async () => {
      await startRig(() => ({
        health: {
          intervalMs: 20,
          timeoutMs: 1000,
          command: ['/bin/sh', '-c', 'sleep 987 & echo $! > "$0"; wait', file('pid')],
        },
      }));
      await rig.startAgent();
      await update();
      assert.match((await rig.reported('refused')).error?.message ?? '', /did not end/);
      const pid = Number(readFileSync(file('pid'), 'utf8'));
      await until(() => !isRunning(pid));
    });

    it('an agent that dies in a trial goes on with it, and after so many starts the old model is back', async () => {
      await startRig(() => ({
        health: { timeoutMs: 60_000, file: 'well', trialBoots: 2 },
        hooks: { postRollback: hook('said') },
      }));
      await update();
      for (let life = 0; life < 3; life++) {
        rig.startChild();
        await until(() => slotState().trial?.boots === life);
        await delay(50);
        assert.ok(await rig.killChild());
        assert.deepEqual(rig.activeModel(), NEW);
      }
      rig.startChild();
      const reported = await rig.reported('refused');
      assert.equal(reported.error?.reason, 'trial-boots');
      assert.deepEqual(rig.activeModel(), OLD);
      assert.equal(rig.server.gets, 1);
      await until(() => said().length === 1);
    });

    it('an agent that dies in a trial and finds the application well afterwards commits', async () => {
      await startRig(() => ({ health: { ...QUICK, timeoutMs: 60_000, file: 'well' } }));
      await update();
      rig.startChild();
      // The application cannot learn of the switch before `current` is switched.
      await until(() => rig.activeSha256() === sha256Hex(NEW));
      await rig.killChild();
      writeFileSync(file('well'), '');
      rig.startChild();
      await rig.reported('up_to_date');
      assert.deepEqual(rig.activeModel(), NEW);
    });

    it('preApply puts an update off before anything is asked of the server', async () => {
      await startRig(() => ({ hooks: { preApply: ['/usr/bin/test', '-e', file('may')] } }));
      await rig.startAgent();
      await update();
      assert.equal((await rig.reported('waiting')).error?.reason, 'pre-apply');
      assert.equal(rig.server.gets, 0);
      writeFileSync(file('may'), '');
      await rig.reported('up_to_date');
    });

    it('ends at once in the middle of a trial', async () => {
      await startRig(() => ({ health: { timeoutMs: 60_000, command: ['/bin/sleep', '60'] } }));
      await rig.startAgent();
      await update();
      await rig.reported('testing');
      const from = performance.now();
      await rig.stopAgent();
      assert.ok(performance.now() - from < 3000);
      assert.ok(slotState().trial !== undefined, 'the trial goes on at the next start');
    });

    it('the first model of a device has nothing to go back to and is good at once', async () => {
      rig = await AgentRig.start({ installed: null, config: { fullImage: 'always' } });
      rig.configure({ health: { ...QUICK, command: ['/bin/false'] }, fullImage: 'always' });
      await rig.startAgent();
      await rig.wish(await rig.publishFiles([], NEW, { fullImage: true }));
      await rig.reported('up_to_date');
    });

    function slotState(): { trial?: { boots: number } } {
      return JSON.parse(readFileSync(join(rig.slotsFolder, 'state.json'), 'utf8'));
    }

    async function until(condition: () => boolean): Promise<void> {
      for (let waitedMs = 0; !condition(); waitedMs += 10) {
        assert.ok(waitedMs < 20_000, rig.log.join('\n'));
        await delay(10);
      }
    }
  });
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
