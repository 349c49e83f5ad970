/**
 * The agent's configuration file: JSON, checked whole before anything starts. Unknown keys are refused, because a
 * misspelt limit that is silently ignored is worse than an agent that does not start.
 */
import { createHash } from 'node:crypto';
import { dirname, resolve } from 'node:path';
import * as z from 'zod';
import { DEFAULT_MAX_BUFFER_BYTES } from '../core/limits.js';
import { isBrokerUrl } from './broker-access.js';
import { MAX_CHILDREN, MAX_MODELS, MAX_STREAM_BLOCK_BYTES, MIN_STREAM_BLOCK_BYTES } from './limits.js';
import { LOG_LEVELS } from './log.js';
import { messageOf } from './message-of.js';
import { modelProblems } from './model-configs.js';
import { redactText } from './redact.js';
import { parseTimeWindow } from './time-windows.js';
import { DEFAULT_TOPIC_PREFIX, isTopicLevel, MAX_PREFIX_LENGTH } from './topics.js';
import type { TrustedKeys } from './trust-store.js';

const GIB = 1024 ** 3;
const SECOND_MS = 1000;

const deviceName = z
  .string()
  .min(1)
  .max(128)
  .refine(isTopicLevel, "must not contain '/', '+', '#' or NUL nor start with '$'");

