/** Several models on one device: the production agent, a real broker and a real web server. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { DesiredDocument } from '../agent/desired.js';
import { isTerminal } from '../agent/jobs/job-messages.js';
import { JobServer } from '../agent/jobs/job-server.js';
import { JobStore } from '../agent/jobs/job-store.js';
import { publishDesired } from '../agent/publish-desired.js';
import type { Reported } from '../agent/reported.js';
import { modelTopics } from '../agent/topics.js';
import { SlotDirectory } from '../targets/node/slot-directory.js';
import { AgentRig, playAgentRole, STRANGER } from './support/agent-rig.js';
import { noise, sha256Hex } from './support/make-patch.js';

const EYES = noise(100_000, 1);
const EARS = noise(80_000, 2);
const NEW_EYES = new Uint8Array([...EYES.subarray(0, 60_000), ...noise(50_000, 3)]);
const NEW_EARS = new Uint8Array([...EARS.subarray(0, 30_000), ...noise(50_000, 4)]);

if (!playAgentRole()) {
  describe('several models', { timeout: 120_000 }, () => {
    let rig: AgentRig;
    let server: JobServer | null = null;
    beforeEach(async () => {
      rig = await AgentRig.start({ installed: EYES });
      const slots = SlotDirectory.open(folderOf('ears'), { create: true });
      slots.install(EARS);
      slots.close();
      configure();
    });
    afterEach(async () => {
      await server?.close();
      server = null;
      await rig.stop();
    });

    const folderOf = (name: string) => (name === 'eyes' ? rig.slotsFolder : join(rig.folder, name));
    const active = (name: string) => new Uint8Array(readFileSync(join(folderOf(name), 'current')));
    const entry = (name: string) => ({ name, slots: folderOf(name) });

    function configure(changes: Record<string, unknown> = {}): void {
      rig.configure({ model: undefined, models: [entry('eyes'), entry('ears')], ...changes });
    }

    async function publish(
      model: string,
      [old, target]: readonly [Uint8Array, Uint8Array],
      patch = {},
    ): Promise<DesiredDocument> {
      return { ...(await rig.publishFiles([old], target, patch)), model };
    }

    async function wish(model: string, document: unknown): Promise<void> {
      await publishDesired({ url: rig.broker.url, devices: ['gw-1'], model, document });
    }

    async function reported(model: string, status: Reported['status']): Promise<Reported> {
      const topic = modelTopics('mallorn/v1', 'gw-1', model).reported;
      const accept = (payload: string) => (JSON.parse(payload) as Reported).status === status;
      return JSON.parse(await rig.broker.waitFor(topic, accept)) as Reported;
    }

    it('each has its own topics and its own state, and birth lists them all', async () => {
      await rig.startAgent();
      await wish('ears', await publish('ears', [EARS, NEW_EARS]));
      assert.equal((await reported('ears', 'up_to_date')).sha256, sha256Hex(NEW_EARS));
      assert.equal((await reported('eyes', 'no_wish')).sha256, sha256Hex(EYES));
      const both = (payload: string) => payload.includes(sha256Hex(NEW_EARS)) && payload.includes(sha256Hex(EYES));
      const birth = JSON.parse(await rig.broker.waitFor('mallorn/v1/gw-1/birth', both)) as { models: unknown };
      assert.deepEqual(birth.models, [
        { model: 'eyes', version: null, sha256: sha256Hex(EYES) },
        { model: 'ears', version: '2.0', sha256: sha256Hex(NEW_EARS) },
      ]);
      assert.deepEqual([active('eyes'), active('ears')], [EYES, NEW_EARS]);
      for (const name of ['eyes', 'ears']) assert.ok(existsSync(join(rig.folder, 'agent-state', `state-${name}.json`)));
      assert.equal(rig.broker.payloadOf('mallorn/v1/gw-1/reported'), undefined);
    });

    it('one that is refused, and one whose server stalls, keep no other from its update', async () => {
      await rig.startAgent();
      const forged = await publish('eyes', [EYES, NEW_EYES], { patch: { privateKey: STRANGER.privateKey } });
      await wish('eyes', forged);
      assert.equal((await reported('eyes', 'refused')).error?.reason, 'unknown-signer');
      const eyes = await publish('eyes', [EYES, NEW_EYES]);
      const ears = await publish('ears', [EARS, NEW_EARS]);
      const stalled = new URL(eyes.patches[0]!.url).pathname;
      rig.server.fault = ({ path }) => (path === stalled ? { kind: 'stall', afterBytes: 20_000 } : null);
      await wish('eyes', eyes);
      await reported('eyes', 'downloading');
      await wish('ears', ears);
      await reported('ears', 'up_to_date');
      assert.deepEqual([active('eyes'), active('ears')], [EYES, NEW_EARS]);
      rig.server.fault = () => null;
      await reported('eyes', 'up_to_date');
      assert.deepEqual(active('eyes'), NEW_EYES);
    });

    it('with one update at a time the others wait for their turn, and get it', async () => {
      configure({ limits: { maxParallelUpdates: 1 } });
      await rig.startAgent();
      const eyes = await publish('eyes', [EYES, NEW_EYES]);
      const ears = await publish('ears', [EARS, NEW_EARS]);
      rig.server.fault = () => ({ kind: 'stall', afterBytes: 20_000 });
      await wish('eyes', eyes);
      await reported('eyes', 'downloading');
      while (rig.server.requests.length === 0) await delay(10);
      await wish('ears', ears);
      await reported('ears', 'downloading');
      await delay(300);
      const earsPath = new URL(ears.patches[0]!.url).pathname;
      assert.ok(!rig.server.requests.some(({ path }) => path === earsPath));
      // Withdrawn while it waits, and wished again: its turn is not lost on nobody.
      await wish('ears', null);
      await reported('ears', 'no_wish');
      await wish('ears', ears);
      rig.server.fault = () => null;
      await Promise.all([reported('eyes', 'up_to_date'), reported('ears', 'up_to_date')]);
      assert.deepEqual([active('eyes'), active('ears')], [NEW_EYES, NEW_EARS]);
    });

    it('a document for another model on a model’s topic is refused', async () => {
      await rig.startAgent();
      await wish('eyes', await publish('ears', [EARS, NEW_EARS]));
      assert.equal((await reported('eyes', 'refused')).error?.reason, 'wrong-model');
      assert.deepEqual([active('eyes'), active('ears')], [EYES, EARS]);
    });

    it('killed in the middle, each goes on where it was', async () => {
      const eyes = await publish('eyes', [EYES, NEW_EYES]);
      const ears = await publish('ears', [EARS, NEW_EARS]);
      rig.server.fault = () => ({ kind: 'stall', afterBytes: 30_000 });
      rig.startChild();
      await wish('eyes', eyes);
      await wish('ears', ears);
      await Promise.all([reported('eyes', 'downloading'), reported('ears', 'downloading')]);
      assert.ok(await rig.killChild());
      rig.server.fault = () => null;
      await rig.startAgent();
      await Promise.all([reported('eyes', 'up_to_date'), reported('ears', 'up_to_date')]);
      assert.deepEqual([active('eyes'), active('ears')], [NEW_EYES, NEW_EARS]);
    });

    it('a job goes to the model that its document names, and is rejected where there is none', async () => {
      configure({ protocol: 'jobs' });
      const store = new JobStore(join(rig.folder, 'jobs'));
      server = new JobServer({
        store,
        topicPrefix: 'mallorn/v1',
        url: rig.broker.url,
        log: () => {},
        pollMs: 20,
        reconnectMs: 20,
      });
      await rig.startAgent();
      const order = async (jobId: string, desired: unknown): Promise<string> => {
        await store.save({ jobId, document: { desired }, devices: ['gw-1'], timeoutMs: null, canceled: false });
        for (let waitedMs = 0; waitedMs < 30_000; waitedMs += 20) {
          const all = new JobStore(join(rig.folder, 'jobs')).history();
          const over = all.find((line) => line.jobId === jobId && isTerminal(line.status));
          if (over !== undefined) return `${over.status} ${over.details['reason'] ?? ''}`;
          await delay(20);
        }
        throw new Error(`${jobId} is not over:\n${rig.log.join('\n')}`);
      };
      assert.equal(await order('j1', await publish('ears', [EARS, NEW_EARS])), 'SUCCEEDED ');
      assert.deepEqual([active('eyes'), active('ears')], [EYES, NEW_EARS]);
      assert.equal(await order('j2', await publish('nose', [EYES, NEW_EYES])), 'REJECTED wrong-model');
      assert.equal(await order('j3', { model: 'eyes' }), 'REJECTED bad-document');
      assert.deepEqual(active('eyes'), EYES);
      assert.equal(await order('j4', await publish('eyes', [EYES, NEW_EYES])), 'SUCCEEDED ');
      assert.deepEqual(active('eyes'), NEW_EYES);
    });

    it('two that come to the same folder by different names are refused', async () => {
      symlinkSync(rig.slotsFolder, join(rig.folder, 'also-eyes'));
      configure({ models: [entry('eyes'), entry('also-eyes')] });
      await assert.rejects(rig.startAgent(), /in use|owned|lock|holds/i);
      configure();
      await rig.startAgent();
    });
  });
}
