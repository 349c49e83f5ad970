/** The job protocol with the production agent, the production responder and a real broker between them. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { DesiredDocument } from '../agent/desired.js';
import type { ExecutionRecord } from '../agent/jobs/job-board.js';
import { isTerminal } from '../agent/jobs/job-messages.js';
import { JobServer } from '../agent/jobs/job-server.js';
import { JobStore } from '../agent/jobs/job-store.js';
import { AgentRig, playAgentRole, type RigOptions } from './support/agent-rig.js';
import { noise, sha256Hex } from './support/make-patch.js';

const OLD = noise(100_000, 1);
const NEW = new Uint8Array(Buffer.concat([OLD.subarray(0, 60_000), noise(50_000, 2)]));
const ROOT = 'mallorn/v1/gw-1/jobs';

if (!playAgentRole()) {
  describe('jobs', { timeout: 120_000 }, () => {
    let rig: AgentRig;
    let server: JobServer | null = null;
    afterEach(async () => {
      await server?.close();
      server = null;
      await rig.stop();
    });

    async function startRig(config: Record<string, unknown> = {}, options: Partial<RigOptions> = {}): Promise<void> {
      rig = await AgentRig.start({ installed: OLD, config: { protocol: 'jobs', ...config }, ...options });
    }

    const storeFolder = () => join(rig.folder, 'jobs');

    function serve(topicPrefix = 'mallorn/v1'): void {
      const store = new JobStore(storeFolder());
      server = new JobServer({ store, topicPrefix, url: rig.broker.url, log: () => {}, pollMs: 20, reconnectMs: 20 });
    }

    async function order(desired: DesiredDocument | unknown, extra: { id?: string; timeoutMs?: number | null } = {}) {
      const { id = 'j1', timeoutMs = null } = extra;
      const job = { jobId: id, document: { desired }, devices: ['gw-1'], timeoutMs, canceled: false };
      await new JobStore(storeFolder()).save(job);
    }

    async function cancel(id = 'j1'): Promise<void> {
      const store = new JobStore(storeFolder());
      await store.save({ ...store.order(id), canceled: true });
    }

    /** What the log says, once the execution is over; there must be one terminal line, then and a while later. */
    async function outcome(id = 'j1'): Promise<ExecutionRecord> {
      for (let waitedMs = 0; terminals(id).length === 0; waitedMs += 20) {
        assert.ok(waitedMs < 30_000, `${id} is not over:\n${rig.log.join('\n')}`);
        await delay(20);
      }
      await delay(100);
      const lines = terminals(id);
      assert.equal(lines.length, 1, JSON.stringify(lines));
      return lines[0]!;
    }

    function terminals(id: string): ExecutionRecord[] {
      return new JobStore(storeFolder()).history().filter((line) => line.jobId === id && isTerminal(line.status));
    }

    it('a job is claimed, done and reported, with progress on the way', async () => {
      await startRig();
      serve();
      await rig.startAgent();
      await order(await rig.publishFiles([OLD], NEW));
      const { status, details } = await outcome();
      assert.equal(status, 'SUCCEEDED');
      assert.equal(details['sha256'], sha256Hex(NEW));
      assert.deepEqual(rig.activeModel(), NEW);
      const statuses = new JobStore(storeFolder()).history().map((line) => line.status);
      assert.deepEqual(statuses, ['QUEUED', 'IN_PROGRESS', 'SUCCEEDED']);
      assert.ok(rig.broker.messages.some(({ topic }) => topic === `${ROOT}/j1/progress`));
    });

    it('a job that waited on the server is found after connecting, and after the server starts', async () => {
      await startRig();
      await order(await rig.publishFiles([OLD], NEW));
      await rig.startAgent();
      await delay(300);
      serve();
      assert.equal((await outcome()).status, 'SUCCEEDED');
    });

    it('the retained desired document is nobody’s order where jobs are', async () => {
      await startRig();
      serve();
      await rig.wish(await rig.publishFiles([OLD], NEW));
      await rig.startAgent();
      await rig.broker.waitFor(`${ROOT}/$next/get/accepted`, () => true);
      await delay(500);
      assert.equal(rig.server.gets, 0);
    });

    it('a wrong base is rejected without a download, and so is a document that is none', async () => {
      await startRig();
      serve();
      await rig.startAgent();
      await order(await rig.publishFiles([NEW], noise(50_000, 3)));
      const wrongBase = await outcome();
      assert.deepEqual([wrongBase.status, wrongBase.details['reason']], ['REJECTED', 'wrong-base']);
      await order({ nonsense: true }, { id: 'j2' });
      const nonsense = await outcome('j2');
      assert.deepEqual([nonsense.status, nonsense.details['reason']], ['REJECTED', 'bad-document']);
      assert.equal(rig.server.gets, 0);
    });

    it('an unhealthy model is a failure that names both models, and the same document in a new job is a new attempt', async () => {
      await startRig({ health: { command: ['/bin/false'], timeoutMs: 100, intervalMs: 20 } });
      serve();
      await rig.startAgent();
      const desired = await rig.publishFiles([OLD], NEW);
      await order(desired);
      const { status, details } = await outcome();
      assert.equal(status, 'FAILED');
      assert.equal(details['reason'], 'unhealthy');
      assert.equal(details['sha256'], sha256Hex(OLD));
      assert.equal(details['rolledBackFrom'], sha256Hex(NEW));
      await order(desired, { id: 'j2' });
      assert.equal((await outcome('j2')).status, 'FAILED');
      assert.equal(rig.server.gets, 2);
    });

    it('a job that is called back during the download stops it', async () => {
      await startRig();
      serve();
      rig.server.fault = () => ({ kind: 'stall', afterBytes: 20_000 });
      await rig.startAgent();
      await order(await rig.publishFiles([OLD], NEW));
      await rig.reported('downloading');
      await cancel();
      assert.equal((await outcome()).status, 'CANCELED');
      await rig.reported('no_wish');
      assert.deepEqual(rig.activeModel(), OLD);
    });

    it('a job whose time is over is timed out by the server and left by the device', async () => {
      await startRig();
      serve();
      rig.server.fault = () => ({ kind: 'stall', afterBytes: 20_000 });
      await rig.startAgent();
      await order(await rig.publishFiles([OLD], NEW), { timeoutMs: 300 });
      assert.equal((await outcome()).status, 'TIMED_OUT');
      await rig.reported('no_wish');
    });

    it('server and broker start anew in the middle of a job, and nothing is said twice', async () => {
      await startRig();
      serve();
      rig.server.fault = () => ({ kind: 'stall', afterBytes: 20_000 });
      await rig.startAgent();
      await order(await rig.publishFiles([OLD], NEW));
      await rig.reported('downloading');
      await server?.close();
      rig.broker.dropConnections();
      serve();
      rig.server.fault = () => null;
      assert.equal((await outcome()).status, 'SUCCEEDED');
    });

    it('AWS IoT Jobs: the same machine on the reserved topics, and on no other', async () => {
      await startRig({ protocol: 'aws-iot-jobs' });
      serve('$aws/things');
      await rig.startAgent();
      await order(await rig.publishFiles([OLD], NEW));
      assert.equal((await outcome()).status, 'SUCCEEDED');
      const said = rig.broker.messages.filter(({ clientId }) => clientId === 'gw-1').map(({ topic }) => topic);
      assert.ok(said.length > 0);
      assert.deepEqual(
        said.filter((topic) => !topic.startsWith('$aws/things/gw-1/jobs/')),
        [],
      );
    });
  });
}