const topicPrefix = z
  .string()
  .min(1)
  .max(MAX_PREFIX_LENGTH)
  .refine((text) => !/[+#\0]/.test(text), "must not contain '+', '#' or NUL")
  .refine((text) => text.split('/').every((level) => level !== ''), 'must not have empty levels');

const mqttUrl = z.string().refine(isBrokerUrl, 'expected a URL with mqtt:, mqtts:, ws: or wss:');

/** Part of file names too, on any file system. */
const unitName = z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, "expected 1 to 64 letters, digits, '.', '_' or '-'");

const path = z.string().min(1);
const bytes = z.number().int().min(1).max(Number.MAX_SAFE_INTEGER);
const durationMs = z
  .number()
  .int()
  .min(1)
  .max(24 * 3600 * SECOND_MS);

const mqttSchema = z.strictObject({
  url: mqttUrl,
  username: z.string().optional(),
  password: z.string().optional(),
  /** Default `mallorn-{device}`: the same at every start, so that the broker ends a dead session of ours. */
  clientId: z.string().min(1).max(256).optional(),
  /** PEM files, relative to the configuration file. */
  caPath: path.optional(),
  certPath: path.optional(),
  keyPath: path.optional(),
  /** 4 is MQTT 3.1.1, which every broker speaks; 5 lets the broker drop documents that are too large for us. */
  protocolVersion: z.union([z.literal(4), z.literal(5)]).default(4),
  keepaliveSeconds: z.number().int().min(5).max(3600).default(60),
  reconnectMinMs: durationMs.default(SECOND_MS),
  reconnectMaxMs: durationMs.default(120 * SECOND_MS),
  /** Patches whose address is `mqtt:STREAM-ID` come over this connection, from `mallorn streams`. Absent: such addresses are refused. */
  streams: z
    .strictObject({
      /** Asked for at a time; four are on their way at once. */
      blockBytes: z.number().int().min(MIN_STREAM_BLOCK_BYTES).max(MAX_STREAM_BLOCK_BYTES).default(16_384),
    })
    .optional(),
});

const limitsSchema = z.strictObject({
  /** Largest model this device takes. */
  maxTargetBytes: bytes.default(64 * GIB),
  /** Largest patch file that is downloaded at all. */
  maxPatchBytes: bytes.default(64 * GIB),
  /** Memory that a patch may ask the decoder to hold. */
  maxBufferBytes: bytes.default(DEFAULT_MAX_BUFFER_BYTES),
  /** Of several models; others wait. A server that is slow for one then keeps the others waiting too. Default: all at once. */
  maxParallelUpdates: z.number().int().min(1).max(MAX_MODELS).default(MAX_MODELS),
  /** Of the slots' file system, that have to stay free beside the new model. 0: what the slots themselves need. */
  minFreeBytes: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
});

/** A time of day, on all days or on some: `22:00-05:30`, `mon-fri 02:00-04:00`, `sat,sun 00:00-24:00`. */
const timeWindow = z.string().transform((text, context) => {
  const window = parseTimeWindow(text);
  if (window !== null) return window;
  context.addIssue({ code: 'custom', message: 'expected a window like 22:00-05:30 or mon-fri 02:00-04:00' });
  return z.NEVER;
});

const windowsSchema = z.strictObject({
  /** Whose clock the times below are read from: the device's time zone (TZ, /etc/localtime) or UTC. */
  timeZone: z.enum(['local', 'utc']).default('local'),
  /** Outside of these nothing is downloaded: an update that runs out of them is parked and goes on in the next. Absent: always. */
  download: z.array(timeWindow).min(1).max(32).optional(),
  /** Outside of these no switch is made: the new model waits, whole, in the other slot. Absent: always. */
  apply: z.array(timeWindow).min(1).max(32).optional(),
});

const retrySchema = z.strictObject({
  /** Attempts at one document that get no further than any before; then the agent gives up until it changes. */
  maxAttempts: z.number().int().min(1).max(1000).default(12),
  minDelayMs: durationMs.default(5 * SECOND_MS),
  maxDelayMs: durationMs.default(3600 * SECOND_MS),
  /** Within one attempt: broken transfers in a row that got nowhere (`minBytesPerSecond`) and are taken up again at once. */
  maxResumes: z.number().int().min(0).max(100).default(4),
  resumeDelayMs: durationMs.default(500),
  /** A server that sends nothing for this long is given up. */
  stallTimeoutMs: durationMs.default(30 * SECOND_MS),
  /** One that sends less on average, over that time, is given up too. Below what any link of a gateway brings. 0: any. */
  minBytesPerSecond: z.number().int().min(0).max(1024).default(10),
});

const argv = z.array(z.string().max(4096)).min(1).max(64);

const unmeteredSchema = z.strictObject({
  /** Program and arguments, without a shell. It ends with code 0 where the connection costs nothing by the byte. */
  command: argv,
  /** Asked this often while an update depends on it. */
  intervalMs: durationMs.default(60 * SECOND_MS),
  timeoutMs: durationMs.default(10 * SECOND_MS),
});

/** Exactly one of command, url and file. */
const healthSchema = z.strictObject({
  /** Program and arguments, without a shell. Healthy: it ends with code 0. */
  command: argv.optional(),
  /** Healthy: it answers a GET with 2xx. */
  url: z
    .string()
    .refine((text) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol), 'expected an http or https URL')
    .optional(),
  /** Healthy: the application has written or touched it since the switch. */
  file: path.optional(),
  /** Asked again and again until it is healthy or this is over. */
  timeoutMs: durationMs.default(60 * SECOND_MS),
  intervalMs: durationMs.default(SECOND_MS),
  /** Starts of the agent that a trial may take; one more and the model is given up. 0: the agent must not die in a trial. */
  trialBoots: z.number().int().min(0).max(100).default(3),
});

/** Commands (program and arguments, no shell) that tell the application; see docs/agent.md for what each is told and when. */
const hooksSchema = z.strictObject({
  /** Before a download begins. Any code but 0 puts the update off. */
  preApply: argv.optional(),
  /** After the switch to a model on trial, before it is asked how it is. Any code but 0 ends the trial. */
  postActivate: argv.optional(),
  postCommit: argv.optional(),
  postRollback: argv.optional(),
  timeoutMs: durationMs.default(60 * SECOND_MS),
});

