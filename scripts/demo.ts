/**
 * `npm run demo [-- OLD NEW] [-- --neural] [-- --json]`: a gateway updates a model. An MQTT broker and an HTTP server start on loopback, the
 * production agent runs as a process of its own, a signed patch brings it from one version to the next, and three patches
 * that must be refused are. Every number printed is counted where it happened.
 */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { DesiredDocument } from '../agent/desired.js';
import { publish } from '../agent/publish.js';
import { publishDesired } from '../agent/publish-desired.js';
import { EmbeddedBroker } from '../hil-tests/support/embedded-broker.js';
import { PatchServer } from '../hil-tests/support/patch-server.js';
import { createPatch, generateKeypair } from '../targets/node/index.js';
import { Device, type DeviceOptions, sha256Hex } from './demo/device.js';
import { trainDemoPair } from './demo-model/index.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean', default: false }, neural: { type: 'boolean', default: false } },
});
const cliPath = join(dirname(fileURLToPath(import.meta.url)), '..', 'cli.js');
const say = values.json ? () => {} : (line: string) => console.log(line);

interface Models {
  readonly v1: Uint8Array;
  readonly v2: Uint8Array;
  /** Installed on the device that is no base for the patch. */
  readonly other: Uint8Array;
  readonly title: string;
}

