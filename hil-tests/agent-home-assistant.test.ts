/**
 * What Home Assistant reads and writes, by the documented schema of its MQTT update entity
 * (https://www.home-assistant.io/integrations/update.mqtt), on a real broker.
 */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { connectAsync } from 'mqtt';
import { discoveryOf } from '../agent/home-assistant.js';
import { AgentRig, playAgentRole, TOPICS } from './support/agent-rig.js';
import { noise } from './support/make-patch.js';

const OLD = noise(100_000, 1);
const NEW = new Uint8Array([...OLD.subarray(0, 60_000), ...noise(50_000, 2)]);
const CONFIG_TOPIC = 'homeassistant/update/mallorn_gw-1_pose/config';
const INSTALL = 'mallorn/v1/gw-1/cmd/install';

/** The page's table of configuration variables, and those of MQTT discovery. */
const FIELDS: Readonly<Record<string, (value: unknown) => boolean>> = {
  availability_mode: (value) => ['all', 'any', 'latest'].includes(value as string),
  availability: (value) => Array.isArray(value) && value.every(isAvailability),
  command_topic: isTopic,
  device: isDevice,
  entity_category: (value) => value === 'config' || value === 'diagnostic',
  json_attributes_template: isText,
  json_attributes_topic: isTopic,
  name: isText,
  origin: (value) => isText((value as { name?: unknown }).name),
  payload_install: isText,
  qos: (value) => [0, 1, 2].includes(value as number),
  state_topic: isTopic,
  title: isText,
  unique_id: isText,
  value_template: isText,
};

function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== '';
}

function isTopic(value: unknown): boolean {
  return isText(value) && !/[+#\0]/.test(value as string);
}

function isAvailability(value: unknown): boolean {
  const { topic, value_template, ...rest } = value as Record<string, unknown>;
  return isTopic(topic) && isText(value_template) && Object.keys(rest).length === 0;
}

/** A gateway has a version of its software, what is behind one says of which. */
function isDevice(value: unknown): boolean {
  const { identifiers, name, manufacturer, model, sw_version, via_device, ...rest } = value as Record<string, unknown>;
  const isKnown = [name, manufacturer, model, sw_version ?? via_device].every(isText);
  return isKnown && Array.isArray(identifiers) && identifiers.every(isText) && Object.keys(rest).length === 0;
}

function assertValid(document: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(document)) {
    assert.ok(FIELDS[name]?.(value), `${name}: ${JSON.stringify(value)}`);
  }
}