/** How the application learns that another model is active; docs/operations.md. */
const notifySchema = z.strictObject({
  /** JSON, replaced atomically: model, sha256, version and path of the active model. For whoever watches files. */
  file: path.optional(),
  /** Sent to the process whose id stands in `pidFile`; it must be one of the agent's own user. */
  signal: z.enum(['SIGHUP', 'SIGUSR1', 'SIGUSR2']).optional(),
  pidFile: path.optional(),
});

const family = z.string().min(1).max(32);
const deviceClass = z.string().min(1).max(32);

const modelSchema = z.strictObject({
  /** Names the model in topics and in files of the state folder. */
  name: unitName,
  slots: path,
  family: family.optional(),
  deviceClass: deviceClass.optional(),
  health: healthSchema.optional(),
  hooks: hooksSchema.optional(),
  notify: notifySchema.optional(),
});

const childSchema = z.strictObject({
  /** Names the child in topics and in files of the state folder. */
  name: unitName,
  /** Path of a serial port, or tcp://HOST:PORT of a serial server. */
  port: z.string().min(1).max(1024),
  baud: z.number().int().min(50).max(20_000_000).default(115_200),
  model: z.strictObject({ name: z.string().min(1).max(128) }),
  /** With `aws-iot-jobs`, and only then: the thing that its jobs are for. */
  thing: deviceName.optional(),
  /** Without it a new model is good when the device still answers after the switch. No `file`. */
  health: healthSchema.optional(),
  hooks: hooksSchema.prefault({}),
});

export const configSchema = z.strictObject({
  /** Names this device in every topic. */
  device: deviceName,
  mqtt: mqttSchema,
  topicPrefix: topicPrefix.default(DEFAULT_TOPIC_PREFIX),
  /**
   * Who says what to install: the retained `desired` document; jobs from `mallorn jobs` or another responder; or AWS IoT Jobs on
   * its reserved topics, where `device` is the name of the thing.
   */
  protocol: z.enum(['desired', 'jobs', 'aws-iot-jobs']).default('desired'),
  /** The one model this agent keeps; or `models`. */
  model: z
    .strictObject({
      name: z.string().min(1).max(128),
      /** Folder of the two slots, relative to the configuration file. */
      slots: path,
    })
    .optional(),
  /** Several models, each with its own slots, state and topics. What an entry leaves out is as for the whole agent. */
  models: z.array(modelSchema).min(1).max(MAX_MODELS).optional(),
  /** Microcontrollers on serial lines of this machine, each kept at its version over SMP (docs/serial.md). */
  children: z.array(childSchema).max(MAX_CHILDREN).default([]),
  /** Folder of the agent's own state; default: `agent-state` beside the configuration file. */
  stateFolder: path.default('agent-state'),
  /** Public keys: 32 raw bytes, PEM or a line of OpenSSH each. This agent never installs what nobody it trusts has signed: at least one, or `trust`. */
  trustedKeys: z.array(path).min(1).max(16).optional(),
  /** In their place: a trust file, whose roots name the keys and may change them (docs/trust.md). */
  trust: z
    .strictObject({
      root: path,
      /** `none`: nobody vouches for this device's clock, so that nothing ever expires on it; versions and counters hold. */
      clock: z.enum(['trusted', 'none']).default('trusted'),
    })
    .optional(),
  /** Where set, a patch for another model family is refused. */
  family: family.optional(),
  /** Where set, a patch for another device class is refused. */
  deviceClass: deviceClass.optional(),
  limits: limitsSchema.prefault({}),
  /**
   * Whether a device without a matching patch downloads the whole model. `ask`: an operator has to say yes; `unmetered`: once the
   * command below says so. What it does, or waits for, stands in `reported`.
   */
  fullImage: z.enum(['never', 'ask', 'unmetered', 'always']).default('never'),
  unmetered: unmeteredSchema.optional(),
  /** What waits for an operator: the download, the switch, or both. The answer is a message on `cmd/consent`, or given on the device. */
  consent: z
    .array(z.enum(['download', 'activate']))
    .max(2)
    .default([]),
  windows: windowsSchema.prefault({}),
  /** On average over all downloads of this agent. Absent: as fast as it comes. */
  maxBytesPerSecond: z.number().int().min(1024).max(Number.MAX_SAFE_INTEGER).optional(),
  /** false: the space of the model before is given back once the new one stays, and there is no rollback by hand then. */
  keepPrevious: z.boolean().default(true),
  /** `name` or `*.domain`. Without it any host may serve patches. */
  allowedHosts: z.array(z.string().min(1)).optional(),
  /** Plain http to other hosts than this one. Loopback is always allowed. */
  allowInsecureHttp: z.boolean().default(false),
  retry: retrySchema.prefault({}),
  /** Without it a new model is good as soon as it is switched to. */
  health: healthSchema.optional(),
  hooks: hooksSchema.prefault({}),
  /** Of several models each needs its own: what they share here would be the same file. */
  notify: notifySchema.optional(),
  log: z
    .strictObject({
      /** The least that is written. */
      level: z.enum(LOG_LEVELS).default('info'),
      /** false where whoever takes the lines puts a time to each, as journald does. */
      timestamps: z.boolean().default(true),
    })
    .prefault({}),
  /** Prometheus' text at http://127.0.0.1:PORT/metrics, for this machine alone. */
  metrics: z.strictObject({ port: z.number().int().min(1).max(65535) }).optional(),
  /** Home Assistant finds this device: a discovery document for each model under its prefix, and its install button is heard. */
  homeAssistant: z.strictObject({ prefix: topicPrefix.default('homeassistant') }).optional(),
});

