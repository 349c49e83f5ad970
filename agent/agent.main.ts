/**
 * Puts the agent together on Node: the one place in it that names adapters. The same bundle is main program and apply
 * worker; its entry calls `serveApplyWorker` before anything else.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { IoError } from '../core/errors.js';
import { toHex } from '../core/hex.js';
import { NodeHasher, NodeSignatureVerifier } from '../targets/node/hashing.js';
import { readPublicKey as readPublicKeyForm } from '../targets/node/key-files.js';
import { SlotDirectory } from '../targets/node/slot-directory.js';
import { createDecompressor } from '../targets/node/zstd-decompressor.js';
import { LocalApplication } from './application.js';
import { APPLY_ROLE, type ApplyRequest, type ApplyWorkerData } from './apply-messages.js';
import { ApplyThread } from './apply-thread.js';
import { ApplyServer } from './apply-worker.js';
import { type AgentConfig, ConfigError, parseConfig, policyId } from './config.js';
import { JobClient } from './jobs/job-client.js';
import { awsJobRoot, jobTopics, mallornJobRoot } from './jobs/job-messages.js';
import { JsonFile } from './json-file.js';
import type { Log } from './log.js';
import { type JobChannel, MqttLink } from './mqtt-link.js';
import { AgentRuntime } from './runtime.js';
import { deviceTopics } from './topics.js';
import { distinctKeys, fixedKeys, type KeySource, TrustStore } from './trust-store.js';

/** Model formats whose patches this agent applies: all of them, since a patch carries what its format needs. */
const FORMATS = ['TFLite', 'GGUF', 'ONNX', 'SafeTensors', 'ESPDL', 'Binary'];

export interface StartOptions {
  readonly config: AgentConfig;
  /** Version of this program, for the birth document. */
  readonly agentVersion: string;
  /** File that calls `serveApplyWorker` when it runs as a worker: the bundle itself. */
  readonly workerEntry: URL;
  readonly log: Log;
  /**
   * Path of the model for a device that has none: the slots folder is made and the model installed. Where there is one
   * already it stays. Absent: a slots folder that is missing is an error, since an unmounted data partition looks like that.
   */
  readonly factoryModel?: string;
  /** See LinkOptions; tests set them. */
  readonly desiredGraceMs?: number;
  readonly progressIntervalMs?: number;
}

export interface RunningAgent {
  readonly runtime: AgentRuntime;
  readonly link: MqttLink;
  /** Parks the update, says good-bye to the broker and lets go of the slots. May be called again. */
  stop(): Promise<void>;
}

/** In the apply worker's thread: serves it and returns true. Anywhere else: false at once. */
export function serveApplyWorker(): boolean {
  const data = workerData as Partial<ApplyWorkerData> | null;
  if (isMainThread || data?.role !== APPLY_ROLE || parentPort === null) return false;
  const { slotsFolder, rules } = data as ApplyWorkerData;
  const port = parentPort;
  const openPorts = () => ({
    // The main thread holds the folder's lock for the whole process.
    slots: SlotDirectory.open(slotsFolder, { lock: 'held' }),
    hasher: new NodeHasher(),
    verifier: new NodeSignatureVerifier(),
    decompressor: createDecompressor(),
  });
  const server = new ApplyServer(openPorts, rules, (message) => port.postMessage(message));
  port.on('message', (request: ApplyRequest) => server.handle(request));
  return true;
}

/** @throws ConfigError, IoError when the file cannot be read. */
export async function loadConfig(path: string): Promise<AgentConfig> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new IoError(`cannot read the configuration: ${messageOf(cause)}`, { cause });
  }
  return parseConfig(text, path);
}

/** @throws ConfigError for keys and certificates that cannot be used, IoError when the slots cannot be owned or are damaged. */
export async function startAgent(options: StartOptions): Promise<RunningAgent> {
  const { config } = options;
  const trust = await openTrust(options);
  const tls = await readTlsFiles(config);
  const slots = openSlots(options);
  try {
    installFactoryModel(options, slots);
    countTrialBoot(options, slots);
    return await compose(options, trust, tls, slots);
  } catch (error) {
    slots.close();
    throw error;
  }
}

function openSlots({ config: { model }, factoryModel }: StartOptions): SlotDirectory {
  if (factoryModel !== undefined) return SlotDirectory.open(model.slots, { create: true });
  if (existsSync(model.slots)) return SlotDirectory.open(model.slots);
  throw new IoError(`expected the slots folder ${model.slots}, got nothing there: \`--install MODEL\` makes it`);
}

