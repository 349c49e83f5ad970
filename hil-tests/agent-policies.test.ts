/** The production agent's policies, each with a real broker, a real HTTP server and real slots. */
import assert from 'node:assert/strict';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { AgentRuntime } from '../agent/runtime.js';
import { AgentRig, playAgentRole, type RigOptions, TOPICS, TRUSTED } from './support/agent-rig.js';
import { noise, sha256Hex } from './support/make-patch.js';
import { repoRoot } from './support/paths.js';

const OLD = noise(600_000, 1);
const NEW = new Uint8Array([...OLD.subarray(100_000, 400_000), ...noise(300_000, 2)]);
const NEXT = new Uint8Array([...NEW.subarray(0, 300_000), ...noise(50_000, 3)]);
/** Frames and checkpoints small enough for an update to be parked in the middle. */
const BY_SEGMENTS = { patch: { profile: 'mcu', privateKey: TRUSTED.privateKey, versionCounter: 2 } } as const;
const CLI = join(repoRoot, 'dist/cli.js');
const NOON = new Date('2026-11-24T12:00:00Z');
const NIGHT = new Date('2026-11-24T23:00:00Z');
/** Longer than the agent takes to do what it must not do. */
const QUIET_MS = 300;

if (!playAgentRole()) {
  describe('policies', { timeout: 300_000 }, () => {
    let rig: AgentRig;
    let time = NOON;
    afterEach(() => rig.stop());

    async function startRig(config: Record<string, unknown>, options: Partial<RigOptions> = {}): Promise<AgentRig> {
      time = NOON;
      rig = await AgentRig.start({ installed: OLD, config, now: () => time, ...options });
      return rig;
    }

    async function startAgent(): Promise<AgentRuntime> {
      const agent = await rig.startAgent();
      return agent.units[0]!.runtime;
    }

    const consent = (message: unknown) => rig.broker.publish(TOPICS.consent, JSON.stringify(message));
    const progressed = (percent: number) =>
      rig.broker.waitFor(TOPICS.reported, (text) => JSON.parse(text).progress >= percent);

    async function expectNew(model = NEW): Promise<void> {
      await rig.broker.waitFor(TOPICS.reported, (text) => JSON.parse(text).sha256 === sha256Hex(model));
      await rig.reported('up_to_date');
      assert.deepEqual(rig.activeModel(), model);
    }

    it('consent: nothing is downloaded before an operator says so, nothing switched before the next', async () => {
      await startRig({ consent: ['download', 'activate'] });
      await startAgent();
      await rig.wish(await rig.publishFiles([OLD], NEW));
      const asked = await rig.reported('wait_confirmation');
      assert.deepEqual(asked.asks, { targetSha256: sha256Hex(NEW), for: ['download'] });
      await consent({ targetSha256: sha256Hex(NEXT) });
      await consent('nonsense');
      await delay(QUIET_MS);
      assert.equal(rig.server.gets, 0);
      await consent(asked.asks);
      const staged = await rig.reported('staged');
      assert.deepEqual(staged.asks?.for, ['activate']);
      await delay(QUIET_MS);
      assert.equal(rig.activeSha256(), sha256Hex(OLD));
      await consent(staged.asks);
      await expectNew();
      assert.equal(rig.server.gets, 1, 'one download for both');
    });

    it('consent: a retained one is heard by a device that was away, and one at the device does as well', async () => {
      await startRig({ consent: ['download', 'activate'] });
      await consent({ targetSha256: sha256Hex(NEW), for: ['download'] });
      await rig.wish(await rig.publishFiles([OLD], NEW));
      const runtime = await startAgent();
      await rig.reported('staged');
      runtime.consent();
      await expectNew();
    });

    it('apply window: closed the new model waits through restarts without a second download, open it is switched to', async () => {
      await startRig({ windows: { timeZone: 'utc', apply: ['22:00-05:30'] } });
      await startAgent();
      await rig.wish(await rig.publishFiles([OLD], NEW, BY_SEGMENTS));
      const staged = await rig.reported('staged');
      assert.equal(staged.waits_for, 'window');
      assert.equal(staged.sha256, sha256Hex(OLD));
      const { gets, bodyBytes } = rig.server;
      for (let restart = 0; restart < 2; restart++) {
        await rig.stopAgent();
        await startAgent();
        await rig.reported('staged');
      }
      assert.equal(rig.activeSha256(), sha256Hex(OLD));
      time = NIGHT;
      await expectNew();
      assert.deepEqual([rig.server.gets, rig.server.bodyBytes], [gets, bodyBytes], 'not a byte more');
    });

    it('apply window: the built agent, killed while its model is staged, switches to it without a byte more', async () => {
      const hour = new Date().getUTCHours();
      const closed = `${String((hour + 11) % 24).padStart(2, '0')}:00-${String((hour + 13) % 24).padStart(2, '0')}:00`;
      await startRig({ windows: { timeZone: 'utc', apply: [closed] } });
      await rig.wish(await rig.publishFiles([OLD], NEW));
      rig.startChild(CLI);
      await rig.reported('staged');
      assert.ok(await rig.killChild());
      const { bodyBytes } = rig.server;
      // Nor is one needed outside the download window.
      rig.configure({ windows: { timeZone: 'utc', download: [closed] } });
      rig.startChild(CLI);
      await expectNew();
      assert.equal(rig.server.bodyBytes, bodyBytes);
    });

    it('apply window: a staged model that lost its slot is downloaded again', async () => {
      await startRig({ windows: { timeZone: 'utc', apply: ['22:00-05:30'] } });
      await startAgent();
      const document = await rig.publishFiles([OLD], NEW);
      await rig.wish(document);
      await rig.reported('staged');
      await rig.stopAgent();
      rmSync(join(rig.slotsFolder, 'b.model'));
      time = NIGHT;
      await startAgent();
      await expectNew();
      assert.ok(rig.server.bodyBytes >= 2 * document.patches[0]!.size);
    });

    it('download window: an update that runs out of it is parked, and goes on in the next where it was', async () => {
      await startRig({ windows: { timeZone: 'utc', download: ['22:00-05:30'] } });
      const document = await rig.publishFiles([OLD], NEW, BY_SEGMENTS);
      await startAgent();
      await rig.wish(document);
      await rig.reported('wait_window');
      await delay(QUIET_MS);
      assert.equal(rig.server.gets, 0);
      rig.server.fault = () => ({ kind: 'slow', blockDelayMs: 100 });
      time = NIGHT;
      await progressed(40);
      time = NOON;
      await rig.reported('wait_window');
      rig.server.fault = () => null;
      await delay(QUIET_MS);
      const { bodyBytes } = rig.server;
      await delay(QUIET_MS);
      assert.equal(rig.server.bodyBytes, bodyBytes, 'parked');
      time = NIGHT;
      await expectNew();
      const { size } = document.patches[0]!;
      assert.ok(rig.server.bodyBytes < 1.6 * size, `${rig.server.bodyBytes} of ${size} bytes: the journal was kept`);
      assert.match(rig.server.requests.at(-1)?.range ?? '', /^bytes=[1-9]/);
    });

    it('bandwidth: a download takes the time that its limit gives it', async () => {
      await startRig({ maxBytesPerSecond: 100_000 });
      const document = await rig.publishFiles([OLD], NEW);
      await startAgent();
      await rig.reported('no_wish');
      const startedMs = performance.now();
      await rig.wish(document);
      await expectNew();
      const seconds = (performance.now() - startedMs) / 1000;
      // A second's worth has gathered by then.
      const expected = document.patches[0]!.size / 100_000 - 1;
      assert.ok(seconds > 0.95 * expected, `${seconds} s, expected ${expected}`);
      assert.ok(expected > 1.5);
    });

    it('free space: what does not leave enough is told before anything is downloaded, and installed once it does', async () => {
      await startRig({
        limits: { minFreeBytes: 2 ** 50 },
        retry: { minDelayMs: 10, maxDelayMs: 20, maxAttempts: 1000 },
      });
      await startAgent();
      await rig.wish(await rig.publishFiles([OLD], NEW));
      const { error } = await rig.reported('waiting');
      const expected = `expected ${2 ** 50 + NEW.length} bytes (${2 ** 50} of them to stay free), got `;
      assert.ok(error?.message.includes(expected), error?.message);
      assert.equal(rig.server.gets, 0);
      await rig.stopAgent();
      rig.configure({ limits: { minFreeBytes: 1 << 20 } });
      await startAgent();
      await expectNew();
    });

    it('keepPrevious false: the space of the model before is given back, and a rollback says that there is none', async () => {
      await startRig({ keepPrevious: false });
      const runtime = await startAgent();
      await rig.wish(await rig.publishFiles([OLD], NEW));
      await expectNew();
      assert.deepEqual(models(), ['b.model']);
      runtime.rollBack();
      await rig.broker.waitFor(TOPICS.reported, (text) => JSON.parse(text).error?.reason === 'no-previous');
      const { status, error } = runtime.reported();
      assert.equal(status, 'up_to_date');
      assert.match(error?.message ?? '', /^there is no previous model to go back to: keepPrevious is false/);
      await rig.wish(await rig.publishFiles([NEW], NEXT, { version: '3.0' }));
      await expectNew(NEXT);
    });

    it('keepPrevious false: a model on trial keeps its way back until it is good', async () => {
      const health = { file: 'well', timeoutMs: 20_000, intervalMs: 20 };
      await startRig({ keepPrevious: false, health });
      await startAgent();
      await rig.wish(await rig.publishFiles([OLD], NEW));
      await rig.reported('testing');
      assert.deepEqual(models(), ['a.model', 'b.model']);
      writeFileSync(join(rig.folder, 'well'), '');
      await expectNew();
      assert.deepEqual(models(), ['b.model']);
    });

    it('keepPrevious, set to false later, gives the space back at the next start', async () => {
      await startRig({});
      await startAgent();
      await rig.wish(await rig.publishFiles([OLD], NEW));
      await expectNew();
      assert.deepEqual(models(), ['a.model', 'b.model']);
      await rig.stopAgent();
      rig.configure({ keepPrevious: false });
      await startAgent();
      assert.deepEqual(models(), ['b.model']);
      await expectNew();
    });

    it('fullImage ask: a whole model is downloaded after a yes to it, and the report says that it is one', async () => {
      await startRig({ fullImage: 'ask' });
      await startAgent();
      const document = await rig.publishFiles([NEXT], NEW, { fullImage: true });
      await rig.wish(document);
      const asked = await rig.reported('wait_confirmation');
      assert.deepEqual(asked.download, { kind: 'full', size: document.fullImage?.size });
      assert.deepEqual(asked.asks?.for, ['full-image']);
      await consent({ targetSha256: sha256Hex(NEW) });
      await delay(QUIET_MS);
      assert.equal(rig.server.gets, 0, 'a yes to a download is none to a whole model');
      await consent(asked.asks);
      await expectNew();
    });

    it('fullImage unmetered: a whole model waits for a connection that costs nothing, and leaves off where it ends', async () => {
      const free = join(tmpdir(), `mallorn-unmetered-${process.pid}`);
      const unmetered = { command: ['/usr/bin/test', '-e', free], intervalMs: 30 };
      await startRig({ fullImage: 'unmetered', unmetered });
      await startAgent();
      await rig.wish(await rig.publishFiles([NEXT], NEW, { fullImage: true }));
      await rig.reported('wait_unmetered');
      await delay(QUIET_MS);
      assert.equal(rig.server.gets, 0);
      rig.server.fault = () => ({ kind: 'slow', blockDelayMs: 50 });
      writeFileSync(free, '');
      assert.equal((await rig.reported('downloading')).download?.kind, 'full');
      rmSync(free);
      await rig.reported('wait_unmetered');
      rig.server.fault = () => null;
      writeFileSync(free, '');
      await expectNew();
      rmSync(free);
    });

    it('rollout: a device that is left out waits, is let in by the same document to more, and is then left alone', async () => {
      await startRig({});
      await startAgent();
      const document = await rig.publishFiles([OLD], NEW);
      await rig.wish({ ...document, rollout: { fraction: 0 } });
      await rig.reported('wait_rollout');
      await delay(QUIET_MS);
      assert.equal(rig.server.gets, 0);
      await rig.wish({ ...document, rollout: { fraction: 0.999999 } });
      await expectNew();
      const { length } = rig.broker.messages;
      await rig.wish({ ...document, rollout: { fraction: 1 } });
      await delay(QUIET_MS);
      const said = rig.broker.messages.slice(length).filter(({ topic }) => topic === TOPICS.reported);
      assert.deepEqual(said, []);
      assert.equal(rig.server.gets, 1);
    });

    it('rollout: taken back it stops a download that is under way', async () => {
      await startRig({});
      await startAgent();
      const document = await rig.publishFiles([OLD], NEW, BY_SEGMENTS);
      rig.server.fault = () => ({ kind: 'slow', blockDelayMs: 100 });
      await rig.wish({ ...document, rollout: { fraction: 1 } });
      await progressed(20);
      await rig.wish({ ...document, rollout: { fraction: 0 } });
      await rig.reported('wait_rollout');
      rig.server.fault = () => null;
      await rig.wish({ ...document, rollout: { fraction: 1 } });
      await expectNew();
    });

    function models(): string[] {
      return readdirSync(rig.slotsFolder)
        .filter((name) => name.endsWith('.model'))
        .sort();
    }
  });
}
