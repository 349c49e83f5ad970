/** Jobs for microcontrollers behind a gateway: the production agent and responder, a real broker, simulated devices as processes. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { connectAsync } from 'mqtt';
import type { DesiredDocument } from '../agent/desired.js';
import type { ExecutionRecord } from '../agent/jobs/job-board.js';
import { isTerminal } from '../agent/jobs/job-messages.js';
import { JobServer } from '../agent/jobs/job-server.js';
import { JobStore } from '../agent/jobs/job-store.js';
import { publishDesired } from '../agent/publish-desired.js';
import type { Reported } from '../agent/reported.js';
import { childTopics } from '../agent/topics.js';
import { key, LARGE, MEDIUM, type Update } from './serial/models.js';
import { AgentRig, playAgentRole } from './support/agent-rig.js';
import { EmbeddedBroker } from './support/embedded-broker.js';
import { noise, sha256Hex } from './support/make-patch.js';
import { runMallorn } from './support/run-mallorn.js';
import { SimulatedBoard } from './support/simulated-board.js';

const OLD = noise(60_000, 1);
const NEW = new Uint8Array([...OLD.subarray(0, 30_000), ...noise(30_000, 2)]);
const CAMERA = childTopics('mallorn/v1', 'gw-1', 'camera');
const JOBS = 'mallorn/v1/gw-1/children/camera/jobs';
const TARGET = 'gw-1/camera';

if (!playAgentRole()) {
  describe('jobs for children', { timeout: 120_000 }, () => {
    let rig: AgentRig;
    let board: SimulatedBoard;
    let server: JobServer | null = null;
    const ending: (() => Promise<unknown>)[] = [];
    afterEach(async () => {
      await server?.close();
      server = null;
      await rig.stop();
      await board.stop();
      for (const end of ending.splice(0)) await end();
    });

    async function startRig({ old }: Update, config: object = {}, child: object = {}): Promise<void> {
      rig = await AgentRig.start({ installed: OLD });
      const folder = join(rig.folder, 'camera');
      mkdirSync(folder);
      board = new SimulatedBoard({ folder, model: old, publicKey: key.publicKey });
      await board.powerUp();
      const camera = { name: 'camera', port: board.url, model: { name: 'camera-model' }, ...child };
      rig.configure({ protocol: 'jobs', children: [camera], ...config });
    }

    const storeFolder = () => join(rig.folder, 'jobs');

    function serve(topicPrefix = 'mallorn/v1'): void {
      const store = new JobStore(storeFolder());
      server = new JobServer({ store, topicPrefix, url: rig.broker.url, log: () => {}, pollMs: 20, reconnectMs: 20 });
    }

    async function made({ old, next }: Update): Promise<DesiredDocument> {
      const patch = { neural: true, profile: 'mcu', privateKey: key.privateKey, versionCounter: 5 } as const;
      return { ...(await rig.publishFiles([old], next, { patch })), model: 'camera-model' };
    }

    async function order(desired: unknown, { id = 'j1', device = TARGET } = {}): Promise<void> {
      const job = { jobId: id, document: { desired }, devices: [device], timeoutMs: null, canceled: false };
      await new JobStore(storeFolder()).save(job);
    }

    function history(id: string): ExecutionRecord[] {
      return new JobStore(storeFolder()).history().filter(({ jobId }) => jobId === id);
    }

    /** What the log says, once the execution is over; there must be one terminal line, then and a while later. */
    async function outcome(id = 'j1'): Promise<ExecutionRecord> {
      const terminals = () => history(id).filter(({ status }) => isTerminal(status));
      for (let waitedMs = 0; terminals().length === 0; waitedMs += 20) {
        assert.ok(waitedMs < 60_000, `${id} is not over:\n${rig.log.join('\n')}`);
        await delay(20);
      }
      await delay(300);
      const lines = terminals();
      assert.equal(lines.length, 1, JSON.stringify(lines));
      return lines[0]!;
    }

    async function halfThrough(): Promise<void> {
      const half = (payload: string) => ((JSON.parse(payload) as Reported).progress ?? 0) >= 20;
      await rig.broker.waitFor(CAMERA.reported, half);
    }

    function stallHalfWay(): void {
      rig.server.fault = () => ({ kind: 'stall', afterBytes: Math.floor(LARGE.patch.length / 2) });
    }

    it('a job that is ordered for a child is done by it, beside one of the gateway’s own', async () => {
      await startRig(MEDIUM);
      serve();
      await rig.startAgent();
      const desired = await made(MEDIUM);
      // The retained document is nobody's order where jobs are.
      await publishDesired({ url: rig.broker.url, devices: ['gw-1'], child: 'camera', document: desired });
      await delay(500);
      assert.equal(rig.server.gets, 0);
      await order(await rig.publishFiles([OLD], NEW), { id: 'own', device: 'gw-1' });
      const document = join(rig.folder, 'child.json');
      writeFileSync(document, JSON.stringify(desired));
      const asked = ['--store', storeFolder(), '--id', 'j1', '--document', document, '--device', 'gw-1'];
      const created = await runMallorn('jobs', 'create', ...asked, '--child', 'camera', '--json');
      assert.deepEqual(JSON.parse(created.stdout), { jobId: 'j1', devices: [TARGET] });
      const { status, device, details } = await outcome();
      assert.deepEqual([status, device, details['sha256']], ['SUCCEEDED', TARGET, sha256Hex(MEDIUM.next)]);
      assert.equal((await outcome('own')).status, 'SUCCEEDED');
      assert.deepEqual([board.activeHash(), board.activeState()], [sha256Hex(MEDIUM.next), 'good']);
      assert.deepEqual(rig.activeModel(), NEW);
      assert.deepEqual(
        history('j1').map((line) => line.status),
        ['QUEUED', 'IN_PROGRESS', 'SUCCEEDED'],
      );
      assert.ok(rig.broker.messages.some(({ topic }) => topic === `${JOBS}/j1/progress`));
      const { stdout } = await runMallorn('jobs', 'status', '--store', storeFolder());
      assert.match(stdout, /gw-1\/camera +j1 SUCCEEDED/);
    });

    it('an agent killed in the middle of a job goes on with the device where that is, and ends the job once', async () => {
      await startRig(LARGE);
      serve();
      stallHalfWay();
      rig.startChild();
      await order(await made(LARGE));
      await halfThrough();
      assert.ok(await rig.killChild());
      rig.server.fault = () => null;
      const before = rig.server.requests.length;
      rig.startChild();
      assert.equal((await outcome()).status, 'SUCCEEDED');
      assert.equal(board.activeHash(), sha256Hex(LARGE.next));
      const starts = rig.server.requests.slice(before).map(({ range }) => Number(/bytes=(\d+)/.exec(range ?? '')?.[1]));
      assert.ok(starts.length === 2 && starts[0] === 0 && starts[1]! > 10_000, `${starts}`);
    });

    /** Says everything that is said about the child's jobs a second time, some while later. */
    async function repeatAll(): Promise<void> {
      const client = await connectAsync(rig.broker.url, { clientId: 'echo', reconnectPeriod: 20 });
      ending.push(() => client.endAsync(true));
      const seen = new Set<string>();
      client.on('connect', () => client.subscribe(`${JOBS}/#`, { qos: 1 }));
      client.on('message', (topic, payload) => {
        const message = `${topic} ${payload}`;
        if (seen.has(message)) return;
        seen.add(message);
        setTimeout(() => client.connected && client.publish(topic, payload, { qos: 1 }), 30).unref();
      });
      await client.subscribeAsync(`${JOBS}/#`, { qos: 1 });
    }

    it('with every message said twice and the broker started anew in the middle, a job ends once', async () => {
      await startRig(LARGE);
      serve();
      await repeatAll();
      stallHalfWay();
      await rig.startAgent();
      await order(await made(LARGE));
      await halfThrough();
      const { port } = rig.broker;
      await rig.broker.stop();
      await server?.close();
      const again = await EmbeddedBroker.start(port);
      ending.unshift(() => again.stop());
      serve();
      rig.server.fault = () => null;
      assert.equal((await outcome()).status, 'SUCCEEDED');
      assert.equal(board.activeHash(), sha256Hex(LARGE.next));
      const said = again.messages.filter(({ topic }) => topic === `${JOBS}/j1/update`);
      assert.ok(said.some(({ clientId }) => clientId === 'echo') && said.length >= 2, JSON.stringify(said));
    });

    it('a job that is called back in the middle leaves the device with its old model, and the next one goes on', async () => {
      await startRig(LARGE);
      serve();
      stallHalfWay();
      await rig.startAgent();
      const desired = await made(LARGE);
      await order(desired);
      await halfThrough();
      const cancel = await runMallorn('jobs', 'cancel', '--store', storeFolder(), '--id', 'j1', '--json');
      assert.deepEqual(JSON.parse(cancel.stdout), { jobId: 'j1', canceled: true });
      assert.equal((await outcome()).status, 'CANCELED');
      await rig.broker.waitFor(CAMERA.reported, (payload) => payload.includes('"no_wish"'));
      assert.equal(board.activeHash(), sha256Hex(LARGE.old));
      rig.server.fault = () => null;
      await order(desired, { id: 'j2' });
      assert.equal((await outcome('j2')).status, 'SUCCEEDED');
      assert.equal(board.activeHash(), sha256Hex(LARGE.next));
    });

    it('a document for another model or another base is rejected, and nothing is downloaded', async () => {
      await startRig(MEDIUM);
      serve();
      await rig.startAgent();
      await order({ ...(await made(MEDIUM)), model: 'pose' });
      const other = await outcome();
      assert.deepEqual([other.status, other.details['reason']], ['REJECTED', 'wrong-model']);
      await order(await made(LARGE), { id: 'j2' });
      const base = await outcome('j2');
      assert.deepEqual([base.status, base.details['reason']], ['REJECTED', 'wrong-base']);
      assert.equal(rig.server.gets, 0);
    });

    it('a device that has to go back to its old model is a failure that names both, and no second attempt', async () => {
      const health = { command: ['/bin/false'], timeoutMs: 100, intervalMs: 20 };
      await startRig(MEDIUM, {}, { health });
      serve();
      await rig.startAgent();
      await order(await made(MEDIUM));
      const { status, details } = await outcome();
      assert.deepEqual([status, details['reason']], ['FAILED', 'unhealthy']);
      assert.deepEqual([details['sha256'], details['rolledBackFrom']], [sha256Hex(MEDIUM.old), sha256Hex(MEDIUM.next)]);
      assert.deepEqual([board.activeHash(), board.activeState()], [sha256Hex(MEDIUM.old), 'good']);
    });

    it('an agent killed again and again, ever later in a job, ends it once', async () => {
      const health = { command: ['/bin/sleep', '0.3'], timeoutMs: 5000, intervalMs: 20 };
      await startRig(MEDIUM, {}, { health });
      serve();
      await order(await made(MEDIUM));
      const isOver = () => history('j1').some(({ status }) => isTerminal(status));
      let kills = 0;
      for (let afterMs = 300; !isOver(); afterMs += 100) {
        assert.ok(afterMs < 5000, `not over after ${kills} kills`);
        rig.startChild();
        for (let waitedMs = 0; waitedMs < afterMs && !isOver(); waitedMs += 20) await delay(20);
        if ((await rig.killChild()) && !isOver()) kills++;
      }
      assert.ok(kills >= 3, `${kills} kills`);
      rig.startChild();
      assert.equal((await outcome()).status, 'SUCCEEDED');
      assert.deepEqual([board.activeHash(), board.activeState()], [sha256Hex(MEDIUM.next), 'good']);
    });

    it('a job that failed is not done after all by a child that comes later, nor by an agent that starts anew', async () => {
      await startRig(MEDIUM);
      serve();
      await board.cutPower();
      await rig.startAgent();
      await order(await made(MEDIUM));
      const { status, details } = await outcome();
      assert.equal(status, 'FAILED');
      assert.match(details['reason'] ?? '', /port-lost|device-silent/);
      await board.powerUp();
      await rig.broker.waitFor(CAMERA.reported, (payload) => payload.includes('"no_wish"'));
      await rig.stopAgent();
      await rig.startAgent();
      await delay(500);
      assert.equal(board.activeHash(), sha256Hex(MEDIUM.old));
      assert.equal(rig.server.gets, 0);
      await outcome();
    });

    it('AWS IoT Jobs: a child is a thing of its own on the gateway’s connection', async () => {
      await startRig(MEDIUM, { protocol: 'aws-iot-jobs' }, { thing: 'camera-1' });
      serve('$aws/things');
      await rig.startAgent();
      await order(await made(MEDIUM), { device: 'camera-1' });
      assert.equal((await outcome()).status, 'SUCCEEDED');
      assert.equal(board.activeHash(), sha256Hex(MEDIUM.next));
      const said = rig.broker.messages.filter(({ clientId }) => clientId === 'gw-1').map(({ topic }) => topic);
      const roots = new Set(said.map((topic) => topic.split('/').slice(0, 4).join('/')));
      assert.deepEqual([...roots].sort(), ['$aws/things/camera-1/jobs', '$aws/things/gw-1/jobs']);
      const asked = rig.broker.subscriptions.filter(({ clientId }) => clientId === 'gw-1');
      assert.deepEqual(
        asked.map(({ filters }) => filters.length),
        [8, 2],
        'AWS takes eight filters a request',
      );
    });
  });
}