export type AgentConfig = z.infer<typeof configSchema>;

export type ChildConfig = AgentConfig['children'][number];

/** As if its model were the agent's only one. */
export type ModelConfig = AgentConfig & { readonly model: NonNullable<AgentConfig['model']> };

/** Every problem of the file, one per line, each with its path in the document. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly string[];

  constructor(fileName: string, problems: readonly string[]) {
    super(`${fileName}:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
    this.problems = problems;
  }
}

/** Checks the text of a configuration file and makes its paths absolute, from the file's own folder. */
export function parseConfig(text: string, fileName: string): AgentConfig {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ConfigError(fileName, [`not JSON: ${messageOf(error)}`]);
  }
  const parsed = configSchema.safeParse(value);
  if (!parsed.success) {
    throw new ConfigError(
      fileName,
      parsed.error.issues.flatMap((issue) => describe(issue, value)),
    );
  }
  const problems = crossChecks(parsed.data);
  if (problems.length > 0) throw new ConfigError(fileName, problems);
  return withAbsolutePaths(parsed.data, dirname(resolve(fileName)));
}

function describe(issue: z.core.$ZodIssue, document: unknown): string[] {
  const at = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => `${[...at, key].join('.')}: unknown key`);
  }
  const where = at.join('.') || '(document)';
  const got = valueAt(document, issue.path);
  // A value under a name like this is a secret, and messages end up in logs.
  const shown = /password/i.test(where) ? typeof got : withoutUser(JSON.stringify(got) ?? 'nothing');
  return [
    `${where}: ${issue.message.replace(/^Invalid input: /, '')}, got ${shown.slice(0, 120)}`.replace(
      /, received [^,]+,/,
      ',',
    ),
  ];
}