/** Reads the whole model on this thread: nothing else has begun yet. */
function installFactoryModel({ factoryModel, log }: StartOptions, slots: SlotDirectory): void {
  if (factoryModel === undefined) return;
  const kept = slots.active();
  const { sha256, size } = kept ?? slots.install(factoryModel);
  const message = kept === null ? 'factory model installed' : 'factory model not needed: there is a model already';
  log('info', message, { path: factoryModel, active: { sha256: toHex(sha256), size } });
}

/** A start that cannot be counted is made nevertheless: to end the trial the same disk would have to be written. */
function countTrialBoot({ log }: StartOptions, slots: SlotDirectory): void {
  try {
    slots.countTrialBoot();
  } catch (error) {
    log('error', 'cannot count this start of a model on trial', { error: messageOf(error) });
  }
}

function applicationOf({ model, health, hooks }: AgentConfig, slots: SlotDirectory, log: Log): LocalApplication {
  const { timeoutMs: hookTimeoutMs, ...commands } = hooks;
  const { currentPath } = slots;
  const rules = { modelName: model.name, currentPath, health: health ?? null, hooks: commands, hookTimeoutMs };
  return new LocalApplication(rules, log);
}

type TlsFiles = Partial<Record<'ca' | 'cert' | 'key', Uint8Array>>;

async function compose(
  { config, agentVersion, workerEntry, log, ...timing }: StartOptions,
  trust: KeySource,
  tls: TlsFiles,
  slots: SlotDirectory,
): Promise<RunningAgent> {
  const bootCount = await countBoot(new JsonFile(join(config.stateFolder, 'boots.json')), log);
  let link: MqttLink | null = null;
  const jobs = await openJobs(
    config,
    bootCount,
    () => runtime,
    () => link,
    log,
  );
  const runtime: AgentRuntime = new AgentRuntime({
    settings: {
      model: config.model.name,
      fullImage: config.fullImage,
      maxPatchBytes: config.limits.maxPatchBytes,
      allowedHosts: config.allowedHosts ?? null,
      allowInsecureHttp: config.allowInsecureHttp,
      // Asked anew each time: a trust file that arrives, or a key that expires, changes what is refused.
      get policyId() {
        return policyId(config, trust.keys());
      },
      retry: config.retry,
      trialBoots: config.health?.trialBoots ?? 0,
    },
    limits: config.retry,
    stateFile: new JsonFile(join(config.stateFolder, 'state.json')),
    openSession: (onProgress) => new ApplyThread(workerEntry, workerDataFor(config), () => trust.keys(), onProgress),
    application: applicationOf(config, slots, log),
    onTrust: (chain) => trust.offer(chain),
    onState: (state) => jobs?.client.observe(state),
    publish: (reported) => {
      link?.publishReported(reported);
      jobs?.client.tellProgress(reported);
    },
    log,
  });
  await runtime.start({ forgetWish: jobs !== null && !jobs.client.hasOpenJob });
  const { installed_version: version, sha256 } = runtime.reported();
  log('info', 'agent started', { device: config.device, version, sha256 });
  const startedLink = new MqttLink({
    ...config.mqtt,
    ...tls,
    clientId: config.mqtt.clientId ?? defaultClientId(config),
    topics: deviceTopics(config.topicPrefix, config.device),
    bootCount,
    ...timing,
    birth: () => birthDocument(config, agentVersion, trust, runtime),
    onDesired: jobs === null ? (payload) => runtime.desired(payload) : null,
    ...(jobs === null ? {} : { jobs: jobs.channel }),
    announces: config.protocol !== 'aws-iot-jobs',
    log,
  });
  link = startedLink;
  startedLink.publishReported(runtime.reported());
  let stopping: Promise<void> | null = null;
  const stop = async (): Promise<void> => {
    await runtime.stop();
    await jobs?.client.stop();
    await startedLink.close();
    await trust.settled();
    slots.close();
  };
  return {
    runtime,
    link: startedLink,
    stop: () => {
      stopping ??= stop();
      return stopping;
    },
  };
}

/** AWS's default policies let a thing connect under its own name alone. */
function defaultClientId({ protocol, device }: AgentConfig): string {
  return protocol === 'aws-iot-jobs' ? device : `mallorn-${device}`;
}

interface Jobs {
  readonly client: JobClient;
  readonly channel: JobChannel;
}

