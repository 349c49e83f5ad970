/** Patch bytes over MQTT with the production agent, the production server of `mallorn streams` and a real broker between them. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from 'mqtt';
import type { DesiredDocument } from '../agent/desired.js';
import { JobServer } from '../agent/jobs/job-server.js';
import { JobStore } from '../agent/jobs/job-store.js';
import { StreamFolder } from '../agent/streams/stream-folder.js';
import { encodeBlock, streamIdOf } from '../agent/streams/stream-messages.js';
import { StreamServer } from '../agent/streams/stream-server.js';
import { Prng } from '../targets/sim/prng.js';
import { DiskView, PatchGeometry } from './kills/disk.js';
import { AgentRig, type PublishExtra, playAgentRole, TOPICS, TRUSTED } from './support/agent-rig.js';
import { EmbeddedBroker } from './support/embedded-broker.js';
import { makePatch, noise } from './support/make-patch.js';
import { builtCli } from './support/run-mallorn.js';
import { SERVER_PREFIX, StreamRelay } from './support/stream-relay.js';

const OLD = noise(200_000, 1);
const NEW = new Uint8Array(Buffer.concat([OLD.subarray(0, 50_000), noise(170_000, 2)]));
const BLOCK_BYTES = 1024;
/** Small frames, so that the journal has much to say. */
const BY_SEGMENTS: PublishExtra = { patch: { profile: 'mcu', privateKey: TRUSTED.privateKey, versionCounter: 2 } };

