/** What units of both kinds are made of: models of the agent's own, and children. */
import { LocalApplication } from '../application.js';
import { type ConditionOptions, ConditionWatcher } from '../conditions.js';
import { type ModelConfig, policyId } from '../config.js';
import type { Log } from '../log.js';
import type { MachineSettings } from '../machine-types.js';
import type { ModelNotice } from '../model-notice.js';
import type { Pace } from '../pace.js';
import type { StreamPort } from '../streams/stream-hub.js';
import type { KeySource } from '../trust-store.js';

export interface UnitOptions extends Pick<ConditionOptions, 'now' | 'tickMs'> {
  readonly config: ModelConfig;
  /** Shared by all units: the link is one. */
  readonly pace: Pace | undefined;
  /** Likewise. */
  readonly streams: StreamPort | undefined;
  readonly trust: KeySource;
  readonly log: Log;
}

export function watchConditions(
  { config, now, tickMs, log }: Omit<UnitOptions, 'pace' | 'streams' | 'trust'>,
  onChange: () => void,
): ConditionWatcher {
  return new ConditionWatcher({
    rules: { ...config.windows, unmetered: config.unmetered },
    onChange,
    ...(now === undefined ? {} : { now }),
    ...(tickMs === undefined ? {} : { tickMs }),
    log,
  });
}

export interface SlotRules {
  /** Of patches, see ChoicePolicy. */
  readonly profiles?: readonly string[];
  /** See HoldPolicy; asked anew each time, as it may be another device. */
  readonly inPlace?: () => boolean;
}

export function machineSettings(
  config: ModelConfig,
  trust: KeySource,
  conditions: ConditionWatcher,
  { profiles, inPlace = () => false }: SlotRules = {},
): MachineSettings {
  return {
    model: config.model.name,
    device: config.device,
    consent: config.consent,
    get conditions() {
      return conditions.current;
    },
    get inPlace() {
      return inPlace();
    },
    fullImage: config.fullImage,
    maxPatchBytes: config.limits.maxPatchBytes,
    allowedHosts: config.allowedHosts ?? null,
    allowInsecureHttp: config.allowInsecureHttp,
    allowStreams: config.mqtt.streams !== undefined,
    // Asked anew each time: a trust file that arrives, or a key that expires, changes what is refused.
    get policyId() {
      return policyId(config, trust.keys());
    },
    retry: config.retry,
    trialBoots: config.health?.trialBoots ?? 0,
    ...(profiles === undefined ? {} : { profiles }),
  };
}

/** `currentPath` is what its commands are told to find the model at. */
export function applicationOf(
  { model, health, hooks }: ModelConfig,
  currentPath: string,
  notice: ModelNotice | null,
  log: Log,
): LocalApplication {
  const { timeoutMs: hookTimeoutMs, ...commands } = hooks;
  const rules = { modelName: model.name, currentPath, health: health ?? null, hooks: commands, hookTimeoutMs };
  return new LocalApplication(rules, log, notice);
}
