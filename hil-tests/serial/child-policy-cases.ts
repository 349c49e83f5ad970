/** What a child's update has to wait for, who is told of it, and what undoes it: each with a device at a PTY. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FlashImage } from '../../targets/sim/flash-image.js';
import { type AgentRig, TOPICS } from '../support/agent-rig.js';
import { sha256Hex } from '../support/make-patch.js';
import { made, reported, tell, withAgent } from './child-agent.js';
import { MEDIUM } from './models.js';
import { soon } from './port-cases.js';
import { Rig } from './rig.js';
import type { Case } from './run-cases.js';

const [OLD, NEW] = [sha256Hex(MEDIUM.old), sha256Hex(MEDIUM.next)];
export const NOON = new Date('2026-11-24T12:00:00Z');
export const NIGHT = new Date('2026-11-24T23:00:00Z');
/** Longer than the agent takes to do what it must not do. */
const QUIET_MS = 400;
/** The device is asked what it has; a patch has some thousands of bytes. */
const MOST_QUESTION_BYTES = 400;

export const CHILD_POLICY_CASES: readonly Case[] = [
  {
    name: 'children: hooks and the health check run in order, told of both models, with the device on trial between',
    run: () =>
      Rig.with(MEDIUM, {}, (rig) => {
        const told = new Told(rig);
        return withAgent({ camera: rig }, (agent) => installs(agent, rig, told), { child: told.config('exit 0') });
      }),
  },
  {
    name: 'children: a health check that fails takes the device back to its old model, and says so',
    run: () =>
      Rig.with(MEDIUM, {}, (rig) => {
        const told = new Told(rig);
        return withAgent({ camera: rig }, (agent) => goesBack(agent, rig, told), {
          child: told.config('[ $MALLORN_EVENT != health ] || { echo blurred >&2; exit 1; }'),
        });
      }),
  },
  {
    name: 'children: a postActivate hook that fails takes the device back too, and nobody is asked for its health',
    run: () =>
      Rig.with(MEDIUM, {}, (rig) => {
        const told = new Told(rig);
        const use = async (agent: AgentRig): Promise<number> => {
          await agent.startAgent();
          await tell(agent, 'camera', await made(agent, 'camera', MEDIUM));
          assert.match((await reported(agent, 'camera', 'refused')).error?.message ?? '', /postActivate hook failed/);
          assert.deepEqual([rig.activeHash(), rig.board.activeState()], [OLD, 'good']);
          await told.until('postRollback');
          assert.deepEqual(told.events(), ['preApply', 'postActivate', 'postRollback']);
          return 1;
        };
        return withAgent({ camera: rig }, use, { child: told.config('[ $MALLORN_EVENT != postActivate ]') });
      }),
  },
  {
    name: 'children: a preApply hook that says no puts the update off before a byte of it is fetched or sent',
    run: () =>
      Rig.with(MEDIUM, {}, (rig) => {
        const told = new Told(rig);
        const ready = join(rig.folder, 'ready');
        const use = async (agent: AgentRig): Promise<number> => {
          await agent.startAgent();
          await tell(agent, 'camera', await made(agent, 'camera', MEDIUM));
          assert.equal((await reported(agent, 'camera', 'waiting')).error?.reason, 'pre-apply');
          await nothingIsSent(agent, rig);
          writeFileSync(ready, '');
          await reported(agent, 'camera', 'up_to_date');
          assert.equal(rig.activeHash(), NEW);
          return 1;
        };
        const child = told.config(`[ $MALLORN_EVENT != preApply ] || [ -e ${ready} ]`);
        return withAgent({ camera: rig }, use, { child, config: { retry: { minDelayMs: 300, maxDelayMs: 600 } } });
      }),
  },
  {
    name: 'children: a download window holds the update before a byte of it goes over the line',
    run: () =>
      held({ windows: { timeZone: 'utc', download: ['22:00-02:00'] } }, async (agent, rig, clock) => {
        assert.equal((await reported(agent, 'camera', 'wait_window')).waits_for, 'window');
        await nothingIsSent(agent, rig);
        clock.now = NIGHT;
      }),
  },
  {
    name: 'children: consent to the download is waited for before a byte of the update goes over the line',
    run: () =>
      held({ consent: ['download'] }, async (agent, rig) => {
        const asked = await reported(agent, 'camera', 'wait_confirmation');
        assert.deepEqual(asked.asks, { targetSha256: NEW, for: ['download'] });
        await nothingIsSent(agent, rig);
        await agent.broker.publish(TOPICS.consent, JSON.stringify({ targetSha256: NEW }));
      }),
  },
  {
    name: 'children: consent to the switch: the device holds the new model, runs the old one, and then only switches',
    run: () =>
      held({ consent: ['activate'] }, async (agent, rig) => {
        await staysStaged(agent, rig);
        await agent.broker.publish(TOPICS.consent, JSON.stringify({ targetSha256: NEW }));
      }),
  },
  {
    name: 'children: an apply window: the device holds the new model over a restart of the agent, and then only switches',
    run: () =>
      held({ windows: { timeZone: 'utc', apply: ['22:00-02:00'] } }, async (agent, rig, clock) => {
        await staysStaged(agent, rig);
        await agent.stopAgent();
        await agent.startAgent();
        await staysStaged(agent, rig);
        clock.now = NIGHT;
      }),
  },
];

/** Commands that write down what they were told, and what state the device's flash was in. */
export class Told {
  private readonly path: string;
  private readonly script: string;
  private readonly flash: string;

  constructor({ folder }: Rig) {
    this.path = join(folder, 'told');
    this.script = join(folder, 'hook.sh');
    this.flash = join(folder, 'flash.img');
  }