/** A URL that is none cannot be taken apart, and may hold a password nevertheless. */
function withoutUser(text: string): string {
  return redactText(text.includes('@') && text.includes('/') ? text.replace(/[^"/]*@/g, '***@') : text);
}

function valueAt(document: unknown, path: readonly PropertyKey[]): unknown {
  let value = document;
  for (const key of path) value = (value as Record<PropertyKey, unknown> | undefined)?.[key];
  return value;
}

function crossChecks(config: AgentConfig): string[] {
  const problems: string[] = [];
  const { mqtt, retry } = config;
  if ((config.trustedKeys === undefined) === (config.trust === undefined)) {
    problems.push('trustedKeys: expected either trustedKeys or trust, got both or neither');
  }
  problems.push(...modelProblems(config));
  if ((config.fullImage === 'unmetered') !== (config.unmetered !== undefined)) {
    problems.push('unmetered: goes with fullImage "unmetered", got only one of them');
  }
  if ((mqtt.certPath === undefined) !== (mqtt.keyPath === undefined)) {
    problems.push('mqtt: certPath and keyPath go together, got only one of them');
  }
  if (mqtt.streams !== undefined && config.protocol === 'aws-iot-jobs') {
    problems.push('mqtt.streams: not with protocol "aws-iot-jobs", which allows its reserved topics alone');
  }
  if (mqtt.reconnectMinMs > mqtt.reconnectMaxMs) problems.push('mqtt.reconnectMinMs: larger than reconnectMaxMs');
  if (retry.minDelayMs > retry.maxDelayMs) problems.push('retry.minDelayMs: larger than maxDelayMs');
  return problems;
}

function withAbsolutePaths(config: AgentConfig, folder: string): AgentConfig {
  const absolute = (file: string) => resolve(folder, file);
  const { caPath, certPath, keyPath } = config.mqtt;
  return {
    ...config,
    mqtt: {
      ...config.mqtt,
      ...(caPath === undefined ? {} : { caPath: absolute(caPath) }),
      ...(certPath === undefined ? {} : { certPath: absolute(certPath) }),
      ...(keyPath === undefined ? {} : { keyPath: absolute(keyPath) }),
    },
    ...(config.model === undefined ? {} : { model: { ...config.model, slots: absolute(config.model.slots) } }),
    ...(config.models === undefined ? {} : { models: config.models.map((model) => absoluteModel(model, absolute)) }),
    stateFolder: absolute(config.stateFolder),
    ...absoluteHealth(config.health, absolute),
    ...absoluteNotify(config.notify, absolute),
    ...(config.trustedKeys === undefined ? {} : { trustedKeys: config.trustedKeys.map(absolute) }),
    ...(config.trust === undefined ? {} : { trust: { ...config.trust, root: absolute(config.trust.root) } }),
  };
}

type Health = NonNullable<AgentConfig['health']>;
type ModelEntry = NonNullable<AgentConfig['models']>[number];

function absoluteModel(model: ModelEntry, absolute: (file: string) => string): ModelEntry {
  const { health, notify } = model;
  return {
    ...model,
    slots: absolute(model.slots),
    ...absoluteHealth(health, absolute),
    ...absoluteNotify(notify, absolute),
  };
}

function absoluteHealth(health: Health | undefined, absolute: (file: string) => string): { health?: Health } {
  return health?.file === undefined ? {} : { health: { ...health, file: absolute(health.file) } };
}

type Notify = NonNullable<AgentConfig['notify']>;

function absoluteNotify(notify: Notify | undefined, absolute: (file: string) => string): { notify?: Notify } {
  if (notify === undefined) return {};
  const { file, pidFile } = notify;
  return {
    notify: {
      ...notify,
      ...(file === undefined ? {} : { file: absolute(file) }),
      ...(pidFile === undefined ? {} : { pidFile: absolute(pidFile) }),
    },
  };
}

/** A digest of everything that can turn a refusal into consent: keys, limits and policies, not addresses or delays. */
export function policyId(config: ModelConfig, { trustedKeys, imageKeys }: TrustedKeys): string {
  const { model, mqtt, family, deviceClass, limits, fullImage, allowedHosts, allowInsecureHttp, health } = config;
  const hash = createHash('sha256');
  hash.update(
    JSON.stringify([model.name, family, deviceClass, limits, fullImage, allowedHosts, allowInsecureHttp, health]),
  );
  if (mqtt.streams !== undefined) hash.update('streams');
  hash.update(`${trustedKeys.length}`);
  for (const key of [...trustedKeys, ...imageKeys]) hash.update(key);
  return hash.digest('hex').slice(0, 32);
}
