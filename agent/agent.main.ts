/**
 * Puts the agent together on Node. The same bundle is main program and apply worker; its entry calls `serveApplyWorker`
 * before anything else.
 */
import { join } from 'node:path';
import type { FolderLock } from '../targets/node/folder-lock.js';
import type { SlotDirectory } from '../targets/node/slot-directory.js';
import { ApplyTurns } from './apply-turns.js';
import { birthDocument } from './compose/birth.js';
import { countBoot } from './compose/boot-count.js';
import { startChildUnit } from './compose/child-unit.js';
import { openTrust, readTlsFiles, type TlsFiles } from './compose/configured-files.js';
import { type Jobs, openJobs } from './compose/jobs.js';
import { openModelSlots } from './compose/model-slots.js';
import { createModelUnit } from './compose/model-unit.js';
import { Operations } from './compose/operations.js';
import { lockStateFolder } from './compose/state-folder.js';
import { openStreams } from './compose/streams.js';
import type { UnitOptions } from './compose/unit-options.js';
import type { AgentConfig, ModelConfig } from './config.js';
import { parseConsent } from './consent.js';
import { JsonFile } from './json-file.js';
import type { Log } from './log.js';
import { modelConfigs } from './model-configs.js';
import { MqttLink } from './mqtt-link.js';
import { TokenBucket } from './pace.js';
import type { Reported } from './reported.js';
import { deviceTopics, modelTopics } from './topics.js';
import type { KeySource } from './trust-store.js';
import type { Unit } from './unit.js';

export { serveApplyWorker } from './compose/apply-role.js';
export { checkFiles, loadConfig } from './compose/configured-files.js';

export interface StartOptions {
  readonly config: AgentConfig;
  /** Version of this program, for the birth document. */
  readonly agentVersion: string;
  /** File that calls `serveApplyWorker` when it runs as a worker: the bundle itself. */
  readonly workerEntry: URL;
  readonly log: Log;
  /** By name of the model: path of one for a device that has none yet, see openModelSlots. */
  readonly factoryModels?: ReadonlyMap<string, string>;
  /** This process ran an agent before and only its configuration changed: no start that a model on trial has to answer for. */
  readonly again?: boolean;
  /** Told of every report of every unit. */
  readonly onReported?: (reported: Reported) => void;
  /** See LinkOptions; tests set them. */
  readonly desiredGraceMs?: number;
  readonly progressIntervalMs?: number;
  /** See ConditionOptions; tests set them. */
  readonly now?: () => Date;
  readonly tickMs?: number;
}

export interface RunningAgent {
  readonly units: readonly Unit[];
  readonly link: MqttLink;
  /** Parks the updates, says good-bye to the broker and lets go of the slots. May be called again. */
  stop(): Promise<void>;
}

/** @throws ConfigError for keys and certificates that cannot be used, IoError when slots cannot be owned or are damaged. */
export async function startAgent(options: StartOptions): Promise<RunningAgent> {
  const { config, factoryModels, again = false, log } = options;
  const trust = await openTrust(config, log);
  const tls = await readTlsFiles(config);
  const lock = await lockStateFolder(config.stateFolder, log);
  const opened: OpenModel[] = [];
  try {
    for (const own of modelConfigs(config)) {
      const { name, slots: folder } = own.model;
      const slots = openModelSlots({
        folder,
        factoryModel: factoryModels?.get(name),
        countsBoot: !again,
        keepPrevious: config.keepPrevious,
        log: logOf(options, name),
      });
      opened.push({ config: own, slots });
    }
    return await compose(options, trust, tls, opened, lock);
  } catch (error) {
    for (const { slots } of opened) slots.close();
    lock?.release();
    throw error;
  }
}

interface OpenModel {
  readonly config: ModelConfig;
  readonly slots: SlotDirectory;
}

