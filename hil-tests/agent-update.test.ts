/** The production agent against a real broker, a real HTTP server, real patches and real slots. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { DesiredDocument } from '../agent/desired.js';
import { createPatch } from '../targets/node/index.js';
import { AgentRig, playAgentRole, type RigOptions, STRANGER, TOPICS, TRUSTED } from './support/agent-rig.js';
import { makePatch, noise, sha256Hex } from './support/make-patch.js';

const OLD = noise(900_000, 1);
/** Half of it copied from elsewhere in the old model, half of it new. */
const NEW = new Uint8Array(Buffer.concat([OLD.subarray(200_000, 600_000), noise(450_000, 2), OLD.subarray(0, 50_000)]));
const NEXT = new Uint8Array(Buffer.concat([NEW.subarray(0, 500_000), noise(100_000, 3)]));

if (!playAgentRole()) {
  describe('agent', { timeout: 400_000 }, () => {
    let rig: AgentRig;
    afterEach(() => rig.stop());

    async function startRig(options: Partial<RigOptions> = {}): Promise<AgentRig> {
      rig = await AgentRig.start({ installed: OLD, ...options });
      return rig;
    }

    /** Changes the one published patch file, as an attacker who owns the HTTP server would. */
    function tamper(document: DesiredDocument, change: (patch: Uint8Array) => void): void {
      const path = join(rig.www, new URL(document.patches[0]?.url ?? '').pathname);
      const patch = new Uint8Array(readFileSync(path));
      change(patch);
      writeFileSync(path, patch);
    }

    async function expectRefusal(document: DesiredDocument, reason: string): Promise<void> {
      await rig.startAgent();
      await rig.wish(document);
      const reported = await rig.reported('refused');
      assert.equal(reported.error?.reason, reason);
      assert.equal(reported.sha256, sha256Hex(OLD));
      assert.equal(rig.activeSha256(), sha256Hex(OLD), 'the old model is untouched');
    }

    it('installs what is wished with one GET of exactly the patch', async () => {
      await startRig();
      const document = await rig.publishFiles([OLD], NEW);
      await rig.startAgent();
      await rig.reported('no_wish');
      await rig.wish(document);
      const reported = await rig.reported('up_to_date');
      assert.equal(reported.installed_version, '2.0');
      assert.equal(reported.sha256, sha256Hex(NEW));
      assert.deepEqual(rig.activeModel(), NEW);
      assert.equal(rig.server.gets, 1);
      assert.equal(rig.server.bodyBytes, document.patches[0]?.size);
    });

    it('takes what the public createPatch makes', async () => {
      await startRig();
      const document = await rig.publishFiles([OLD], NEW, { createPatch });
      await rig.startAgent();
      await rig.wish(document);
      await rig.reported('up_to_date');
      assert.deepEqual(rig.activeModel(), NEW);
    });

    it('goes from version to version, each time from its own base, and does nothing twice', async () => {
      await startRig();
      await rig.startAgent();
      await rig.wish(await rig.publishFiles([OLD], NEW));
      await rig.reported('up_to_date');
      const document = await rig.publishFiles([OLD, NEW], NEXT, { version: '3.0' });
      assert.equal(document.patches.length, 2);
      await rig.wish(document);
      await rig.broker.waitFor(TOPICS.reported, (payload) => JSON.parse(payload).installed_version === '3.0');
      assert.deepEqual(rig.activeModel(), NEXT);
      const { gets } = rig.server;
      await rig.stopAgent();
      await rig.startAgent();
      await rig.broker.waitFor(TOPICS.state, (payload) => JSON.parse(payload).state === 'ready');
      assert.equal((await rig.reported('up_to_date')).installed_version, '3.0');
      assert.equal(rig.server.gets, gets);
    });

    it('asks for nothing when no patch starts from its base', async () => {
      await startRig();
      await expectRefusal(await rig.publishFiles([NEXT], NEW), 'wrong-base');
      assert.equal(rig.server.gets, 0);
    });

    it('refuses an unsigned patch before it touches the other slot', async () => {
      await startRig();
      await expectRefusal(await rig.publishFiles([OLD], NEW, { patch: {} }), 'unsigned');
      assert.ok(!existsSync(join(rig.slotsFolder, 'b.model')));
    });

    it('refuses a patch that somebody else has signed', async () => {
      await startRig();
      await expectRefusal(
        await rig.publishFiles([OLD], NEW, { patch: { privateKey: STRANGER.privateKey } }),
        'unknown-signer',
      );
    });

    it('refuses a patch with one byte changed in its body, after asking for the frame again', async () => {
      await startRig();
      const document = await rig.publishFiles([OLD], NEW);
      tamper(document, (patch) => {
        patch[300_000] = (patch[300_000] ?? 0) ^ 1;
      });
      await expectRefusal(document, 'bad-frame');
      assert.equal(rig.server.gets, 3);
    });

    it('refuses a patch with one byte changed in its header', async () => {
      await startRig();
      const document = await rig.publishFiles([OLD], NEW);
      tamper(document, (patch) => {
        patch[40] = (patch[40] ?? 0) ^ 1;
      });
      await expectRefusal(document, 'header-digest');
      assert.ok(!existsSync(join(rig.slotsFolder, 'b.model')));
    });

    it('refuses a signed patch that makes another model than the document says', async () => {
      await startRig();
      const document = await rig.publishFiles([OLD], NEW);
      await expectRefusal({ ...document, targetSha256: sha256Hex(NEXT) }, 'bad-header');
      assert.ok(!existsSync(join(rig.slotsFolder, 'b.model')));
    });

    it('refuses patches for another family or device class', async () => {
      await startRig({ config: { family: 'pose-lite' } });
      const patch = { privateKey: TRUSTED.privateKey, family: 'face' };
      await expectRefusal(await rig.publishFiles([OLD], NEW, { patch }), 'wrong-family');
    });

    it('refuses a version that was revoked', async () => {
      await startRig();
      const patch = { privateKey: TRUSTED.privateKey, versionCounter: 7, minimumCounter: 6 };
      await rig.startAgent();
      await rig.wish(await rig.publishFiles([OLD], NEW, { patch }));
      await rig.reported('up_to_date');
      const older = { privateKey: TRUSTED.privateKey, versionCounter: 5 };
      await rig.wish(await rig.publishFiles([NEW], NEXT, { patch: older, version: '1.5' }));
      assert.equal((await rig.reported('refused')).error?.reason, 'counter-too-low');
      assert.equal(rig.activeSha256(), sha256Hex(NEW));
    });

    it('does not start beside another agent, nor with a key that is none', async () => {
      await startRig();
      await rig.startAgent();
      await assert.rejects(rig.startAgent(), /lock|holds|owned|in use/i);
      await rig.stopAgent();
      writeFileSync(join(rig.folder, 'trusted.pub'), new Uint8Array(31));
      await assert.rejects(rig.startAgent(), /expected 32 raw bytes.*, got 31 other bytes/);
    });

    it('does not try a refused document again, also after a restart', async () => {
      await startRig();
      await expectRefusal(await rig.publishFiles([OLD], NEW, { patch: {} }), 'unsigned');
      const { gets } = rig.server;
      await rig.stopAgent();
      const { length } = rig.broker.messages;
      await rig.startAgent();
      await rig.broker.waitFor(TOPICS.state, (payload) => JSON.parse(payload).state === 'ready');
      const reports = rig.broker.messages.slice(length).filter((message) => message.topic === TOPICS.reported);
      assert.equal(JSON.parse(reports.at(-1)?.payload ?? '{}').status, 'refused');
      await delay(100);
      assert.equal(rig.server.gets, gets);
      await rig.wish(await rig.publishFiles([OLD], NEW));
      await rig.reported('up_to_date');
    });

    it('takes a whole model on a device that has none, where the policy says so', async () => {
      await startRig({ installed: null, config: { fullImage: 'always' } });
      await rig.startAgent();
      await rig.wish(await rig.publishFiles([], NEW, { fullImage: true }));
      await rig.reported('up_to_date');
      assert.deepEqual(rig.activeModel(), NEW);
    });

    it('comes through a server that cuts, stalls, refuses and repeats itself', async () => {
      await startRig({
        config: { retry: { minDelayMs: 5, maxDelayMs: 20, maxResumes: 1, resumeDelayMs: 1, stallTimeoutMs: 100 } },
      });
      const faults = [
        { kind: 'status', status: 503 },
        { kind: 'cut', afterBytes: 200_000 },
        { kind: 'stall', afterBytes: 100_000 },
        { kind: 'ignore-range' },
      ] as const;
      rig.server.fault = (_, index) => faults[index] ?? null;
      await rig.startAgent();
      await rig.wish(await rig.publishFiles([OLD], NEW));
      await rig.reported('up_to_date');
      assert.deepEqual(rig.activeModel(), NEW);
      assert.ok(rig.server.gets >= 4, 'the faults fired');
    });

    it('gives up after its budget and says why', async () => {
      await startRig();
      rig.server.fault = () => ({ kind: 'status', status: 404 });
      await rig.startAgent();
      await rig.wish(await rig.publishFiles([OLD], NEW));
      assert.equal((await rig.reported('failed')).error?.reason, 'http-404');
      assert.equal(rig.activeSha256(), sha256Hex(OLD));
    });

    it('goes on from the journal when a withdrawn wish comes back', async () => {
      await startRig();
      const document = await rig.publishFiles([OLD], NEW, {
        patch: { profile: 'mcu', privateKey: TRUSTED.privateKey },
      });
      const size = document.patches[0]?.size ?? 0;
      rig.server.fault = () => ({ kind: 'slow', blockDelayMs: 10 });
      await rig.startAgent();
      await rig.wish(document);
      await rig.broker.waitFor(TOPICS.reported, (payload) => JSON.parse(payload).progress >= 80);
      await rig.wish(null);
      await rig.reported('no_wish');
      rig.server.resetCounters();
      await rig.wish(document);
      await rig.reported('up_to_date');
      assert.deepEqual(rig.activeModel(), NEW);
      assert.ok(rig.server.bodyBytes < size, `${rig.server.bodyBytes} of ${size} bytes`);
    });

    it('finishes after SIGKILL, without downloading again what was applied', async () => {
      await startRig();
      const document = await rig.publishFiles([OLD], NEW, {
        patch: { profile: 'mcu', privateKey: TRUSTED.privateKey },
      });
      const size = document.patches[0]?.size ?? 0;
      rig.server.fault = () => ({ kind: 'slow', blockDelayMs: 15 });
      await rig.wish(document);
      rig.startChild();
      await rig.broker.waitFor(TOPICS.reported, (payload) => JSON.parse(payload).progress >= 85);
      await rig.killChild();
      assert.equal(rig.activeSha256(), sha256Hex(OLD));
      rig.server.fault = () => null;
      rig.server.resetCounters();
      rig.startChild();
      await rig.reported('up_to_date');
      assert.deepEqual(rig.activeModel(), NEW);
      assert.deepEqual(rig.server.requests[0]?.range, 'bytes=0-2047');
      assert.match(rig.server.requests[1]?.range ?? '', /^bytes=[1-9]\d+-$/);
      assert.ok(rig.server.bodyBytes < size / 2, `${rig.server.bodyBytes} of ${size} bytes`);
    });

    /** Killed when the journal vouches for most of it. */
    async function killLate(): Promise<DesiredDocument> {
      await startRig();
      const patch = { profile: 'mcu', privateKey: TRUSTED.privateKey, versionCounter: 2 } as const;
      const document = await rig.publishFiles([OLD], NEW, { patch });
      rig.server.fault = () => ({ kind: 'slow', blockDelayMs: 15 });
      await rig.wish(document);
      rig.startChild();
      await rig.broker.waitFor(TOPICS.reported, (payload) => JSON.parse(payload).progress >= 85);
      await rig.killChild();
      rig.server.fault = () => null;
      rig.server.resetCounters();
      return document;
    }

    it('goes on from its journal where the server has never heard of Range', async () => {
      await killLate();
      rig.server.fault = () => ({ kind: 'ignore-range' });
      rig.startChild();
      await rig.reported('up_to_date');
      assert.deepEqual(rig.activeModel(), NEW);
      assert.ok(rig.server.requests.every(({ range }) => range !== null));
    });

    it('starts afresh where another patch to the same model lies under the address now', async () => {
      const document = await killLate();
      const [file] = document.patches;
      const other = makePatch(OLD, NEW, { profile: 'mcu', privateKey: TRUSTED.privateKey, versionCounter: 3 });
      assert.equal(other.length, file?.size);
      writeFileSync(join(rig.www, new URL(file?.url ?? '').pathname), other);
      rig.startChild();
      await rig.reported('up_to_date');
      assert.deepEqual(rig.activeModel(), NEW);
      assert.ok(rig.server.bodyBytes >= other.length, `${rig.server.bodyBytes} of ${other.length} bytes`);
    });

    it('writes the patch to no file: it streams into the slot', async () => {
      await startRig();
      const patch = { profile: 'mcu', privateKey: TRUSTED.privateKey } as const;
      const document = await rig.publishFiles([OLD], NEW, { patch });
      rig.server.fault = () => ({ kind: 'slow', blockDelayMs: 15 });
      await rig.wish(document);
      await rig.startAgent();
      const folders = [rig.slotsFolder, join(rig.folder, 'agent-state'), rig.folder];
      const seen = new Set<string>();
      while (rig.activeSha256() !== sha256Hex(NEW)) {
        for (const name of folders.flatMap((folder) => readdirSync(folder))) seen.add(name);
        await delay(5);
      }
      const known = [
        'a.model',
        'b.model',
        'b.journal',
        'current',
        'lock',
        'state.json',
        'boots.json',
        'control.sock',
        'history.json',
      ];
      const own = ['agent-state', 'agent.json', 'models', 'slots', 'trusted.pub'];
      const temporary = /^(state|history)\.json\.new$|^\.(state\.json|current)\.[0-9a-f]{12}\.tmp$/;
      const strange = [...seen].filter((name) => ![...known, ...own].includes(name) && !temporary.test(name));
      assert.deepEqual(strange, []);
      assert.ok(seen.has('b.journal'), 'looked while it was written');
    });
  });
}