if (!playAgentRole()) {
  describe('Home Assistant', { timeout: 120_000 }, () => {
    let rig: AgentRig;
    afterEach(() => rig.stop());

    async function start(config: Record<string, unknown>): Promise<void> {
      rig = await AgentRig.start({ installed: OLD, config });
      await rig.startAgent();
      await ready();
    }

    async function ready(): Promise<void> {
      await rig.broker.waitFor(TOPICS.state, (payload) => JSON.parse(payload).state === 'ready');
    }

    async function press(topic: string, payload = 'install', retain = false): Promise<void> {
      const client = await connectAsync(rig.broker.url);
      await client.publishAsync(topic, payload, { qos: 1, retain });
      await client.endAsync();
    }

    it('finds each model as an update entity whose document its schema takes', async () => {
      await start({ homeAssistant: {} });
      const document = JSON.parse(rig.broker.payloadOf(CONFIG_TOPIC) ?? '{}') as Record<string, unknown>;
      assertValid(document);
      assert.equal(document['state_topic'], TOPICS.reported);
      assert.equal(document['command_topic'], INSTALL);
      const retained = rig.broker.messages.find(({ topic }) => topic === CONFIG_TOPIC);
      assert.equal(retained?.retain, true);
      for (const field of ['installed_version', 'latest_version', 'in_progress', 'update_percentage']) {
        assert.ok(String(document['value_template']).includes(field), field);
      }
    });

    it('finds a microcontroller behind it as a device of its own, reached via the gateway, with a button of its own', async () => {
      const children = [{ name: 'camera', port: 'tcp://127.0.0.1:9', model: { name: 'kws' } }];
      await start({ homeAssistant: {}, children });
      const documentOf = (topic: string) => JSON.parse(rig.broker.payloadOf(topic) ?? '{}') as Record<string, unknown>;
      const own = documentOf(CONFIG_TOPIC) as { device: { identifiers: string[] } };
      const child = documentOf('homeassistant/update/mallorn_gw-1/camera/config');
      assertValid(child);
      assert.equal(child['state_topic'], 'mallorn/v1/gw-1/children/camera/reported');
      const { via_device: via, identifiers } = child['device'] as { via_device: string; identifiers: string[] };
      assert.deepEqual([via], own.device.identifiers);
      assert.notEqual(identifiers[0], via);
      const topics = (child['availability'] as { topic: string }[]).map(({ topic }) => topic);
      assert.deepEqual(topics, [TOPICS.state, 'mallorn/v1/gw-1/children/camera/$state']);
      assert.equal(child['availability_mode'], 'all');
      await press('mallorn/v1/gw-1/children/camera/cmd/install');
      while (!rig.log.some((line) => line.includes('"camera/kws"') && line.includes('asked by'))) await delay(5);
    });

    it('its install button is consent also where it is pressed as soon as the new version is shown', async () => {
      await start({ homeAssistant: {}, consent: ['download', 'activate'] });
      const document = await rig.publishFiles([OLD], NEW);
      const client = await connectAsync(rig.broker.url);
      await client.subscribeAsync(TOPICS.reported, { qos: 1 });
      // As an automation does.
      client.on('message', (_, payload) => {
        const { status, latest_version: latest } = JSON.parse(payload.toString());
        if (status === 'choosing' && latest === '2.0') client.publish(INSTALL, 'install', { qos: 1 });
      });
      await rig.wish(document);
      await rig.reported('up_to_date');
      await client.endAsync();
      assert.deepEqual(rig.activeModel(), NEW);
    });

    it('its install button gives another attempt at what was given up; other payloads and retained ones do not', async () => {
      await start({ homeAssistant: {} });
      rig.server.fault = () => ({ kind: 'status', status: 404 });
      await rig.wish(await rig.publishFiles([OLD], NEW));
      await rig.reported('failed');
      rig.server.fault = () => null;
      const { gets } = rig.server;
      await press(INSTALL, 'remove');
      await delay(200);
      assert.equal(rig.server.gets, gets);
      await press(INSTALL);
      await rig.reported('up_to_date');
    });

    it('its install button is consent where an update waits for it, but not to a whole model in its place', async () => {
      await start({ homeAssistant: {}, consent: ['download', 'activate'], fullImage: 'ask' });
      await rig.wish(await rig.publishFiles([NEW], NEW.subarray(1), { fullImage: true }));
      assert.deepEqual((await rig.reported('wait_confirmation')).asks?.for, ['download', 'full-image']);
      await press(INSTALL);
      while (!rig.log.some((line) => line.includes('asked by Home Assistant'))) await delay(5);
      await rig.broker.waitFor(TOPICS.reported, (payload) => JSON.parse(payload).asks?.for.join() === 'full-image');
      assert.equal(rig.server.gets, 0);
      await rig.wish(await rig.publishFiles([OLD], NEW));
      await rig.broker.waitFor(TOPICS.reported, (payload) => JSON.parse(payload).asks?.for.includes('download'));
      await press(INSTALL);
      await rig.reported('up_to_date');
    });

    it('a retained press is not one of now', async () => {
      await start({ homeAssistant: {} });
      await rig.wish(await rig.publishFiles([OLD], NEW, { patch: {} }));
      await rig.reported('refused');
      await rig.stopAgent();
      await press(INSTALL, 'install', true);
      rig.server.resetCounters();
      const { length } = rig.broker.messages;
      await rig.startAgent();
      await rig.broker.waitFor(TOPICS.state, () =>
        rig.broker.messages.slice(length).some(({ payload }) => payload.includes('ready')),
      );
      await press(INSTALL, 'x');
      const asked = () => rig.log.filter((line) => line.includes('asked by Home Assistant'));
      while (asked().length === 0) await delay(5);
      assert.deepEqual(
        asked().map((line) => line.includes('"done":true')),
        [false],
      );
      assert.equal(rig.server.gets, 0);
      await press(INSTALL);
      await rig.broker.waitFor(TOPICS.reported, () => rig.server.gets > 0);
    });

    it('forgets the device when the option is gone, and what it was under another prefix', async () => {
      await start({ homeAssistant: {} });
      await rig.stopAgent();
      rig.configure({ homeAssistant: { prefix: 'ha' } });
      await rig.startAgent();
      await rig.broker.waitFor('ha/update/mallorn_gw-1_pose/config', (payload) => payload !== '');
      await rig.broker.waitFor(CONFIG_TOPIC, (payload) => payload === '');
      await ready();
      await rig.stopAgent();
      rig.configure({ homeAssistant: undefined });
      await rig.startAgent();
      await rig.broker.waitFor('ha/update/mallorn_gw-1_pose/config', (payload) => payload === '');
    });

    it('off by default: nothing of it is said or heard', async () => {
      await start({});
      assert.ok(!rig.broker.messages.some(({ topic }) => topic.startsWith('homeassistant')));
    });

    it('names of devices and models that ids do not allow make ids that are their own', () => {
      const topics = { reported: 'r', state: 's', install: 'i' };
      const ids = [
        ['gw 1', 'pose'],
        ['gw_1', 'pose'],
        ['gw:1', 'pose'],
        ['gw_1', 'pöse'],
      ].map(([device = '', model = '']) => {
        const { topic, document } = discoveryOf({ prefix: 'h', device, model, agentVersion: '1', topics });
        assertValid(document);
        assert.match(topic, /^h\/update\/[A-Za-z0-9_-]+\/config$/);
        return document['unique_id'];
      });
      assert.equal(new Set(ids).size, ids.length);
    });
  });
}
