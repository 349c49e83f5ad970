/** What people and other programs see of the agent and can ask of it: history, control socket, metrics, Home Assistant. */
import { join } from 'node:path';
import { toHex } from '../../core/hex.js';
import type { SlotContents } from '../../core/ports.js';
import type { AgentConfig } from '../config.js';
import type { ConsentScope } from '../consent.js';
import { discoveryOf, INSTALL_PAYLOAD } from '../home-assistant.js';
import { JsonFile } from '../json-file.js';
import type { Log } from '../log.js';
import type { State } from '../machine-types.js';
import { messageOf } from '../message-of.js';
import type { LinkOptions, MqttLink } from '../mqtt-link.js';
import { AgentMetrics } from '../operations/agent-metrics.js';
import { CONTROL_SOCKET } from '../operations/control-messages.js';
import { ControlServer } from '../operations/control-server.js';
import { MetricsServer } from '../operations/metrics-server.js';
import type { AgentStatus, OperatedAgent, OperatedUnit, SlotStatus, UnitStatus } from '../operations/operated.js';
import { type HistoryEntry, UpdateHistory } from '../operations/update-history.js';
import { redactText } from '../redact.js';
import { childInstallTopic, deviceTopics, installTopic } from '../topics.js';
import type { Unit, UnitSlots } from '../unit.js';

export interface OperationsOptions {
  readonly config: AgentConfig;
  readonly agentVersion: string;
  readonly log: Log;
  readonly units: () => readonly Unit[];
  readonly link: () => MqttLink | null;
}

export class Operations implements OperatedAgent {
  private readonly options: OperationsOptions;
  private readonly metrics = new AgentMetrics();
  private readonly startedAt = new Date().toISOString();
  private readonly kept: UpdateHistory;
  /** Topics that Home Assistant was told on, in this life or an earlier one. */
  private readonly announcedFile: JsonFile;
  private readonly announcedBefore: readonly string[];
  private remembering: Promise<void> = Promise.resolve();
  private readonly servers: { close(): Promise<void> }[] = [];

  private constructor(options: OperationsOptions, kept: UpdateHistory, announced: JsonFile, before: readonly string[]) {
    this.options = options;
    this.kept = kept;
    this.announcedFile = announced;
    this.announcedBefore = before;
  }

  /** @throws IoError when the state folder's medium fails */
  static async load(options: OperationsOptions): Promise<Operations> {
    const { config, log } = options;
    const file = new JsonFile(join(config.stateFolder, 'history.json'));
    const onEntry = (entry: HistoryEntry): void => operations.metrics.ended(entry);
    const announced = new JsonFile(join(config.stateFolder, 'home-assistant.json'));
    const before = textsOf(await announced.load());
    const operations: Operations = new Operations(
      options,
      await UpdateHistory.load({ file, log, onEntry }),
      announced,
      before,
    );
    return operations;
  }

  observe(model: string, state: State): void {
    this.kept.observe(model, state);
  }

  downloaded(model: string, count: number): void {
    this.kept.downloaded(model, count);
    this.metrics.downloaded(model, count);
  }

  /** `ownsFolder`: nobody else can have made the socket that lies there. What cannot be opened is said; updates do not need it. */
  async open(ownsFolder: boolean): Promise<void> {
    const { config, log } = this.options;
    const { stateFolder, metrics } = config;
    if (ownsFolder && process.platform !== 'win32') {
      await this.tryOpen('control socket', () => ControlServer.open(join(stateFolder, CONTROL_SOCKET), this, log));
    }
    if (metrics !== undefined) {
      await this.tryOpen('metrics', () => MetricsServer.open(metrics.port, () => this.metrics.collect(this)));
    }
  }

  /** What the link says and hears for Home Assistant. Documents of an earlier configuration are taken back. */
  get linkParts(): Pick<LinkOptions, 'announcements' | 'onAnnounced' | 'commands'> {
    const { config, agentVersion } = this.options;
    const { homeAssistant, device, topicPrefix } = config;
    const announcements = new Map<string, unknown>(this.announcedBefore.map((topic) => [topic, null]));
    const commands = new Map<string, (payload: Uint8Array) => void>();
    if (homeAssistant !== undefined) {
      for (const unit of this.options.units()) {
        const { model } = unit.runtime.reported();
        const install = installTopicOf(unit, config);
        const topics = { reported: unit.topics.reported, state: deviceTopics(topicPrefix, device).state, install };
        const child = unit.presence === undefined ? {} : { child: { name: unit.name, state: unit.presence.topic } };
        const { topic, document } = discoveryOf({ ...homeAssistant, device, model, agentVersion, topics, ...child });
        announcements.set(topic, document);
        commands.set(install, (payload) => this.install(unit, payload));
      }
    }
    const topics = [...announcements].flatMap(([topic, document]) => (document === null ? [] : [topic]));
    const onAnnounced = (): void => {
      this.remembering = this.remembering.then(() => this.rememberAnnounced(topics));
    };
    return { announcements, commands, onAnnounced };
  }