  /** `then`: what every command goes on with, in a shell. */
  config(then: string): Record<string, unknown> {
    const names = ['EVENT', 'MODEL', 'PATH', 'SHA256', 'VERSION', 'PREVIOUS_SHA256', 'PREVIOUS_VERSION'];
    const line = names.map((name) => `$MALLORN_${name}`).join('|');
    const lines = [`cp ${this.flash} ${this.path}.$MALLORN_EVENT`, `echo "${line}" >> ${this.path}`, then];
    writeFileSync(this.script, `${lines.join('\n')}\n`);
    const argv = ['/bin/sh', this.script];
    const hooks = Object.fromEntries(
      ['preApply', 'postActivate', 'postCommit', 'postRollback'].map((name) => [name, argv]),
    );
    return { hooks, health: { command: argv, timeoutMs: 300, intervalMs: 200 } };
  }

  lines(): string[][] {
    if (!existsSync(this.path)) return [];
    const lines = readFileSync(this.path, 'utf8').trimEnd().split('\n');
    return lines.map((line) => line.split('|'));
  }

  /** Each once, in the order they were first run. */
  events(): string[] {
    return [...new Set(this.lines().map(([event]) => event ?? ''))];
  }

  /** The device as it was when this command was run last. */
  boardAt(event: string): { state: string; sha256: string } {
    const image = new FlashImage(new Uint8Array(readFileSync(`${this.path}.${event}`)));
    return { state: image.slots().activeState(), sha256: sha256Hex(image.activeModel()) };
  }

  async until(event: string): Promise<void> {
    await soon(() => this.events().includes(event), `${event} is run`);
  }
}

async function installs(agent: AgentRig, rig: Rig, told: Told): Promise<number> {
  await agent.startAgent();
  await tell(agent, 'camera', await made(agent, 'camera', MEDIUM));
  await reported(agent, 'camera', 'up_to_date');
  await told.until('postCommit');
  const of = (event: string, ...models: string[]) => [event, 'camera-model', rig.pty, ...models];
  assert.deepEqual(told.lines(), [
    of('preApply', OLD, '', '', ''),
    of('postActivate', NEW, '2.0', OLD, ''),
    of('health', NEW, '2.0', OLD, ''),
    of('postCommit', NEW, '2.0', OLD, ''),
  ]);
  assert.deepEqual(told.boardAt('preApply'), { state: 'good', sha256: OLD });
  for (const event of ['postActivate', 'health']) {
    assert.deepEqual(told.boardAt(event), { state: 'trial', sha256: NEW }, event);
  }
  assert.deepEqual(told.boardAt('postCommit'), { state: 'good', sha256: NEW });
  return 0;
}

async function goesBack(agent: AgentRig, rig: Rig, told: Told): Promise<number> {
  await agent.startAgent();
  const document = await made(agent, 'camera', MEDIUM);
  await tell(agent, 'camera', document);
  const { error, sha256 } = await reported(agent, 'camera', 'refused');
  assert.deepEqual([error?.reason, sha256], ['unhealthy', OLD]);
  assert.match(error?.message ?? '', /not healthy in 300 ms: .*blurred/);
  assert.deepEqual([rig.activeHash(), rig.board.activeState()], [OLD, 'good']);
  await told.until('postRollback');
  assert.deepEqual(told.events(), ['preApply', 'postActivate', 'health', 'postRollback']);
  assert.deepEqual(told.boardAt('health'), { state: 'trial', sha256: NEW });
  assert.deepEqual(told.lines().at(-1)?.slice(3), [OLD, '', NEW, '2.0']);
  // A restart does not try the same document again.
  await agent.stopAgent();
  const { gets } = agent.server;
  await agent.startAgent();
  await sleep(QUIET_MS);
  assert.deepEqual([rig.activeHash(), agent.server.gets], [OLD, gets]);
  return 1;
}

/** `wait` sees that the update waits, and lets it go on; then it has to arrive. */
async function held(
  config: Record<string, unknown>,
  wait: (agent: AgentRig, rig: Rig, clock: { now: Date }) => Promise<void>,
): Promise<number> {
  const clock = { now: NOON };
  return Rig.with(MEDIUM, {}, (rig) =>
    withAgent(
      { camera: rig },
      async (agent) => {
        await agent.startAgent();
        await tell(agent, 'camera', await made(agent, 'camera', MEDIUM));
        await wait(agent, rig, clock);
        await reported(agent, 'camera', 'up_to_date');
        assert.deepEqual([rig.activeHash(), rig.board.activeState()], [NEW, 'good']);
        const { toDevice } = await rig.count();
        assert.ok(toDevice < 2 * MEDIUM.patch.length, `${toDevice} bytes: it was sent twice`);
        return 0;
      },
      { config, now: () => clock.now },
    ),
  );
}

async function nothingIsSent(agent: AgentRig, rig: Rig): Promise<void> {
  await sleep(QUIET_MS);
  const { toDevice } = await rig.count();
  assert.ok(toDevice > 0 && toDevice < MOST_QUESTION_BYTES, `${toDevice} bytes to the device`);
  assert.equal(agent.server.gets, 0);
  assert.equal(rig.activeHash(), OLD);
}

async function staysStaged(agent: AgentRig, rig: Rig): Promise<void> {
  await reported(agent, 'camera', 'staged');
  const { gets } = agent.server;
  const before = (await rig.count()).toDevice;
  assert.ok(before > MEDIUM.patch.length);
  await sleep(QUIET_MS);
  assert.equal(rig.activeHash(), OLD);
  assert.equal(rig.board.stagedHash(), NEW);
  assert.equal(agent.server.gets, gets);
  assert.ok((await rig.count()).toDevice - before < MOST_QUESTION_BYTES);
}