async function compose(
  options: StartOptions,
  trust: KeySource,
  tls: TlsFiles,
  opened: readonly OpenModel[],
  lock: FolderLock | null,
): Promise<RunningAgent> {
  const { config, agentVersion, workerEntry, log, desiredGraceMs, progressIntervalMs, now, tickMs } = options;
  const { device, topicPrefix, stateFolder, protocol } = config;
  const isOnly = config.models === undefined;
  const bootCount = await countBoot(new JsonFile(join(stateFolder, 'boots.json')), log);
  let link: MqttLink | null = null;
  const models: Unit[] = [];
  const pace = config.maxBytesPerSecond === undefined ? undefined : new TokenBucket(config.maxBytesPerSecond);
  const operations = await Operations.load({ config, agentVersion, log, units: () => units, link: () => link });
  const jobs = await openJobs({ config, bootCount, units: () => models, link: () => link, log });
  const streams = openStreams(config, () => link);
  const times = { ...(now === undefined ? {} : { now }), ...(tickMs === undefined ? {} : { tickMs }) };
  const shared = { pace, streams: streams ?? undefined, trust, ...times };
  const turns = new ApplyTurns(config.limits.maxParallelUpdates);
  for (const { config: own, slots } of opened) {
    const { name } = own.model;
    const unit: Unit = createModelUnit({
      config: own,
      slots,
      statePath: join(stateFolder, isOnly ? 'state.json' : `state-${name}.json`),
      noticePath: join(stateFolder, isOnly ? 'notified.json' : `notified-${name}.json`),
      onBytes: (count) => operations.downloaded(name, count),
      topics: isOnly ? deviceTopics(topicPrefix, device) : modelTopics(topicPrefix, device, name),
      hearsDesired: jobs === null,
      ...shared,
      workerEntry,
      turns,
      onState: (state) => {
        operations.observe(name, state);
        jobs?.client.observe(state);
      },
      publish: (reported) => {
        link?.publishReported(unit, reported);
        options.onReported?.(reported);
        jobs?.router.tellProgress(jobs.client, name, reported);
      },
      log: logOf(options, name),
    });
    models.push(unit);
  }
  // Only when all are there: an order is for one of them.
  for (const { name, runtime } of models) {
    await runtime.start({ forgetWish: jobs !== null && !jobs.router.isBusyFor(jobs.client, name) });
    const { installed_version: version, sha256 } = runtime.reported();
    logOf(options, name)('info', 'agent started', { device, version, sha256 });
  }
  const children = await startChildren(options, bootCount, shared, operations, () => link);
  const units = [...models, ...children.map(({ unit }) => unit)];
  const startedLink = new MqttLink({
    ...config.mqtt,
    ...tls,
    clientId: config.mqtt.clientId ?? defaultClientId(config),
    topics: deviceTopics(topicPrefix, device),
    units,
    bootCount,
    ...(desiredGraceMs === undefined ? {} : { desiredGraceMs }),
    ...(progressIntervalMs === undefined ? {} : { progressIntervalMs }),
    birth: () => birthDocument(config, agentVersion, trust, units),
    channels: [jobs, ...children.map((child) => child.jobs), streams].flatMap((client) =>
      client === null ? [] : [client.channel],
    ),
    announces: protocol !== 'aws-iot-jobs',
    onConsent: asksAnybody(config) ? (payload) => consent(payload, units, log) : null,
    ...operations.linkParts,
    log,
  });
  link = startedLink;
  for (const unit of units) startedLink.publishReported(unit, unit.runtime.reported());
  await operations.open(lock !== null);
  let stopping: Promise<void> | null = null;
  const stop = async (): Promise<void> => {
    // One that has to wait for its thread must not keep the others from parking.
    await Promise.all(units.map((unit) => unit.stop()));
    await jobs?.client.stop();
    await startedLink.close();
    // Its files are written until nobody says anything any more.
    await operations.close();
    await trust.settled();
    lock?.release();
  };
  return {
    units,
    link: startedLink,
    stop: () => {
      stopping ??= stop();
      return stopping;
    },
  };
}

function asksAnybody({ consent, fullImage }: AgentConfig): boolean {
  return consent.length > 0 || fullImage === 'ask';
}

/** To all of them: a target is one model's. */
function consent(payload: Uint8Array, units: readonly Unit[], log: Log): void {
  const parsed = parseConsent(payload);
  if (parsed.kind === 'unreadable') log('warn', parsed.message);
  else for (const { runtime } of units) runtime.consent(parsed.consent);
}

interface StartedChild {
  readonly unit: Unit;
  /** Null where its wishes come as retained documents. */
  readonly jobs: Jobs | null;
}

async function startChildren(
  { config, log }: StartOptions,
  bootCount: number,
  shared: Omit<UnitOptions, 'config' | 'log'>,
  operations: Operations,
  link: () => MqttLink | null,
): Promise<StartedChild[]> {
  const { children, stateFolder } = config;
  if (children.length === 0) return [];
  // Loaded on demand: few gateways talk to microcontrollers.
  const serial = await import('../targets/serial-mcu/index.js');
  const started: StartedChild[] = [];
  try {
    for (const child of children) {
      const statePath = join(stateFolder, `child-${child.name}.json`);
      const childLog: Log = (level, message, fields) => log(level, message, { child: child.name, ...fields });
      let unit: Unit | null = null;
      const units = () => (unit === null ? [] : [unit]);
      const jobs = await openJobs({ config, child, bootCount, units, link, log: childLog });
      const parts = { config, child, serial, statePath, jobs, link, operations, log: childLog };
      unit = await startChildUnit({ ...shared, ...parts });
      started.push({ unit, jobs });
    }
    return started;
  } catch (error) {
    await Promise.all(started.map(({ unit }) => unit.stop()));
    throw error;
  }
}

/** Lines of one among several models say of which. */
function logOf({ config, log }: StartOptions, model: string): Log {
  return config.models === undefined ? log : (level, message, fields) => log(level, message, { model, ...fields });
}

/** AWS's default policies let a thing connect under its own name alone. */
function defaultClientId({ protocol, device }: AgentConfig): string {
  return protocol === 'aws-iot-jobs' ? device : `mallorn-${device}`;
}
