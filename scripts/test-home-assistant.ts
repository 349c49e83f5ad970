/**
 * Home Assistant itself beside the built agent: mosquitto, a gateway with a microcontroller behind it, and whether what it makes of the
 * discovery documents is what docs/operations.md promises. Not in CI: scripts/home-assistant-setup.sh FOLDER takes 1.5 GB. As root; two minutes.
 *
 *   npx tsx scripts/build.ts --quiet && npx tsx scripts/test-home-assistant.ts FOLDER
 */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { Gateway } from '../hil-tests/home-assistant/gateway.js';
import { type EntityState, HomeAssistant } from '../hil-tests/home-assistant/home-assistant.js';
import { freePort } from '../hil-tests/support/free-port.js';

const OWN = 'update.gw_1_model_pose';
const CHILD = 'update.camera_model_kws';
const GIVE_UP_MINUTES = 10;

const [root = ''] = process.argv.slice(2);
if (process.getuid?.() !== 0 || !HomeAssistant.isIn(root)) {
  console.error('expected root, and a folder that scripts/home-assistant-setup.sh has made');
  process.exit(2);
}
const watchdog = setTimeout(() => {
  console.log(`FAILED: not done after ${GIVE_UP_MINUTES} minutes`);
  process.exit(1);
}, GIVE_UP_MINUTES * 60_000);
const gateway = await Gateway.make();
const home = new HomeAssistant(root, await freePort());
let failed = 0;
try {
  console.log(home.version);
  await home.start();
  await home.addMqtt(gateway.brokerPort);
  gateway.startAgent();
  await step(
    'finds the model and the child as update entities, each of its own device, the child via the gateway',
    discovered,
  );
  await step('shows a version that waits for consent; its install service updates, and shows the progress', () =>
    installs(OWN, 'own'),
  );
  await step("the same with the microcontroller's model", () => installs(CHILD, 'child'));
  await step('a gateway that is killed is unavailable by its will, and so is the child behind it', killed);
  await step('a child that is gone is unavailable alone', childGone);
  await step('started anew, it knows all of it again from what the broker keeps', startedAnew);
  await step('forgets what the agent takes back', forgets);
  await step('finds nothing to complain of', complaints);
} catch (error) {
  failed++;
  console.log(`FAILED: ${error instanceof Error ? error.stack : error}\n${home.complaints.join('\n')}`);
} finally {
  await home.close();
  await gateway.close();
  clearTimeout(watchdog);
}
console.log(JSON.stringify({ failed }));
if (failed > 0) process.exitCode = 1;

async function step(name: string, run: () => Promise<void>): Promise<void> {
  const began = performance.now();
  try {
    await run();
    console.log(`ok: ${name} (${Math.round(performance.now() - began)} ms)`);
  } catch (error) {
    failed++;
    console.log(`FAILED: ${name}: ${error instanceof Error ? error.stack : error}`);
    console.log(JSON.stringify(await home.states('update'), null, 1));
  }
}

async function until(
  entityId: string,
  accept: (state: EntityState | undefined) => boolean,
): Promise<EntityState | undefined> {
  for (const deadlineMs = Date.now() + 20_000; ; await delay(100)) {
    const state = await home.state(entityId);
    if (accept(state)) return state;
    if (Date.now() > deadlineMs)
      throw new Error(`${entityId} stays ${JSON.stringify(state)}\n${gateway.log.slice(-2000)}`);
  }
}

async function discovered(): Promise<void> {
  for (const [entityId, title] of [
    [OWN, 'pose'],
    [CHILD, 'kws'],
  ] as const) {
    const entity = await until(entityId, (found) => found?.state === 'off');
    const { installed_version: installed, latest_version: latest, ...rest } = entity!.attributes;
    assert.match(String(installed), /^[0-9a-f]{12}$/, 'that of a model which no version was told of');
    assert.equal(latest, installed);
    assert.equal(rest['title'], title);
    assert.equal(rest['in_progress'], false);
  }
  const devices = await home.devices();
  const own = devices.find(({ name }) => name === 'gw-1');
  const child = devices.find(({ name }) => name === 'camera');
  assert.equal(own?.model, 'Gateway agent');
  assert.equal(child?.model, 'Microcontroller');
  assert.equal(child?.via_device_id, own?.id);
}

async function installs(entityId: string, what: 'own' | 'child'): Promise<void> {
  const wished = await gateway.publish(what, '2.0');
  const waiting = await until(entityId, (entity) => entity?.state === 'on');
  assert.equal(waiting?.attributes['latest_version'], '2.0');
  assert.equal(waiting?.attributes['in_progress'], false);
  await home.call('update', 'install', entityId);
  const percentages = new Set<number>();
  const done = await until(entityId, (entity) => {
    const { in_progress: runs, update_percentage: percent } = entity?.attributes ?? {};
    if (runs === true && typeof percent === 'number') percentages.add(percent);
    return entity?.state === 'off';
  });
  assert.equal(done?.attributes['installed_version'], '2.0');
  assert.equal(done?.attributes['sha256'], wished);
  assert.ok(percentages.size >= 2, `of the progress it showed ${[...percentages]}`);
  if (what === 'own') assert.equal(gateway.activeSha256(), wished);
}

async function killed(): Promise<void> {
  await gateway.endAgent('SIGKILL');
  for (const entityId of [OWN, CHILD]) await until(entityId, (entity) => entity?.state === 'unavailable');
  gateway.startAgent();
  for (const entityId of [OWN, CHILD]) await until(entityId, (entity) => entity?.state === 'off');
}

async function childGone(): Promise<void> {
  await gateway.cutChild();
  // It is missed when there is something to ask it.
  await gateway.publish('child', '3.0');
  await until(CHILD, (entity) => entity?.state === 'unavailable');
  assert.equal((await home.state(OWN))?.state, 'off');
}

async function startedAnew(): Promise<void> {
  await home.stop();
  await home.start();
  const own = await until(OWN, (entity) => entity?.state === 'off');
  assert.equal(own?.attributes['installed_version'], '2.0');
  await until(CHILD, (entity) => entity?.state === 'unavailable');
}

async function forgets(): Promise<void> {
  await gateway.endAgent('SIGTERM');
  gateway.startAgent(false);
  for (const entityId of [OWN, CHILD]) await until(entityId, (entity) => entity === undefined);
}

async function complaints(): Promise<void> {
  assert.deepEqual(home.complaints, []);
}
