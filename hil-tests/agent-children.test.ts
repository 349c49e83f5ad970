/**
 * Microcontrollers behind a gateway: the production agent, a real broker, a real web server, and simulated devices as processes
 * of their own. Through serial ports it is hil-tests/serial/child-cases.ts.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { promisify } from 'node:util';
import type { DesiredDocument } from '../agent/desired.js';
import type { HistoryEntry } from '../agent/operations/update-history.js';
import { publishDesired } from '../agent/publish-desired.js';
import type { Reported } from '../agent/reported.js';
import { childTopics } from '../agent/topics.js';
import { key, LARGE, MEDIUM, type Update } from './serial/models.js';
import { AgentRig, playAgentRole, STRANGER, TRUSTED } from './support/agent-rig.js';
import { noise, sha256Hex } from './support/make-patch.js';
import { repoRoot } from './support/paths.js';
import { runMallorn } from './support/run-mallorn.js';
import { SimulatedBoard } from './support/simulated-board.js';

const OLD = noise(60_000, 1);
const NEW = new Uint8Array([...OLD.subarray(0, 30_000), ...noise(30_000, 2)]);
const BIRTH = 'mallorn/v1/gw-1/birth';

interface BirthChild {
  readonly name: string;
  readonly online: boolean;
}

if (!playAgentRole()) {
  describe('children', { timeout: 120_000 }, () => {
    let rig: AgentRig;
    let boards: SimulatedBoard[] = [];
    afterEach(async () => {
      await rig.stop();
      await Promise.all(boards.map((board) => board.stop()));
      boards = [];
    });

    async function startRig(
      updates: Record<string, Update>,
      publicKey: Uint8Array | null = key.publicKey,
    ): Promise<void> {
      rig = await AgentRig.start({ installed: OLD });
      const entries = await Promise.all(
        Object.entries(updates).map(async ([name, { old }]) => {
          const folder = join(rig.folder, name);
          mkdirSync(folder);
          const board = new SimulatedBoard({ folder, model: old, ...(publicKey === null ? {} : { publicKey }) });
          boards.push(board);
          await board.powerUp();
          return { name, port: board.url, model: { name: `${name}-model` } };
        }),
      );
      rig.configure({ children: entries });
    }

    const topicsOf = (child: string) => childTopics('mallorn/v1', 'gw-1', child);

    async function made(child: string, { old, next }: Update, patch: object = {}): Promise<DesiredDocument> {
      const document = await rig.publishFiles([old], next, {
        patch: { neural: true, profile: 'mcu', privateKey: key.privateKey, versionCounter: 5, ...patch },
      });
      return { ...document, model: `${child}-model` };
    }

    /** As `mallorn publish --child` does. */
    async function tell(child: string, document: DesiredDocument): Promise<void> {
      await publishDesired({ url: rig.broker.url, devices: ['gw-1'], child, document });
    }

    async function wish(child: string, update: Update, patch: object = {}): Promise<void> {
      await tell(child, await made(child, update, patch));
    }

    async function reported(child: string, status: Reported['status'], timeoutMs = 30_000): Promise<Reported> {
      const accept = (payload: string) => (JSON.parse(payload) as Reported).status === status;
      try {
        return JSON.parse(await rig.broker.waitFor(topicsOf(child).reported, accept, timeoutMs)) as Reported;
      } catch (error) {
        throw new Error(`${error instanceof Error ? error.message : String(error)}\n${rig.log.join('\n')}`);
      }
    }

    async function state(child: string, wanted: string): Promise<void> {
      await rig.broker.waitFor(topicsOf(child).state, (payload) => payload.includes(`"state":"${wanted}"`));
    }

    async function birth(accept: (children: readonly BirthChild[]) => boolean): Promise<readonly BirthChild[]> {
      const childrenIn = (payload: string) => (JSON.parse(payload) as { children: BirthChild[] }).children;
      return childrenIn(await rig.broker.waitFor(BIRTH, (payload) => accept(childrenIn(payload))));
    }

    it('a child is in the birth document, gets the update of a retained document, and its trial is ended', async () => {
      await startRig({ camera: MEDIUM });
      await wish('camera', MEDIUM);
      await rig.startAgent();
      const done = await reported('camera', 'up_to_date');
      assert.deepEqual(
        [done.model, done.installed_version, done.sha256],
        ['camera-model', '2.0', sha256Hex(MEDIUM.next)],
      );
      assert.deepEqual([boards[0]!.activeHash(), boards[0]!.activeState()], [sha256Hex(MEDIUM.next), 'good']);
      await state('camera', 'ready');
      assert.deepEqual(await birth(([child]) => JSON.stringify(child).includes(sha256Hex(MEDIUM.next))), [
        {
          name: 'camera',
          model: 'camera-model',
          version: '2.0',
          sha256: sha256Hex(MEDIUM.next),
          port: boards[0]!.url,
          online: true,
        },
      ]);
      const percents = rig.broker.messages
        .filter(({ topic }) => topic === topicsOf('camera').reported)
        .map(({ payload }) => (JSON.parse(payload) as Reported).progress)
        .filter((percent) => percent !== null);
      assert.ok(new Set(percents).size >= 2, `progress was told: ${percents}`);
      const asked = ['--config', rig.configPath, '--model', 'camera/camera-model', '--json'];
      const { stdout } = await runMallorn('agent', 'history', ...asked);
      const history = JSON.parse(stdout) as HistoryEntry[];
      assert.deepEqual(
        history.map(({ model, outcome }) => [model, outcome]),
        [['camera/camera-model', 'installed']],
      );
      assert.equal(history[0]!.bytesDownloaded, rig.server.bodyBytes);
    });

    it('two boards at once, and the gateway’s own model beside them', async () => {
      await startRig({ left: LARGE, right: MEDIUM });
      await rig.startAgent();
      const own = await rig.publishFiles([OLD], NEW);
      const [left, right] = [await made('left', LARGE), await made('right', MEDIUM)];
      await Promise.all([tell('left', left), tell('right', right)]);
      await rig.wish(own);
      await Promise.all([reported('left', 'up_to_date'), reported('right', 'up_to_date'), rig.reported('up_to_date')]);
      assert.deepEqual(
        boards.map((board) => board.activeHash()).sort(),
        [sha256Hex(LARGE.next), sha256Hex(MEDIUM.next)].sort(),
      );
      assert.deepEqual(rig.activeModel(), NEW);
      // Neither waited for the other: both were at it before the first was done.
      const statuses = rig.broker.messages
        .filter(({ topic }) => topic.endsWith('/reported') && topic.includes('/children/'))
        .map(({ topic, payload }) => `${topic.split('/')[4]} ${(JSON.parse(payload) as Reported).status}`);
      const firstDone = statuses.findIndex((line) => line.endsWith('up_to_date'));
      for (const name of ['left', 'right']) {
        assert.ok(statuses.slice(0, firstDone).includes(`${name} downloading`), `${statuses}`);
      }
    });

    it('a patch by a stranger is refused by the device, and the gateway’s own model is updated all the same', async () => {
      await startRig({ camera: MEDIUM });
      await rig.startAgent();
      await wish('camera', MEDIUM, { privateKey: STRANGER.privateKey });
      assert.equal((await reported('camera', 'refused')).error?.reason, 'unknown-signer');
      await rig.wish(await rig.publishFiles([OLD], NEW));
      await rig.reported('up_to_date');
      assert.equal(boards[0]!.activeHash(), sha256Hex(MEDIUM.old));
      // The next document is another matter.
      await wish('camera', MEDIUM);
      await reported('camera', 'up_to_date');
      assert.equal(boards[0]!.activeHash(), sha256Hex(MEDIUM.next));
    });

    it('a device that checks no signatures gets patches of those alone whom the gateway trusts', async () => {
      await startRig({ camera: MEDIUM }, null);
      await rig.startAgent();
      await wish('camera', MEDIUM, { privateKey: STRANGER.privateKey });
      assert.equal((await reported('camera', 'refused')).error?.reason, 'unknown-signer');
      assert.equal(boards[0]!.activeHash(), sha256Hex(MEDIUM.old));
      // The rig's gateway trusts one key: another document, signed by it.
      await wish('camera', MEDIUM, { privateKey: TRUSTED.privateKey });
      await reported('camera', 'up_to_date');
      assert.equal(boards[0]!.activeHash(), sha256Hex(MEDIUM.next));
    });

    it('a patch that is not what its document says is refused before the device hears of it', async () => {
      await startRig({ camera: MEDIUM });
      await rig.startAgent();
      await reported('camera', 'no_wish');
      await tell('camera', { ...(await made('camera', MEDIUM)), targetSha256: '7'.repeat(64) });
      assert.match(
        (await reported('camera', 'refused')).error?.message ?? '',
        /the document wants 7+, the patch makes/,
      );
    });

    /** By hand, as anybody with access to the port can. */
    async function stage(board: SimulatedBoard): Promise<void> {
      const [patch] = readdirSync(rig.www).filter((name) => name.endsWith('.mlrn'));
      const args = ['flash', '--port', board.url, '--patch', join(rig.www, patch!), '--no-activate'];
      await promisify(execFile)(process.execPath, [join(repoRoot, 'dist/cli.js'), ...args]);
      assert.equal(board.activeHash(), sha256Hex(MEDIUM.old));
    }

    it('what a device without signatures has staged is not switched to on a stranger’s word', async () => {
      await startRig({ camera: MEDIUM }, null);
      const document = await made('camera', MEDIUM, { privateKey: STRANGER.privateKey });
      await stage(boards[0]!);
      await rig.startAgent();
      await tell('camera', document);
      assert.equal((await reported('camera', 'refused')).error?.reason, 'unknown-signer');
      assert.equal(boards[0]!.activeHash(), sha256Hex(MEDIUM.old));
    });

    it('a model that the device has staged is switched to, and not sent again', async () => {
      await startRig({ camera: MEDIUM });
      const document = await made('camera', MEDIUM);
      await stage(boards[0]!);
      // What would be sent is not looked at.
      rig.server.fault = () => ({ kind: 'replace', bytes: noise(document.patches[0]!.size, 9), etag: '"x"' });
      await rig.startAgent();
      await tell('camera', document);
      await reported('camera', 'up_to_date');
      assert.equal(boards[0]!.activeHash(), sha256Hex(MEDIUM.next));
    });

    it('a patch for gateways is no patch for a child', async () => {
      await startRig({ camera: MEDIUM });
      await rig.startAgent();
      await wish('camera', MEDIUM, { profile: 'gateway', neural: false });
      assert.equal((await reported('camera', 'refused')).error?.reason, 'wrong-base');
      assert.deepEqual(rig.server.requests, []);
    });

    it('a device whose power is cut in the middle is reported, and the update goes on when it is back', async () => {
      await startRig({ camera: LARGE });
      const board = boards[0]!;
      rig.server.fault = () => ({ kind: 'stall', afterBytes: Math.floor(LARGE.patch.length / 2) });
      await rig.startAgent();
      await wish('camera', LARGE);
      await reported('camera', 'downloading');
      const half = (payload: string) => ((JSON.parse(payload) as Reported).progress ?? 0) >= 20;
      await rig.broker.waitFor(topicsOf('camera').reported, half);
      await board.cutPower();
      rig.server.fault = () => null;
      await state('camera', 'lost');
      await birth(([child]) => child?.online === false);
      assert.match((await reported('camera', 'waiting')).error?.reason ?? '', /port-lost|device-silent/);
      await board.powerUp();
      await reported('camera', 'up_to_date');
      await state('camera', 'ready');
      assert.equal(board.activeHash(), sha256Hex(LARGE.next));
    });

    it('a child that is not there keeps no agent from starting, and is found when it comes', async () => {
      await startRig({ camera: MEDIUM });
      const board = boards[0]!;
      await board.cutPower();
      await rig.startAgent();
      await rig.reported('no_wish');
      await state('camera', 'lost');
      // Longer than the retry budget lasts.
      await reported('camera', 'failed');
      await board.powerUp();
      await reported('camera', 'no_wish');
      await state('camera', 'ready');
    });

    it('a gateway that says good-bye says it for its children', async () => {
      await startRig({ camera: MEDIUM });
      await rig.startAgent();
      await state('camera', 'ready');
      await rig.stopAgent();
      await state('camera', 'disconnected');
      const said = rig.broker.messages.filter(({ topic }) => topic.endsWith('/$state')).map(({ topic }) => topic);
      assert.deepEqual(said.slice(-2), [topicsOf('camera').state, 'mallorn/v1/gw-1/$state']);
    });

    it('a gateway killed in the middle goes on with the device where that is', async () => {
      await startRig({ camera: LARGE });
      rig.server.fault = () => ({ kind: 'stall', afterBytes: Math.floor(LARGE.patch.length / 2) });
      rig.startChild();
      await wish('camera', LARGE);
      const half = (payload: string) => ((JSON.parse(payload) as Reported).progress ?? 0) >= 20;
      await rig.broker.waitFor(topicsOf('camera').reported, half);
      assert.ok(await rig.killChild());
      rig.server.fault = () => null;
      const before = rig.server.requests.length;
      await rig.startAgent();
      await reported('camera', 'up_to_date');
      assert.equal(boards[0]!.activeHash(), sha256Hex(LARGE.next));
      const starts = rig.server.requests.slice(before).map(({ range }) => Number(/bytes=(\d+)/.exec(range ?? '')?.[1]));
      assert.ok(starts.length === 2 && starts[0] === 0 && starts[1]! > 10_000, `${starts}`);
    });
  });
}