/** Null where wishes come as retained documents. */
async function openJobs(
  { protocol, device, topicPrefix, stateFolder }: AgentConfig,
  bootCount: number,
  runtime: () => AgentRuntime,
  link: () => MqttLink | null,
  log: Log,
): Promise<Jobs | null> {
  if (protocol === 'desired') return null;
  const isAws = protocol === 'aws-iot-jobs';
  const topics = jobTopics(isAws ? awsJobRoot(device) : mallornJobRoot(topicPrefix, device));
  const client = await JobClient.load({
    topics,
    file: new JsonFile(join(stateFolder, 'jobs.json')),
    bootCount,
    send: (topic, document, qos) => link()?.send(topic, document, qos),
    wish: (payload, origin) => runtime().desired(payload, origin),
    tellsProgress: !isAws,
    log,
  });
  const channel: JobChannel = {
    filters: topics.filters,
    connected: () => client.connected(),
    disconnected: () => client.disconnected(),
    receive: (topic, payload) => client.receive(topic, payload),
  };
  return { client, channel };
}

function workerDataFor(config: AgentConfig): ApplyWorkerData {
  return {
    role: APPLY_ROLE,
    slotsFolder: config.model.slots,
    rules: {
      family: config.family ?? null,
      deviceClass: config.deviceClass ?? null,
      maxTargetBytes: config.limits.maxTargetBytes,
      maxBufferBytes: config.limits.maxBufferBytes,
      trial: config.health !== undefined,
    },
  };
}

function birthDocument(
  config: AgentConfig,
  agentVersion: string,
  trust: KeySource,
  runtime: AgentRuntime,
): Record<string, unknown> {
  const { model, installed_version: version, sha256 } = runtime.reported();
  return {
    agentVersion,
    formats: FORMATS,
    ramBytes: totalmem(),
    slots: 2,
    trustedKeys: distinctKeys(trust.keys()).map(keyIdHex),
    ...(trust.version === null ? {} : { trustVersion: trust.version }),
    children: [],
    models: sha256 === null ? [] : [{ model, version, sha256 }],
    ...(config.family === undefined ? {} : { family: config.family }),
    ...(config.deviceClass === undefined ? {} : { deviceClass: config.deviceClass }),
  };
}

/** As in a signature block: the first 8 bytes of the key's SHA-256. */
function keyIdHex(publicKey: Uint8Array): string {
  return createHash('sha256').update(publicKey).digest('hex').slice(0, 16);
}

/** A disk that is full must not keep the agent from saying so: the number is then only used twice. */
async function countBoot(file: JsonFile, log: Log): Promise<number> {
  const saved = (await file.load()) as { boots?: unknown } | undefined;
  const boots = (Number.isSafeInteger(saved?.boots) ? (saved?.boots as number) : 0) + 1;
  try {
    await file.save({ boots });
  } catch (error) {
    log('error', 'cannot count this start', { error: messageOf(error) });
  }
  return boots;
}

/** @throws ConfigError, TrustError for a pinned file that is not sound, IoError for a damaged store */
async function openTrust({ config, log }: StartOptions): Promise<KeySource> {
  const { trust, trustedKeys = [], stateFolder } = config;
  if (trust === undefined) return fixedKeys(await Promise.all(trustedKeys.map(readPublicKey)));
  return TrustStore.open({
    pinned: await readConfigured('trust.root', trust.root),
    path: join(stateFolder, 'trust.json'),
    verifier: new NodeSignatureVerifier(),
    now: () => (trust.clock === 'none' ? null : `${new Date().toISOString().slice(0, 19)}Z`),
    log,
  });
}

async function readPublicKey(path: string): Promise<Uint8Array> {
  const bytes = await readConfigured('trustedKeys', path);
  try {
    return readPublicKeyForm(bytes);
  } catch (error) {
    throw new ConfigError('trustedKeys', [`${path}: ${messageOf(error)}`]);
  }
}

async function readTlsFiles(config: AgentConfig): Promise<TlsFiles> {
  const { caPath, certPath, keyPath } = config.mqtt;
  const files: TlsFiles = {};
  if (caPath !== undefined) files.ca = await readConfigured('mqtt.caPath', caPath);
  if (certPath !== undefined) files.cert = await readConfigured('mqtt.certPath', certPath);
  if (keyPath !== undefined) files.key = await readConfigured('mqtt.keyPath', keyPath);
  return files;
}

async function readConfigured(what: string, path: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await readFile(path));
  } catch (error) {
    throw new ConfigError(what, [`${path}: ${messageOf(error)}`]);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