  get units(): readonly OperatedUnit[] {
    return this.options.units().map((unit) => ({
      name: unit.label,
      status: () => statusOf(unit),
      retry: () => (retries(unit) ? 'done' : 'idle'),
      rollBack: () => (rollsBack(unit) ? 'done' : 'idle'),
      confirm: () => (consents(unit, ['full-image']) || unit.runtime.vouch() ? 'done' : 'idle'),
    }));
  }

  history(): readonly HistoryEntry[] {
    return this.kept.entries;
  }

  status(): AgentStatus {
    const { config, agentVersion, link, units } = this.options;
    return {
      device: config.device,
      agentVersion,
      pid: process.pid,
      startedAt: this.startedAt,
      connection: {
        connected: link()?.connected ?? false,
        broker: redactText(config.mqtt.url),
        reconnects: link()?.reconnects ?? 0,
      },
      models: units().map(statusOf),
    };
  }

  async close(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.close()));
    await this.kept.settled();
    await this.remembering;
  }

  private install(unit: Unit, payload: Uint8Array): void {
    const isInstall = Buffer.from(payload).toString('utf8') === INSTALL_PAYLOAD;
    // Whether it costs a whole model the button does not say.
    const done = isInstall && (consents(unit, []) || consentsEarly(unit) || retries(unit));
    this.options.log('info', 'asked by Home Assistant', { model: unit.label, done });
  }

  private async rememberAnnounced(topics: readonly string[]): Promise<void> {
    if (topics.join() === this.announcedBefore.join()) return;
    try {
      await this.announcedFile.save(topics);
    } catch (error) {
      this.options.log('warn', 'cannot remember what Home Assistant was told', { error: messageOf(error) });
    }
  }

  private async tryOpen(what: string, open: () => Promise<{ close(): Promise<void> }>): Promise<void> {
    try {
      this.servers.push(await open());
    } catch (error) {
      this.options.log('error', `no ${what}`, { error: messageOf(error) });
    }
  }
}

function installTopicOf({ name, child }: Unit, { topicPrefix, device, models }: AgentConfig): string {
  if (child !== null) return childInstallTopic(topicPrefix, device, name);
  return installTopic(topicPrefix, device, models === undefined ? null : name);
}

function statusOf({ label, runtime, slots }: Unit): UnitStatus {
  return { ...runtime.reported(), model: label, ...slotsOf(slots) };
}

/** A folder that cannot be read just now does not keep the rest from being shown. */
function slotsOf(slots: UnitSlots | undefined): Pick<UnitStatus, 'trial' | 'slots'> {
  try {
    if (slots === undefined) return { trial: null, slots: null };
    const { trial, active, previous } = { trial: slots.trial(), active: slots.active(), previous: slots.previous() };
    return { trial: trial && { boots: trial.boots }, slots: { active: slotOf(active), previous: slotOf(previous) } };
  } catch {
    return { trial: null, slots: null };
  }
}

function slotOf(contents: SlotContents | null): SlotStatus | null {
  return contents === null ? null : { sha256: toHex(contents.sha256), size: contents.size };
}

function retries({ runtime }: Unit): boolean {
  if (!['refused', 'failed', 'waiting'].includes(runtime.state.kind)) return false;
  runtime.retry();
  return true;
}

/** To the update that waits for it: download and switch at once, and `more`. False where nothing of that is asked. */
function consents({ runtime }: Unit, more: readonly ConsentScope[]): boolean {
  const { asks } = runtime.reported();
  const given: readonly ConsentScope[] = ['download', 'activate', ...more];
  if (asks === undefined || !asks.for.some((scope) => given.includes(scope))) return false;
  runtime.consent({ targetSha256: asks.targetSha256, for: given });
  return true;
}

/** A new version is shown before it is known what it asks, and an automation presses in that moment. */
function consentsEarly({ runtime }: Unit): boolean {
  const { kind, wish, installed } = runtime.state;
  if (kind !== 'choosing' || wish.kind !== 'want') return false;
  const { targetSha256 } = wish.desired;
  if (targetSha256 === installed?.sha256) return false;
  runtime.consent({ targetSha256, for: ['download', 'activate'] });
  return true;
}

function rollsBack({ runtime, slots }: Unit): boolean {
  const { kind } = runtime.state;
  if (kind !== 'testing' && kind !== 'idle') return false;
  if (slots !== undefined && slots.previous() === null) return false;
  runtime.rollBack();
  return true;
}

function textsOf(saved: unknown): string[] {
  return Array.isArray(saved) ? saved.filter((text) => typeof text === 'string') : [];
}