function loadModels(): Models {
  const [old, now] = positionals;
  if (positionals.length !== 0 && positionals.length !== 2) {
    throw new Error(`expected OLD and NEW, or neither, got ${positionals.length} files`);
  }
  if (old === undefined || now === undefined) {
    say('Training a gesture model on generated data, and fine-tuning it on new users ...');
    const { accuracy, ...models } = trainDemoPair(1);
    const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
    say(`  on new users' data: v1 ${percent(accuracy.v1OnShifted)} right, v2 ${percent(accuracy.v2OnShifted)}`);
    return { ...models, title: 'int8 TFLite, trained just now' };
  }
  const v1 = new Uint8Array(readFileSync(old));
  const other = v1.slice();
  other[other.length >> 1] = other[other.length >> 1]! ^ 1;
  return { v1, v2: new Uint8Array(readFileSync(now)), other, title: `${basename(old)} -> ${basename(now)}` };
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'mallorn-demo-'));
  const www = join(folder, 'www');
  mkdirSync(www);
  const broker = await EmbeddedBroker.start();
  const server = await PatchServer.start(www);
  const devices: Device[] = [];
  try {
    await run(folder, www, broker, server, devices);
  } finally {
    await Promise.all(devices.map((device) => device.stop()));
    await server.stop();
    await broker.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function run(
  folder: string,
  www: string,
  broker: EmbeddedBroker,
  server: PatchServer,
  devices: Device[],
): Promise<void> {
  const models = loadModels();
  const keys = await generateKeypair();
  const v1Path = join(folder, 'v1');
  const v2Path = join(folder, 'v2');
  writeFileSync(v1Path, models.v1);
  writeFileSync(v2Path, models.v2);
  const v1Sha256 = sha256Hex(models.v1);
  const common = { folder, broker, trustedKey: keys.publicKey, cliPath };
  const add = (options: Omit<DeviceOptions, keyof typeof common>): Device => {
    const device = new Device({ ...common, ...options });
    devices.push(device);
    return device;
  };
  const publishTo = async (device: Device, document: DesiredDocument): Promise<void> =>
    publishDesired({ url: broker.url, topicPrefix: 'mallorn/v1', devices: [device.name], document });

  say(`\nPublishing v2 for devices that run v1 (${models.title}) ...`);
  const { desired, files } = await publish({
    createPatch,
    model: 'demo',
    version: '2.0',
    olds: [v1Path],
    target: v2Path,
    outDir: www,
    baseUrl: server.url,
    patch: { privateKey: keys.privateKey, compressionLevel: 19, neural: values.neural },
  });
  const [file] = files;
  if (file === undefined) throw new Error('OLD and NEW are the same file: there is nothing to update');

  say('Updating a gateway over MQTT and HTTP ...');
  const fullBytes = await fullDownload(server, models.v2, www);
  server.resetCounters();
  const gateway = add({ name: 'gateway', installed: models.v1 });
  await publishTo(gateway, desired);
  const reported = await gateway.settled();
  const patchBytes = server.bodyBytes;
  const targetSha256 = gateway.activeSha256();
  if (reported.status !== 'up_to_date' || targetSha256 !== sha256Hex(models.v2)) {
    throw new Error(`the update failed: ${JSON.stringify(reported)}`);
  }
  say(`  slot file SHA-256 ${targetSha256}, as published`);
  say(
    `  sent ${patchBytes} bytes instead of ${fullBytes}: ${((100 * patchBytes) / fullBytes).toFixed(1)} %, ${(fullBytes / patchBytes).toFixed(1)} times less`,
  );

  say('\nThree patches that must be refused ...');
  const unsigned = add({ name: 'unsigned', installed: models.v1 });
  const tampered = add({ name: 'tampered', installed: models.v1 });
  const wrongBase = add({ name: 'wrong-base', installed: models.other });
  await publishTo(unsigned, await withoutSignature(desired, v1Path, v2Path, server, www));
  await publishTo(tampered, withTamperedFile(desired, file.path, server, www));
  const unsignedReport = await unsigned.settled();
  const tamperedReport = await tampered.settled();
  server.resetCounters();
  await publishTo(wrongBase, desired);
  const wrongBaseReport = await wrongBase.settled();
  const outcomes = {
    unsignedRefused: unsignedReport.status === 'refused',
    tamperedRefused: tamperedReport.status === 'refused',
    // Seen from the document alone: nothing was asked of the server.
    wrongBaseRefused: wrongBaseReport.status === 'refused' && server.gets === 0,
    oldModelIntact:
      unsigned.activeSha256() === v1Sha256 &&
      tampered.activeSha256() === v1Sha256 &&
      wrongBase.activeSha256() === sha256Hex(models.other),
  };
  say(`  unsigned:   ${unsignedReport.status}: ${unsignedReport.error?.message}`);
  say(`  tampered:   ${tamperedReport.status}: ${tamperedReport.error?.message}`);
  say(`  wrong base: ${wrongBaseReport.status}: ${wrongBaseReport.error?.message} (${server.gets} requests)`);
  say(`  old models untouched: ${outcomes.oldModelIntact ? 'yes' : 'NO'}`);
  if (values.json) console.log(JSON.stringify({ patchBytes, fullBytes, targetSha256, ...outcomes }));
  if (!Object.values(outcomes).every(Boolean)) process.exitCode = 1;
}

/** What a plain download of v2 costs, counted by the same server. */
async function fullDownload(server: PatchServer, model: Uint8Array, www: string): Promise<number> {
  writeFileSync(join(www, 'full'), model);
  server.resetCounters();
  await (await fetch(server.urlOf('full'))).arrayBuffer();
  return server.bodyBytes;
}

async function withoutSignature(
  desired: DesiredDocument,
  v1: string,
  v2: string,
  server: PatchServer,
  www: string,
): Promise<DesiredDocument> {
  const { patchSize } = await createPatch(v1, v2, join(www, 'unsigned'), {});
  return withPatch(desired, server.urlOf('unsigned'), patchSize);
}

/** The signed patch with one bit of its last byte changed. */
function withTamperedFile(desired: DesiredDocument, path: string, server: PatchServer, www: string): DesiredDocument {
  const bytes = readFileSync(path);
  bytes[bytes.length - 1] = bytes[bytes.length - 1]! ^ 1;
  writeFileSync(join(www, 'tampered'), bytes);
  return withPatch(desired, server.urlOf('tampered'), bytes.length);
}

function withPatch(desired: DesiredDocument, url: string, size: number): DesiredDocument {
  return { ...desired, patches: desired.patches.map((patch) => ({ ...patch, url, size })) };
}

try {
  await main();
} catch (error) {
  // Such as a file that is not there: what people need of it is the sentence.
  console.error(`demo: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
