/** The built agent downloads over HTTPS from a server whose certificate it has to be told to trust. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { publish } from '../agent/publish.js';
import { publishDesired } from '../agent/publish-desired.js';
import type { Reported } from '../agent/reported.js';
import { DEFAULT_TOPIC_PREFIX, deviceTopics } from '../agent/topics.js';
import { EmbeddedBroker } from './support/embedded-broker.js';
import { createTestPatch, noise, testKeypair } from './support/make-patch.js';
import { PatchServer } from './support/patch-server.js';
import { repoRoot } from './support/paths.js';
import { TEST_CERTIFICATE, TEST_CERTIFICATE_KEY } from './support/test-certificate.js';

const OLD = noise(200_000, 1);
const NEW = new Uint8Array(Buffer.concat([OLD.subarray(0, 100_000), noise(90_000, 2)]));
const keys = testKeypair(1);
const folder = mkdtempSync(join(tmpdir(), 'mallorn-https-'));
const at = (...names: string[]): string => join(folder, ...names);
const children: ChildProcess[] = [];
let broker: EmbeddedBroker;
let server: PatchServer;

before(async () => {
  mkdirSync(at('www'));
  writeFileSync(at('old'), OLD);
  writeFileSync(at('new'), NEW);
  writeFileSync(at('ca.pem'), TEST_CERTIFICATE);
  broker = await EmbeddedBroker.start();
  server = await PatchServer.start(at('www'), { cert: TEST_CERTIFICATE, key: TEST_CERTIFICATE_KEY });
});
after(async () => {
  for (const child of children) {
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    await gone;
  }
  await server.stop();
  await broker.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs an agent with a wish for NEW, until it reports `status`. */
async function update(device: string, status: Reported['status'], env: NodeJS.ProcessEnv): Promise<Reported> {
  mkdirSync(at(device));
  writeFileSync(at(device, 'trusted.pub'), keys.publicKey);
  const config = {
    device,
    mqtt: { url: broker.url },
    model: { name: 'pose', slots: 'slots' },
    trustedKeys: ['trusted.pub'],
    retry: { maxResumes: 0 },
  };
  writeFileSync(at(device, 'agent.json'), JSON.stringify(config));
  const { desired } = await publish({
    createPatch: createTestPatch,
    model: 'pose',
    version: '2.0',
    olds: [at('old')],
    target: at('new'),
    outDir: at('www'),
    baseUrl: server.url,
    patch: { privateKey: keys.privateKey },
  });
  await publishDesired({ url: broker.url, devices: [device], document: desired });
  const args = ['agent', '--config', at(device, 'agent.json'), '--install', at('old')];
  const cli = join(repoRoot, 'dist/cli.js');
  children.push(spawn(process.execPath, [cli, ...args], { env: { ...process.env, ...env }, stdio: 'ignore' }));
  const { reported } = deviceTopics(DEFAULT_TOPIC_PREFIX, device);
  const accept = (payload: string) => (JSON.parse(payload) as Reported).status === status;
  return JSON.parse(await broker.waitFor(reported, accept, 20_000)) as Reported;
}

test('updates over HTTPS once NODE_EXTRA_CA_CERTS names the authority', async () => {
  await update('trusting', 'up_to_date', { NODE_EXTRA_CA_CERTS: at('ca.pem') });
  assert.deepEqual(new Uint8Array(readFileSync(at('trusting', 'slots/current'))), NEW);
});

test('asks a server that it cannot trust for nothing, says why and tries again later', async () => {
  server.resetCounters();
  const { error } = await update('wary', 'waiting', {});
  assert.equal(error?.reason, 'network');
  assert.match(error.message, /certificate/);
  assert.equal(server.gets, 0);
  assert.deepEqual(new Uint8Array(readFileSync(at('wary', 'slots/current'))), OLD);
});