if (!playAgentRole()) {
  describe('patches over MQTT', { timeout: 120_000 }, () => {
    let rig: AgentRig;
    const started: { stop(): Promise<void> }[] = [];
    afterEach(async () => {
      await rig.stopAgent();
      for (const each of started.splice(0)) await each.stop();
      await rig.stop();
    });

    /** Blocks are late after a quarter of `stallTimeoutMs`: so much that a busy machine makes none late. */
    async function startRig(
      mqtt: Record<string, unknown> = { streams: { blockBytes: BLOCK_BYTES } },
      stallTimeoutMs = 8000,
    ): Promise<void> {
      rig = await AgentRig.start({ installed: OLD });
      const retry = { minDelayMs: 10, maxDelayMs: 50, maxAttempts: 1000, resumeDelayMs: 5, stallTimeoutMs };
      rig.configure({ mqtt: { url: rig.broker.url, reconnectMinMs: 20, reconnectMaxMs: 50, ...mqtt }, retry });
    }

    function serve(topicPrefix = 'mallorn/v1'): void {
      const folder = new StreamFolder(rig.www);
      const server = new StreamServer({
        folder,
        topicPrefix,
        url: rig.broker.url,
        log: () => {},
        pollMs: 20,
        reconnectMs: 20,
      });
      started.push({ stop: () => server.close() });
    }

    async function relayed(): Promise<StreamRelay> {
      const relay = await StreamRelay.start(rig.broker.url);
      started.push(relay);
      serve(SERVER_PREFIX);
      return relay;
    }

    const publishFiles = (extra: PublishExtra = {}) => rig.publishFiles([OLD], NEW, { baseUrl: 'mqtt:', ...extra });

    async function updated(): Promise<void> {
      await rig.reported('up_to_date');
      assert.deepEqual(rig.activeModel(), NEW);
      assert.equal(rig.server.gets, 0, 'nothing came over HTTP');
    }

    const idOf = (document: DesiredDocument) => streamIdOf(document.patches[0]!.url)!;
    const fileOf = (document: DesiredDocument) => join(rig.www, idOf(document));
    const gets = () => rig.broker.messages.filter(({ topic }) => topic.endsWith('/get'));

    it('an update of more than 1,024 blocks is byte-exact, and asks for no byte twice', async () => {
      await startRig({ streams: { blockBytes: 128 } });
      serve();
      await rig.startAgent();
      const document = await publishFiles();
      await rig.wish(document);
      await updated();
      const asked = gets().map(({ payload }) => JSON.parse(payload) as { offset: number; length: number });
      assert.ok(asked.length > 1024, `${asked.length} blocks`);
      const { size } = document.patches[0]!;
      assert.equal(
        asked.reduce((sum, { length }) => sum + length, 0),
        size,
      );
    });

    it('`mallorn streams` serves what `mallorn publish --base-url mqtt:` laid out, also what is put in later', async () => {
      await startRig();
      const args = ['streams', rig.www, '--mqtt', rig.broker.url];
      const { NODE_TEST_CONTEXT: _, ...env } = process.env;
      const child = spawn(process.execPath, [builtCli, ...args], { env, stdio: ['ignore', 'ignore', 'pipe'] });
      started.push({
        stop: async () => {
          child.kill('SIGTERM');
          if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
        },
      });
      await new Promise<void>((resolve) => {
        child.stderr.on('data', (lines) => String(lines).includes('listening') && resolve());
      });
      await rig.startAgent();
      await rig.wish(await publishFiles());
      await updated();
    });

    it('blocks that are lost, doubled and out of order do no harm', async () => {
      await startRig(undefined, 400);
      const relay = await relayed();
      const random = new Prng(7);
      const fate = { lost: 0, doubled: 0, late: 0 };
      let held: Buffer | null = null;
      relay.forward = (payload) => {
        const before = held === null ? [] : [held];
        held = null;
        const lot = random.below(40);
        if (lot === 0) {
          fate.lost++;
          return before;
        }
        if (lot < 10) {
          fate.doubled++;
          return [payload, ...before, payload];
        }
        if (lot < 20) {
          fate.late++;
          held = payload;
          return before;
        }
        return [payload, ...before];
      };
      await rig.startAgent();
      await rig.wish(await publishFiles());
      await updated();
      assert.ok(fate.lost > 0 && fate.doubled > 10 && fate.late > 10, JSON.stringify(fate));
    });

    it('a lost block is asked for again after a quarter of the stall time-out', async () => {
      const stallTimeoutMs = 6000;
      await startRig(undefined, stallTimeoutMs);
      const relay = await relayed();
      const seenMs: number[] = [];
      relay.forward = (payload) => {
        if (payload.readBigUInt64BE(8) !== BigInt(20 * BLOCK_BYTES)) return [payload];
        return seenMs.push(performance.now()) === 1 ? [] : [payload];
      };
      await rig.startAgent();
      await rig.wish(await publishFiles());
      await updated();
      const [first = 0, second = 0] = seenMs;
      assert.ok(second - first >= stallTimeoutMs / 4 && second - first < stallTimeoutMs, `${second - first} ms`);
    });

    it('comes with jobs on the same link too', async () => {
      await startRig();
      const mqtt = { url: rig.broker.url, reconnectMinMs: 20, reconnectMaxMs: 50, streams: {} };
      rig.configure({ protocol: 'jobs', mqtt });
      serve();
      const store = new JobStore(join(rig.folder, 'jobs'));
      const jobs = new JobServer({ store, topicPrefix: 'mallorn/v1', url: rig.broker.url, log: () => {}, pollMs: 20 });
      started.push({ stop: () => jobs.close() });
      const desired = await publishFiles();
      const order = { jobId: 'j1', document: { desired }, devices: ['gw-1'], timeoutMs: null, canceled: false };
      await new JobStore(join(rig.folder, 'jobs')).save(order);
      await rig.startAgent();
      await updated();
    });

    it('goes on where it was when the broker is restarted in the middle', async () => {
      await startRig();
      const relay = await relayed();
      await rig.startAgent();
      const document = await publishFiles();
      relay.forward = (payload, index) => (index < 60 ? [payload] : []);
      await rig.wish(document);
      while (relay.answers <= 60) await delay(5);
      const { port } = rig.broker;
      await rig.broker.stop();
      const next = await EmbeddedBroker.start(port);
      started.push({ stop: () => next.stop() });
      relay.forward = (payload) => [payload];
      const askedBefore = relay.asked.length;
      await rig.wish(document);
      await next.waitFor(TOPICS.reported, (payload) => JSON.parse(payload).status === 'up_to_date');
      assert.deepEqual(rig.activeModel(), NEW);
      const first = Math.min(...relay.asked.slice(askedBefore).map(({ offset }) => offset));
      assert.ok(first >= 50 * BLOCK_BYTES, `asked again from byte ${first}`);
    });

    it('an agent that is killed goes on at exactly the journaled frame', async () => {
      await startRig();
      const relay = await relayed();
      const document = await publishFiles(BY_SEGMENTS);
      const geometry = new PatchGeometry(new Uint8Array(readFileSync(fileOf(document))));
      relay.forward = (payload, index) => (index < 100 ? [payload] : []);
      await rig.wish(document);
      rig.startChild();
      while (relay.answers <= 100) await delay(5);
      await delay(100);
      await rig.killChild();
      const disk = new DiskView(rig.slotsFolder, join(rig.folder, 'agent-state/state.json'));
      const checkpoint = disk.checkpoint(geometry);
      assert.ok(checkpoint !== null && checkpoint.frameIndex > 5, JSON.stringify(checkpoint));
      relay.forward = (payload) => [payload];
      const askedBefore = relay.asked.length;
      rig.startChild();
      await updated();
      const asked = relay.asked.slice(askedBefore);
      assert.deepEqual(asked[0], { offset: 0, length: BLOCK_BYTES }, 'the header alone');
      assert.deepEqual(asked[1], { offset: geometry.fileOffset(checkpoint.frameIndex), length: BLOCK_BYTES });
    });

    it('is refused without the key, and nothing is asked for', async () => {
      await startRig({});
      serve();
      await rig.startAgent();
      await rig.wish(await publishFiles());
      const { error } = await rig.reported('refused');
      assert.equal(error?.reason, 'url-refused');
      assert.match(error?.message ?? '', /needs mqtt\.streams/);
      assert.equal(gets().length, 0);
    });

    it('stays within maxBytesPerSecond', async () => {
      await startRig();
      const pace = 100_000;
      rig.configure({
        maxBytesPerSecond: pace,
        mqtt: { url: rig.broker.url, reconnectMinMs: 20, reconnectMaxMs: 50, streams: {} },
      });
      serve();
      // What may come at once gathers from the start of the agent on.
      const beganMs = performance.now();
      await rig.startAgent();
      const document = await publishFiles();
      await rig.wish(document);
      await updated();
      const leastMs = (document.patches[0]!.size / pace) * 1000;
      const tookMs = performance.now() - beganMs;
      assert.ok(tookMs >= leastMs, `expected ${leastMs} ms at least, got ${tookMs}`);
    });

    it('blocks that nobody asked for, of other lengths or in no shape at all, are ignored', async () => {
      await startRig();
      const relay = await relayed();
      const document = await publishFiles();
      const { size } = document.patches[0]!;
      const tag = Buffer.from('0123456789abcdef', 'hex');
      const junk = (length: number) => noise(length, 9);
      const hostile = [
        encodeBlock(tag, size, junk(BLOCK_BYTES)),
        encodeBlock(tag, size * 10, junk(BLOCK_BYTES)),
        encodeBlock(tag, Number.MAX_SAFE_INTEGER, junk(BLOCK_BYTES)),
        encodeBlock(tag, 17, junk(BLOCK_BYTES)),
        encodeBlock(tag, 0, junk(BLOCK_BYTES + 1)),
        encodeBlock(tag, 0, junk(70_000)),
        encodeBlock(tag, 0, junk(1)),
        junk(BLOCK_BYTES + 16),
        junk(16),
        junk(3),
        new Uint8Array(0),
      ].map((bytes) => Buffer.from(bytes));
      relay.forward = (payload, index) => (index % 20 === 0 ? [...hostile, payload] : [payload]);
      await rig.startAgent();
      await rig.wish(document);
      await updated();
      assert.ok(
        !rig.broker.messages.some(({ topic, payload }) => topic === TOPICS.reported && /error":\{/.test(payload)),
      );
    });

    it('a block of another file is failure `changed`, and one with bytes of its own is never written', async () => {
      await startRig();
      const relay = await relayed();
      const document = await publishFiles();
      const forged = (payload: Buffer, tag: Buffer) =>
        Buffer.concat([tag, payload.subarray(8, 16), noise(BLOCK_BYTES, 5)]);
      relay.forward = (payload, index) => {
        if (index === 40) return [forged(payload, Buffer.from('0123456789abcdef', 'hex'))];
        return [index === 80 ? forged(payload, payload.subarray(0, 8)) : payload];
      };
      await rig.startAgent();
      await rig.wish(document);
      await updated();
      const reasons = rig.broker.messages
        .filter(({ topic }) => topic === TOPICS.reported)
        .map(({ payload }) => (JSON.parse(payload) as { error?: { reason: string } | null }).error?.reason);
      assert.ok(reasons.includes('changed'), `${reasons}`);
    });

    it('a file that is replaced in the middle is failure `changed`, and the new one is pulled from its beginning', async () => {
      await startRig();
      const relay = await relayed();
      const document = await publishFiles(BY_SEGMENTS);
      const other = makePatch(OLD, NEW, { profile: 'mcu', privateKey: TRUSTED.privateKey, versionCounter: 3 });
      relay.forward = (payload, index) => {
        if (index === 60) writeFileSync(fileOf(document), other);
        return [payload];
      };
      await rig.startAgent();
      await rig.wish(document);
      await updated();
      assert.ok(relay.asked.length > other.length / BLOCK_BYTES + 55, `${relay.asked.length} blocks asked for`);
    });

    it('a file that the server does not have is tried again until it is there', async () => {
      await startRig();
      serve();
      await rig.startAgent();
      const document = await publishFiles();
      const bytes = readFileSync(fileOf(document));
      const url = `mqtt:later.mlrn`;
      await rig.wish({ ...document, patches: [{ ...document.patches[0]!, url }] });
      await rig.broker.waitFor(TOPICS.reported, (payload) => JSON.parse(payload).error?.reason === 'not-found');
      writeFileSync(join(rig.www, 'later.mlrn'), bytes);
      await updated();
    });

    it('the server reads nothing but the files of its folder, whatever the network names', async () => {
      await startRig();
      await publishFiles();
      writeFileSync(join(rig.www, '.secret'), 'hidden');
      serve();
      const client = connect(rig.broker.url, { clientId: 'stranger' });
      started.push({ stop: () => client.endAsync(true) });
      await client.subscribeAsync('mallorn/v1/x/streams/+/+', { qos: 1 });
      const answer = async (id: string, request: unknown): Promise<string> => {
        const topic = `mallorn/v1/x/streams/${id}`;
        const heard = new Promise<string>((resolve) => {
          client.on('message', (got, payload) => {
            if (got === `${topic}/rejected`) resolve(payload.toString());
            if (got === `${topic}/data`) resolve(`data of ${payload.length}`);
          });
        });
        // Repeated as a device would: the server may not listen yet.
        const timer = setInterval(() => client.publish(`${topic}/get`, JSON.stringify(request), { qos: 1 }), 100);
        try {
          return await heard;
        } finally {
          clearInterval(timer);
          client.removeAllListeners('message');
        }
      };
      const small = { offset: 0, length: 1 };
      for (const id of ['.secret', '..', '%2e%2e', '..\\agent.json', 'nothing', 'constructor']) {
        assert.equal(await answer(id, small), '{"code":"NotFound","offset":0}', id);
      }
      assert.equal(await answer('desired.json', small), 'data of 17');
      const far = { offset: 1_000_000, length: 10 };
      assert.equal(await answer('desired.json', far), '{"code":"OutOfRange","offset":1000000}');
      for (const request of [
        { offset: 0, length: 65_537 },
        { offset: -1, length: 1 },
        { offset: 0, length: 0 },
        'x',
        null,
      ]) {
        assert.equal(await answer('desired.json', request), '{"code":"InvalidRequest"}', JSON.stringify(request));
      }
    });
  });
}
